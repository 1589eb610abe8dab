"""A reader of PROXY protocol, version 2: after section 2.2 of its specification, and not after our writer."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import attrs

COMMANDS = {0x0: "LOCAL", 0x1: "PROXY"}
LENGTHS = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
STREAMS: dict[int, tuple[type[IPv4Address | IPv6Address], int]] = {
    0x11: (IPv4Address, 4),
    0x21: (IPv6Address, 16),
}


@attrs.frozen
class Header:
    command: str
    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    entries: dict[int, bytes]
    rest: bytes

    @property
    def tls(self) -> tuple[int, int, dict[int, bytes]]:
        """The client flags, the result of the verification, and the entries inside of PP2_TYPE_SSL."""
        value = self.entries[0x20]
        return value[0], int.from_bytes(value[1:5], "big"), entries_of(value[5:])


def entries_of(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while data:
        length = int.from_bytes(data[1:3], "big")
        assert len(data) >= 3 + length, "an entry is longer than what is there"
        assert data[0] not in found, "an entry is there twice"
        found[data[0]] = data[3 : 3 + length]
        data = data[3 + length :]
    return found


def read_header(data: bytes) -> Header:
    assert data[:12] == bytes.fromhex("0D0A0D0A000D0A515549540A")
    assert data[12] >> 4 == 2
    family, length = data[13], int.from_bytes(data[14:16], "big")
    body, rest = data[16 : 16 + length], data[16 + length :]
    assert len(body) == length
    assert length >= LENGTHS[family]
    source = destination = None
    if family in STREAMS:
        kind, size = STREAMS[family]
        ports = body[2 * size : 2 * size + 4]
        source = str(kind(body[:size])), int.from_bytes(ports[:2], "big")
        destination = str(kind(body[size : 2 * size])), int.from_bytes(ports[2:], "big")
    return Header(COMMANDS[data[12] & 0xF], source, destination, entries_of(body[LENGTHS[family] :]), rest)
