"""Three kinds of client that know nothing of meshid, and what each of them sees.

They present the credentials that they are given, and accept any server.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable
from enum import StrEnum
from pathlib import Path
from typing import cast

import attrs

from meshid.certificates.reading import to_pem
from meshid.cli.terminal import clean
from meshid.testing import Issued

HOST = "127.0.0.1"
GREETING = b"hello\n"
TIMEOUT = 10.0
"""Seconds; a handshake takes milliseconds, so a client that waits this long hangs."""

AT_ONCE = 1.0
"""Seconds within which a connection must end that ends "at once"."""

CLOSED = "closed without a byte"
SERVED = "served: "
ALERT = "alert: "


class Client(StrEnum):
    """A kind of client."""

    ASYNCIO = "asyncio"
    BLOCKING = "blocking"
    OPENSSL = "openssl"


def has_openssl() -> bool:
    """Whether this machine has the ``openssl`` command."""
    return shutil.which("openssl") is not None


async def visit(client: Client, port: int, credentials: Issued | None) -> str:
    """Connect, say hello, close, and return what the client saw."""
    if client is Client.BLOCKING:
        return await BlockingClient(credentials).visit(port)
    ask = _ask_with_asyncio if client is Client.ASYNCIO else _ask_with_openssl
    return await _seen(ask(port, credentials), TIMEOUT)


class BlockingClient:
    """A client on a blocking socket; it offers the session of its last visit again (RFC 8446 section 2.2).

    Attributes:
        resumed: Whether the server took that session on the last visit.
    """

    def __init__(self, credentials: Issued | None) -> None:
        self.resumed = False
        self._context = _context(credentials)
        self._session: ssl.SSLSession | None = None

    async def visit(self, port: int) -> str:
        """Connect, say hello, close, and return what the client saw."""
        return await _seen(asyncio.to_thread(self._ask, port), TIMEOUT)

    def _ask(self, port: int) -> bytes:
        self.resumed = False
        with (
            socket.create_connection((HOST, port), TIMEOUT) as plain,
            self._context.wrap_socket(plain, session=self._session) as connection,
        ):
            self.resumed = bool(connection.session_reused)
            connection.sendall(GREETING)
            with connection.makefile("rb") as answer:
                line: bytes = answer.readline()
            # Only now: tickets come after the handshake, with the first bytes.
            self._session = connection.session
            return line


@attrs.frozen
class HeldConnection:
    """An asyncio connection that stays open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self) -> bytes:
        """Say hello and return the answer."""
        self.writer.write(GREETING)
        return await self.reader.readline()

    async def say_hello(self) -> str:
        """Say hello and return what the client saw."""
        return await _seen(self.ask(), TIMEOUT)

    async def listen(self) -> str:
        """Send nothing, and return what the client sees at once."""
        return await _seen(self.reader.readline(), AT_ONCE)


@contextlib.asynccontextmanager
async def connected(port: int, credentials: Issued | None) -> AsyncIterator[HeldConnection]:
    """Open a connection, and close it at the end."""
    streams = await asyncio.open_connection(HOST, port, ssl=_context(credentials), ssl_shutdown_timeout=1.0)
    connection = HeldConnection(*streams)
    try:
        yield connection
    finally:
        connection.writer.close()
        with contextlib.suppress(OSError):
            await connection.writer.wait_closed()


async def _ask_with_asyncio(port: int, credentials: Issued | None) -> bytes:
    async with connected(port, credentials) as connection:
        return await connection.ask()


async def _ask_with_openssl(port: int, credentials: Issued | None) -> bytes:
    with tempfile.TemporaryDirectory(prefix="meshid-demo-") as directory:
        # Without -no_ign_eof, a client that is -quiet does not end when its input does.
        command = f"{shutil.which('openssl')} s_client -tls1_3 -quiet -no_ign_eof -connect {HOST}:{port}"
        options = [] if credentials is None else _openssl_options(Path(directory), credentials)
        process = await asyncio.create_subprocess_exec(
            *command.split(), *options, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        stdin = cast("asyncio.StreamWriter", process.stdin)
        stdout, stderr = (cast("asyncio.StreamReader", each) for each in (process.stdout, process.stderr))
        try:
            stdin.write(GREETING)
            line = await stdout.readline()
            stdin.close()
            words = (await stderr.read()).decode("ascii", "replace")
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if not line and "alert" in words:
        raise ssl.SSLError(words)
    return line


def _openssl_options(directory: Path, credentials: Issued) -> list[str]:
    leaf, chain = directory / "leaf.pem", directory / "chain.pem"
    leaf.write_bytes(credentials.key_pem + to_pem(credentials.chain[:1]))
    chain.write_bytes(to_pem(credentials.chain[1:]))
    return ["-cert", str(leaf), *(["-cert_chain", str(chain)] if credentials.intermediates else [])]


def _context(credentials: Issued | None) -> ssl.SSLContext:
    if credentials is not None:
        return credentials.client_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _seen(answer: Awaitable[bytes], seconds: float) -> str:
    """Await the first line of an answer; return what the client saw: that line, an alert, or the end."""
    try:
        line = await asyncio.wait_for(answer, seconds)
    except TimeoutError:
        return f"no answer for {seconds:.0f} s"
    except (ConnectionError, ssl.SSLEOFError):
        return CLOSED
    except ssl.SSLError as error:
        # The alert in the words of a TLS library (RFC 8446 section 6.2).
        alert = re.search(r"alert ([a-z ]+)", str(error).lower().replace("_", " "))
        return f"{ALERT}{alert[1].strip()}" if alert else f"{type(error).__name__}: {error}"
    text = clean(line.decode("ascii", "replace").removesuffix("\n"))
    return f"{SERVED}{text}" if text.startswith("hello ") else text or CLOSED
