"""Lines, after a line that asks for TLS (as RFC 3207 does for SMTP)."""

from __future__ import annotations

import socket

from typing_extensions import override

from tests.frameworks.dialects import Lines


class StartTls(Lines):
    """Lines over TLS that begins in the middle of a connection."""

    name = "lines after STARTTLS"

    @override
    def before_tls(self, plain: socket.socket) -> None:
        """Ask for TLS, and read the permission, of which no octet is TLS."""
        plain.sendall(b"STARTTLS\n")
        plain.settimeout(10)
        said = b""
        while not said.endswith(b"\n"):
            if not (octet := plain.recv(1)):
                raise ConnectionAbortedError
            said += octet


STARTTLS = StartTls()
