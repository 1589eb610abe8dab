"""STARTTLS for asyncio: from plaintext to TLS on the same connection, with nothing carried over.

`asyncio.StreamWriter.start_tls` keeps what the reader has buffered. Somebody in the middle sends a
command in plaintext, in one segment with the real client's STARTTLS, and after the handshake the
application reads it as if the admitted peer had sent it (RFC 3207 section 4, CVE-2011-0411).

The rules of this module:

- No plaintext gets from before the handshake to after it. The buffer is looked at, and the protocol
  changed, in one go: the loop reads nothing between the two. What arrives later goes to TLS.
- A pair that is not upgraded is closed, whatever the cause: its reader and its writer fail from then on.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from typing import cast

import attrs

from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.errors import NoPeer
from meshid.reasons import Reason
from meshid.support.types import check_type
from meshid.tls.context import MeshContext
from meshid.tls.peer_of import peer_of


async def start_tls(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: MeshContext,
    *,
    server_hostname: str | None = None,
) -> None:
    """Upgrade an asyncio connection to TLS, and admit its peer.

    Call it when both ends have agreed on it in plaintext: a server after its last answer, a client
    when it has read that answer. Afterwards *reader* and *writer* carry TLS, and `peer_of` (of
    *writer*) is the peer. Until then, do not read or write in another task.

    After any error but a `TypeError` or a `ValueError` the connection is closed, and whoever reads
    gets the same error. If you have read more than the command yourself (``read(4096)`` instead of
    ``readline()``), the rest is plaintext, and you have to refuse it.

    Args:
        reader: The reader of the connection.
        writer: The writer of the same connection.
        context: It says whether we are the TLS server or the client, whichever end has connected.
        server_hostname: The name to send to the server (SNI, RFC 6066 section 3), for a client. A
            server is matched by its SPIFFE ID.

    Raises:
        PeerRejected: If the peer may not be there; or, with the reason ``plaintext_before_tls``, if it
            has sent more plaintext than was read (RFC 3207 section 4).
        ssl.SSLError: If the handshake fails before there is a peer to refuse.
        HandshakeTimeout: If the handshake takes longer than the *context* allows.
        OSError: If the connection was lost.
        TypeError: If an argument is of a wrong type: *context* must be a `MeshContext`.
        ValueError: If *reader* and *writer* are of two connections, or a server has a *server_hostname*.
    """
    _check(reader, writer, context, server_hostname)
    protocol = writer._protocol  # type: ignore[attr-defined]  # noqa: SLF001
    plain = writer.transport
    try:
        secure = await _secured(reader, writer, protocol, context, server_hostname)
    except BaseException as error:
        plain.abort()
        # asyncio tells nobody of a handshake that is cut off: who reads or closes would wait for ever.
        lost = error if isinstance(error, Exception) else ConnectionAbortedError("start_tls was cancelled")
        protocol.connection_lost(lost)
        # If the connection was lost before, the line above does nothing, and the reader would return its end.
        reader.set_exception(lost)
        raise
    writer._transport = secure  # type: ignore[attr-defined]  # noqa: SLF001
    protocol._over_ssl = True  # noqa: SLF001


def _check(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: MeshContext,
    server_hostname: str | None,
) -> None:
    check_type(type(reader), asyncio.StreamReader, "reader", "a StreamReader")
    check_type(type(writer), asyncio.StreamWriter, "writer", "a StreamWriter")
    check_type(type(context), MeshContext, "context", "a MeshContext")
    if server_hostname is not None:
        check_type(type(server_hostname), str, "server_hostname", "a str or None")
        if context.protocol is ssl.PROTOCOL_TLS_SERVER:
            msg = "server_hostname is for the context of a client, and this one is of a server"
            raise ValueError(msg)
    if writer._reader is not reader:  # type: ignore[attr-defined]  # noqa: SLF001
        msg = "reader and writer are not of one connection: plaintext would wait in another reader"
        raise ValueError(msg)


async def _secured(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    protocol: asyncio.BaseProtocol,
    context: MeshContext,
    server_hostname: str | None,
) -> asyncio.Transport:
    # Not later: asyncio's TLS takes no connection over whose writing is paused. Other tasks run meanwhile.
    await writer.drain()
    if writer.is_closing():
        raise ConnectionResetError(errno.ECONNRESET, "the connection was closed before the TLS handshake")
    # From here to the switch inside `loop.start_tls` the loop does not run.
    _refuse_plaintext(reader, writer.transport, context)
    secure = await asyncio.get_running_loop().start_tls(
        writer.transport,
        protocol,
        context,
        server_side=context.protocol is ssl.PROTOCOL_TLS_SERVER,
        server_hostname=server_hostname,
    )
    try:
        peer_of(secure)
    except NoPeer:
        # asyncio reports the end of a connection that nobody gave a reason for as a success.
        msg = "the connection was closed in the TLS handshake"
        raise ConnectionResetError(errno.ECONNRESET, msg) from None
    return cast("asyncio.Transport", secure)


def _refuse_plaintext(
    reader: asyncio.StreamReader, transport: asyncio.BaseTransport, context: MeshContext
) -> None:
    waiting = len(reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - it has no other way
    if waiting:
        judge = context._judge  # noqa: SLF001 - users have no use for it
        detail = f"{waiting} bytes waited to be read when the TLS handshake was to begin"
        settled = judge.ask(()).failed(Reason.PLAINTEXT_BEFORE_TLS, detail)
        judge.admission.admit((), judge.question, _Plaintext(transport), settled)


@attrs.frozen
class _Plaintext:
    """A connection without TLS, for the record."""

    transport: asyncio.BaseTransport

    def info(self) -> ConnectionInfo:
        address, port = address_of(self.transport.get_extra_info("peername"))
        return ConnectionInfo(address=address, port=port)
