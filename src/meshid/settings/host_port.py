"""A host and a port, as one text: ``127.0.0.1:9901``, ``[::1]:9901``."""

from __future__ import annotations

import re
from typing import Self

import attrs

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MAX_PORT = 65535

_FORM = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-fA-F:.]{2,45})\]|(?P<host>[\w.-]{1,253})):(?P<port>[0-9]{1,5})", re.ASCII
)


@attrs.frozen
class Address:
    """A host and a port.

    Attributes:
        host: An IP address, without brackets, or the name of a host.
        port: The port; 0 is a free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``HOST:PORT``; an IPv6 address is in brackets.

        Raises:
            InvalidInput: If *text* has another form.
        """
        match = _FORM.fullmatch(text)
        if match is None or int(match["port"]) > MAX_PORT:
            msg = f"{quote(text)} is not an address: write HOST:PORT, such as 127.0.0.1:9901 or [::1]:9901"
            raise InvalidInput(msg)
        return cls(match["ipv6"] or match["host"], int(match["port"]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
