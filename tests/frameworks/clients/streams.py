"""Clients that open a stream of bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio
import trio

import meshid
from meshid import MeshContext
from tests.frameworks.clients.kinds import AsyncAsk, in_loop


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    # Where it has ended, that is said once more.
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def _streams(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)

    async def ask() -> tuple[object, object]:
        writer.write(b"charge\n")
        return (await reader.readline()).decode().strip(), writer

    try:
        yield ask
    finally:
        await _close(writer)


asyncio_streams = in_loop(_streams)
uvloop_streams = in_loop(_streams, use_uvloop=True)


@contextlib.asynccontextmanager
async def _start_tls(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    reader, writer = await asyncio.open_connection("localhost", port)

    async def ask() -> tuple[object, object]:
        writer.write(b"charge\n")
        return (await reader.readline()).decode().strip(), writer

    try:
        writer.write(b"STARTTLS\n")
        await reader.readline()
        await meshid.start_tls(reader, writer, context)
        yield ask
    finally:
        await _close(writer)


asyncio_start_tls = in_loop(_start_tls)


@contextlib.asynccontextmanager
async def _anyio(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    async with await anyio.connect_tcp(
        "localhost", port, ssl_context=context, tls_standard_compatible=False
    ) as stream:

        async def ask() -> tuple[object, object]:
            await stream.send(b"charge\n")
            return (await stream.receive()).decode().strip(), stream

        yield ask


anyio_asyncio = in_loop(_anyio)
anyio_trio = in_loop(_anyio, "trio")


@contextlib.asynccontextmanager
async def _trio(context: MeshContext, port: int) -> AsyncIterator[AsyncAsk]:
    stream = await trio.open_ssl_over_tcp_stream("localhost", port, ssl_context=context)

    async def ask() -> tuple[object, object]:
        await stream.send_all(b"charge\n")
        return (await stream.receive_some()).decode().strip(), stream

    try:
        await stream.do_handshake()
        yield ask
    finally:
        await trio.aclose_forcefully(stream)


trio_stream = in_loop(_trio, "trio")
