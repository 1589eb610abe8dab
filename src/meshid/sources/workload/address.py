"""The address of the Workload API, as the target of a gRPC channel."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from meshid.errors import InvalidInput
from meshid.support.quoting import quote


def target_of(address: str) -> str:
    """Return the gRPC target of an address (SPIFFE Workload Endpoint section 4).

    Args:
        address: ``unix:///run/spire/agent.sock`` or ``tcp://127.0.0.1:8081``.

    Raises:
        InvalidInput: If it is anything else.
    """
    try:
        # It drops line breaks and tabs, and white space at the ends, without a word.
        parts = urlsplit(address if address.isprintable() and address == address.strip() else "")
        target = _of_unix(parts) if parts.scheme == "unix" else _of_tcp(parts)
    except ValueError:
        target = None
    # Whatever else a URL has would get lost on the way to the target.
    if target is None or parts.query or parts.fragment or "@" in parts.netloc:
        msg = (
            f"{quote(address)} is not the address of a Workload API: write unix:///path/to/agent.sock or"
            " tcp://IP-ADDRESS:PORT"
        )
        raise InvalidInput(msg)
    return target


def _of_unix(parts: SplitResult) -> str | None:
    is_absolute = parts.path.startswith("/") and not parts.path.endswith("/")
    return f"unix://{parts.path}" if not parts.netloc and is_absolute else None


def _of_tcp(parts: SplitResult) -> str | None:
    if parts.scheme != "tcp" or parts.path or parts.hostname is None or not parts.port:
        return None
    ip = ip_address(parts.hostname)
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return None
    return f"ipv6:[{ip}]:{parts.port}" if isinstance(ip, IPv6Address) else f"ipv4:{ip}:{parts.port}"
