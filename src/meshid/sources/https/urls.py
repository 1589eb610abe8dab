"""The URL of what is fetched: of a bundle (SPIFFE Federation sections 5.2.1.1 and 5.2.2.1), or of keys."""

from __future__ import annotations

import ipaddress
import re
from typing import Self
from urllib.parse import SplitResult, urljoin, urlsplit

import attrs

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

HTTPS_PORT = 443

# RFC 3986 section 2 allows no others, and `urlsplit` silently removes some of them.
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)


@attrs.frozen
class HttpsUrl:
    """Where something is served.

    Attributes:
        text: The URL as it was written.
        host: A host name in lower case or an IP address, without brackets.
        port: The TCP port.
        target: The path and the query, as a request names them.
    """

    text: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an absolute URL.

        Raises:
            InvalidInput: If it is not a URL, if its scheme is not https, or if it has user
                information or no host.
        """
        try:
            parts = urlsplit(_printable(text))
            host = _host(parts)
            port = HTTPS_PORT if parts.port is None else parts.port
        except ValueError as error:
            msg = f"{quote(text)}: {error}; write https://host[:port]/path"
            raise InvalidInput(msg) from error
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(text, host, port, target)

    def joined(self, location: str) -> Self:
        """Read the URL in a redirect, which may be relative to this one (RFC 9110 section 10.2.2).

        Raises:
            InvalidInput: As `parse` does.
        """
        try:
            text = urljoin(self.text, location)
        except ValueError as error:
            msg = f"{quote(location)} is not a URL"
            raise InvalidInput(msg) from error
        return self.parse(text)

    @property
    def origin(self) -> tuple[str, int]:
        """Who serves it: the host and the port (RFC 6454 section 4; the scheme is always the same)."""
        return self.host, self.port

    @property
    def authority(self) -> str:
        """The host and the port as a Host header has them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def _printable(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        msg = "a URL has printable ASCII characters only, and no space"
        raise ValueError(msg)
    return text


def _host(parts: SplitResult) -> str:
    if parts.scheme != "https":
        msg = "its scheme must be https"
        raise ValueError(msg)
    if "@" in parts.netloc:
        msg = "it must have no user information"
        raise ValueError(msg)
    host = parts.hostname or ""
    # An address with a zone means a different host on each machine (RFC 4007 section 11).
    if ":" in host and "%" not in host:
        return str(ipaddress.IPv6Address(host))
    if not _HOST.fullmatch(host):
        msg = "it has no valid host"
        raise ValueError(msg)
    return host
