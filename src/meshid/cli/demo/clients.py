"""Three kinds of clients that know nothing of meshid, and what each of them sees.

They present what they are given and believe any server, as a stranger would.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
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
"""Seconds; a handshake takes some milliseconds, and one that hangs is a failure, not a wait."""

AT_ONCE = 1.0
"""Seconds that the end of an open connection may take."""

CLOSED = "closed without a byte"
SERVED = "served: "
ALERT = "alert: "

_ALERT = re.compile(r"alert ([a-z ]+)")


class Client(StrEnum):
    """The kinds."""

    ASYNCIO = "asyncio"
    BLOCKING = "blocking"
    OPENSSL = "openssl"


Knock = Callable[[int, Issued | None], Awaitable[str]]
"""Connects to a port with some credentials, says hello, and returns what it saw."""


def kinds_of_clients() -> dict[Client, Knock]:
    """Return those that this machine has: the openssl command may be missing."""
    kinds: dict[Client, Knock] = {Client.ASYNCIO: knock_asyncio, Client.BLOCKING: knock_blocking}
    if command := shutil.which("openssl"):
        kinds[Client.OPENSSL] = lambda port, credentials: knock_openssl(command, port, credentials)
    return kinds


async def knock_asyncio(port: int, credentials: Issued | None) -> str:
    """Knock with an asyncio stream."""
    try:
        async with connection(port, credentials) as line:
            return await line.say_hello()
    except OSError as error:
        return _failed(error)


async def knock_blocking(port: int, credentials: Issued | None) -> str:
    """Knock with a blocking socket, in a thread of its own."""
    return await asyncio.to_thread(ReturningClient(credentials).knock, port)


async def knock_openssl(command: str, port: int, credentials: Issued | None) -> str:
    """Knock with ``openssl s_client``."""
    with tempfile.TemporaryDirectory(prefix="meshid-demo-") as directory:
        options = _credential_options(Path(directory), credentials)
        process = await asyncio.create_subprocess_exec(
            *(command, "s_client", "-connect", f"{HOST}:{port}"),
            # Without `-no_ign_eof`, a client that is quiet would not end when its input does.
            *("-tls1_3", "-quiet", "-no_ign_eof", *options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            return await asyncio.wait_for(_say_hello_to(process), TIMEOUT)
        except TimeoutError as error:
            return _failed(error)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@attrs.frozen
class Line:
    """An asyncio connection that stays open."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say_hello(self) -> str:
        """Send a line and return what was seen in answer to it."""
        self.writer.write(GREETING)
        return await self.listen(TIMEOUT)

    async def listen(self, seconds: float = AT_ONCE) -> str:
        """Send nothing, and return what was seen within some *seconds*."""
        try:
            return _told(await asyncio.wait_for(self.reader.readline(), seconds))
        except OSError as error:
            return _failed(error, seconds)


@contextlib.asynccontextmanager
async def connection(port: int, credentials: Issued | None) -> AsyncIterator[Line]:
    """Open a connection, and close it at the end."""
    opening = asyncio.open_connection(HOST, port, ssl=_stranger(credentials), ssl_shutdown_timeout=1.0)
    reader, writer = await asyncio.wait_for(opening, TIMEOUT)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class ReturningClient:
    """A blocking client that offers the session of its last visit again (RFC 8446 section 2.2).

    Attributes:
        resumed: Whether the server took it, the last time.
    """

    def __init__(self, credentials: Issued | None) -> None:
        """Begin without a session."""
        self.resumed = False
        self._context = _stranger(credentials)
        self._session: ssl.SSLSession | None = None

    def knock(self, port: int) -> str:
        """Connect, say hello, close, and return what was seen."""
        self.resumed = False
        try:
            with socket.create_connection((HOST, port), TIMEOUT) as plain:
                return self._say_hello(plain)
        except OSError as error:
            return _failed(error)

    def _say_hello(self, plain: socket.socket) -> str:
        with self._context.wrap_socket(plain, session=self._session) as connection:
            self.resumed = bool(connection.session_reused)
            connection.sendall(GREETING)
            with connection.makefile("rb") as answer:
                line = answer.readline()
            # Tickets come after the handshake, with the first bytes.
            self._session = connection.session
            return _told(line)


def _stranger(credentials: Issued | None) -> ssl.SSLContext:
    if credentials is not None:
        return credentials.client_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _credential_options(directory: Path, credentials: Issued | None) -> list[str]:
    if credentials is None:
        return []
    leaf, key, chain = (str(directory / name) for name in ("leaf.pem", "key.pem", "chain.pem"))
    Path(key).write_bytes(credentials.key_pem)
    Path(leaf).write_bytes(to_pem(credentials.chain[:1]))
    Path(chain).write_bytes(to_pem(credentials.chain[1:]))
    return ["-cert", leaf, "-key", key, *(["-cert_chain", chain] if credentials.intermediates else [])]


async def _say_hello_to(process: asyncio.subprocess.Process) -> str:
    # Each of them is a pipe, for that was asked for.
    stdin = cast("asyncio.StreamWriter", process.stdin)
    stdout, stderr = (cast("asyncio.StreamReader", each) for each in (process.stdout, process.stderr))
    stdin.write(GREETING)
    line = await stdout.readline()
    stdin.close()
    words = await stderr.read()
    await process.wait()
    return _told(line) if line else _alert(words.decode("ascii", "replace")) or CLOSED


def _told(line: bytes) -> str:
    if not line:
        return CLOSED
    text = clean(line.decode("ascii", "replace").removesuffix("\n"))
    return f"{SERVED}{text}" if text.startswith("hello ") else text


def _failed(error: OSError, seconds: float | None = None) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {TIMEOUT if seconds is None else seconds:.0f} s"
    if isinstance(error, (ConnectionError, ssl.SSLEOFError)):
        return CLOSED
    return _alert(str(error).lower().replace("_", " ")) or f"{type(error).__name__}: {error}"


def _alert(words: str) -> str | None:
    """Find the alert in the words of a TLS library (RFC 8446 section 6.2)."""
    alert = _ALERT.search(words)
    return f"{ALERT}{alert[1].strip()}" if alert else None
