"""Tornado's HTTP server."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import tornado.httpserver
import tornado.ioloop
import tornado.web
from typing_extensions import override

from meshid import Peer, peer_of
from tests.frameworks import scene
from tests.frameworks.application import LINES, PAUSE, charge, noted, posted

mesh = scene.mesh()


class Handler(tornado.web.RequestHandler):
    """The base of all handlers."""

    peer: Peer

    @override
    def prepare(self) -> None:
        self.peer = peer_of(self.request)
        # Tornado decodes what a pattern of its routes has caught, once; `uri` is as it was sent.
        if not mesh.check(self.peer, request=f"{self.request.method} {self.request.uri}"):
            raise tornado.web.HTTPError(403)


class Refused(Handler):
    """For what no route is for: it is judged all the same."""

    @override
    def prepare(self) -> None:
        super().prepare()
        raise tornado.web.HTTPError(404)


class Charges(Handler):
    def get(self, number: str) -> None:
        self.write(charge(f"/v1/charges/{number}", self.peer))

    def post(self) -> None:
        self.write(posted(unquote(self.request.path), self.peer, len(self.request.body)))


class Stream(Handler):
    async def get(self) -> None:
        noted("GET", self.request.path, self.peer)
        for number in range(LINES):
            self.write(b"line %d\n" % number)
            await self.flush()
            await asyncio.sleep(PAUSE)


async def main() -> None:
    routes = [("/v1/charges/([^/]+)", Charges), ("/v1/charges", Charges), ("/v1/stream", Stream)]
    app = tornado.web.Application(routes, default_handler_class=Refused)
    server = tornado.httpserver.HTTPServer(app, ssl_options=mesh.server_context(http=True))
    port = scene.free_port()
    server.listen(port, "127.0.0.1")
    scene.listening(port)
    await asyncio.Event().wait()


asyncio.run(main())
