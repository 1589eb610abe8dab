"""What is known of a connection, apart from the peer: for the record, no decision depends on it."""

from __future__ import annotations

from ipaddress import ip_network

import attrs

_IPV4_BITS, _IPV6_BITS = 24, 64
"""Prefix length that usually separates one customer from another."""


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
        address, _, _ = (self.address or "").partition("%")
        try:
            bits = _IPV6_BITS if ":" in address else _IPV4_BITS
            return str(ip_network((address, bits), strict=False))
        except ValueError:
            return ""

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
