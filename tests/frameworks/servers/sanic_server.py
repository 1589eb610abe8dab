"""Sanic, in one process."""

from __future__ import annotations

import asyncio
from ssl import SSLContext

from sanic import HTTPResponse, Request, Sanic, exceptions, response

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import LINES, PAUSE, charge, noted, posted

mesh = scene.mesh()
app = Sanic("payments", strict_slashes=True, configure_logging=False)


@app.on_request
async def judge(request: Request) -> None:
    request.ctx.peer = peer_of(request)
    if not mesh.check(request.ctx.peer, request=f"{request.method} {request.raw_url.decode('latin-1')}"):
        raise exceptions.Forbidden


@app.get("/v1/charges/<number>", unquote=True)
async def get_charge(request: Request, number: str) -> HTTPResponse:
    return response.raw(charge(f"/v1/charges/{number}", request.ctx.peer))


@app.post("/v1/charges")
async def post_charge(request: Request) -> HTTPResponse:
    return response.raw(posted(request.path, request.ctx.peer, len(request.body)))


@app.get("/v1/stream")
async def get_stream(request: Request) -> None:
    noted("GET", request.path, request.ctx.peer)
    answer = await request.respond()
    for number in range(LINES):
        await answer.send(b"line %d\n" % number)
        await asyncio.sleep(PAUSE)


def serve(ssl: SSLContext | list[SSLContext]) -> None:
    port = scene.free_port()
    scene.listening(port)
    app.run("127.0.0.1", port, single_process=True, motd=False, access_log=False, ssl=ssl)


if __name__ == "__main__":
    serve(mesh.server_context(http=True))
