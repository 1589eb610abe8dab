"""What is known of a connection, apart from the peer: for the record, no decision depends on it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

_IPV4_BITS, _IPV6_BITS = 24, 64
"""Prefix length that usually separates one customer from another."""

_EMBEDDING = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 addresses whose last 32 bits are an IPv4 address: of a socket for both (RFC 4291 section
2.5.5.2), and of a translator (RFC 6052 section 2.1)."""


def address_of(peername: object) -> tuple[str | None, int | None]:
    """Return the address and port in a result of ``getpeername()``; a Unix socket has neither."""
    if isinstance(peername, tuple):
        return str(peername[0]), int(peername[1])
    return None, None


@attrs.frozen(kw_only=True)
class ConnectionInfo:
    """What is known of a connection.

    Attributes:
        address: The address of the other end, if it has one.
        port: Its port.
        version: The TLS version, as ``TLSv1.3``.
        cipher: The cipher suite.
        resumed: Whether a session was resumed.
        protocol: The application protocol that was agreed on (RFC 7301).
    """

    address: str | None = None
    port: int | None = None
    version: str | None = None
    cipher: str | None = None
    resumed: bool | None = None
    protocol: str | None = None

    @property
    def network(self) -> str:
        """The network of the address: one sender can have many addresses in it; empty without an address."""
        text, _, _ = (self.address or "").partition("%")
        try:
            address = ip_address(text)
        except ValueError:
            return ""
        if isinstance(address, IPv6Address) and any(address in network for network in _EMBEDDING):
            address = IPv4Address(address.packed[-4:])
        bits = _IPV6_BITS if isinstance(address, IPv6Address) else _IPV4_BITS
        return str(ip_network((address, bits), strict=False))

    def as_dict(self) -> dict[str, object]:
        """Return the fields under their names in OpenTelemetry."""
        return {
            "network.peer.address": self.address,
            "network.peer.port": self.port,
            "tls.protocol.version": self.version and self.version.removeprefix("TLSv"),
            "tls.cipher": self.cipher,
            "tls.resumed": self.resumed,
            "tls.next_protocol": self.protocol,
        }
