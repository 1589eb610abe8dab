"""SMTP (RFC 5321), over TLS from the first octet or after STARTTLS: a path is asked for with VRFY."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from typing import BinaryIO

from typing_extensions import override

from tests.frameworks.dialects import Answer, answer_of, reader_of
from tests.helpers.tls_peers import TIMEOUT


class Smtp:
    """SMTP over TLS from the first octet (RFC 8314)."""

    name = "smtp"
    alpn: Sequence[str] = ()
    has_paths = False
    has_stream = False
    greets = True

    def before_tls(self, plain: socket.socket) -> None:
        """Say nothing."""

    def hello(self, path: str) -> bytes:
        """Return a greeting and a request, in one piece (RFC 2920)."""
        return b"EHLO localhost\r\nVRFY %s\r\n" % path.encode()

    def talk(self, tls: ssl.SSLSocket) -> SmtpTalk:
        """Begin a conversation."""
        return SmtpTalk(tls, greets=self.greets)


class SmtpAfterStartTls(Smtp):
    """SMTP over TLS that is asked for (RFC 3207)."""

    name = "smtp after STARTTLS"
    greets = False

    @override
    def before_tls(self, plain: socket.socket) -> None:
        """Ask for TLS."""
        plain.settimeout(TIMEOUT)
        with plain.makefile("rb", buffering=0) as came:
            _reply(came)
            for command in (b"EHLO localhost\r\n", b"STARTTLS\r\n"):
                plain.sendall(command)
                _reply(came)


class SmtpTalk:
    """SMTP on one connection."""

    def __init__(self, tls: ssl.SSLSocket, *, greets: bool) -> None:
        self._tls = tls
        self._came = reader_of(tls)
        self._greets = greets
        self._is_known = False

    def ask(self, path: str) -> Answer:
        """Send a VRFY."""
        return self.ask_many([path])[0]

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all in one piece (RFC 2920)."""
        if not self._is_known:
            if self._greets:
                _reply(self._came)
            self._tls.sendall(b"EHLO localhost\r\n")
            _reply(self._came)
            self._is_known = True
        self._tls.sendall(b"".join(f"VRFY {path}\r\n".encode() for path in paths))
        return [self._answer() for _ in paths]

    def post_slowly(self, size: int) -> Answer:
        """Send a VRFY in pieces."""
        self.ask("/v1/charges/first")
        for piece in ("VRFY /v1/", "charges/", "slow" * (size // 10)):
            self._tls.sendall(piece.encode())
            time.sleep(0.005)
        self._tls.sendall(b"\r\n")
        return self._answer()

    def begin_stream(self) -> None:
        """Do nothing: there is none."""

    def end_of_stream(self) -> int:
        """Do nothing: there is none."""
        return 0

    def _answer(self) -> Answer:
        code, text = _reply(self._came)
        return answer_of(200 if code == 252 else code, text)


def _reply(came: BinaryIO | socket.SocketIO) -> tuple[int, bytes]:
    while True:
        line = came.readline()
        if not line:
            msg = "EOF"
            raise ConnectionAbortedError(msg)
        if line[3:4] != b"-":
            return int(line[:3]), line[4:].strip()


SMTP, SMTP_AFTER_STARTTLS = Smtp(), SmtpAfterStartTls()
