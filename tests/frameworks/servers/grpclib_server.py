"""grpclib, on asyncio: each call is judged before its messages are read."""

from __future__ import annotations

import asyncio
from typing import Any

from grpclib.const import Cardinality, Handler, Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import charge, noted
from tests.frameworks.servers.asgi_apps import lines

mesh = scene.mesh()


class Bytes:
    """A codec for messages that are octets."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def judge(event: RecvRequest) -> None:
    peer = peer_of(event.peer._transport)
    if not mesh.check(peer, request=f"POST {event.method_name}"):
        raise GRPCError(Status.PERMISSION_DENIED)


async def get(stream: Any) -> None:
    message = await stream.recv_message()
    await stream.send_message(charge(message.decode(), peer_of(stream.peer._transport)))


async def list_(stream: Any) -> None:
    noted("GET", await stream.recv_message(), peer_of(stream.peer._transport))
    async for line in lines():
        await stream.send_message(line)


class Charges:
    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/shop.Charges/Get": Handler(get, Cardinality.UNARY_UNARY, bytes, bytes),
            "/shop.Charges/List": Handler(list_, Cardinality.UNARY_STREAM, bytes, bytes),
        }


async def serve() -> None:
    server = Server([Charges()], codec=Bytes())  # type: ignore[arg-type]
    listen(server, RecvRequest, judge)
    await server.start("127.0.0.1", 0, ssl=mesh.server_context(http=True, alpn=["h2"]))
    scene.listening(server._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
    await server.wait_closed()


asyncio.run(serve())
