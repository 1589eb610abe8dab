"""h2 on the streams of asyncio: HTTP/2 by hand."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events

from meshid import Peer, peer_of
from tests.frameworks import scene
from tests.frameworks.application import LINES, PAUSE, charge, noted, posted

mesh = scene.mesh()


class Http2:
    def __init__(self, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self.writer, self.peer = writer, peer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        )
        self.bodies: dict[int, tuple[str, int]] = {}
        self.streams: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        self.h2.initiate_connection()
        self.flush()
        while data := await reader.read(65536):
            for event in self.h2.receive_data(data):
                self.handle(event)
            self.flush()

    def handle(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.begin(event.stream_id, {str(name): str(value) for name, value in event.headers})
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self.bodies:
                path, length = self.bodies[event.stream_id]
                self.bodies[event.stream_id] = path, length + len(event.data)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self.bodies:
            self.answer(event.stream_id, 200, posted(*self.of_body(event.stream_id)))

    def begin(self, stream: int, fields: dict[str, str]) -> None:
        method, target = fields[":method"], fields[":path"]
        path = unquote(target.partition("?")[0])
        # Each request, before anything is done about it.
        if not mesh.check(self.peer, request=f"{method} {target}"):
            self.answer(stream, 403, b"forbidden\n")
        elif method == "POST":
            self.bodies[stream] = path, 0
        elif path == "/v1/stream":
            self.streams.add(asyncio.create_task(self.send_stream(stream)))
        else:
            self.answer(stream, 200, charge(path, self.peer))

    def of_body(self, stream: int) -> tuple[str, Peer, int]:
        path, length = self.bodies.pop(stream)
        return path, self.peer, length

    async def send_stream(self, stream: int) -> None:
        noted("GET", "/v1/stream", self.peer)
        self.h2.send_headers(stream, [(":status", "200")])
        for number in range(LINES):
            self.h2.send_data(stream, b"line %d\n" % number)
            self.flush()
            await asyncio.sleep(PAUSE)

    def answer(self, stream: int, status: int, body: bytes) -> None:
        self.h2.send_headers(stream, [(":status", str(status))])
        self.h2.send_data(stream, body, end_stream=True)

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = None
    try:
        connection = Http2(writer, peer_of(writer))
        await connection.serve(reader)
    except OSError:
        pass  # the peer has gone, or may no longer be there
    finally:
        for each in connection.streams if connection else ():
            each.cancel()
        writer.close()


async def main() -> None:
    context = mesh.server_context(alpn=["h2"], http=True)
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        scene.listening(server.sockets[0].getsockname()[1])
        await server.serve_forever()


asyncio.run(main())
