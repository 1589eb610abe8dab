"""`twisted.web`: the resource at the root judges each request, and hands it on."""

# mypy: allow-untyped-calls
from __future__ import annotations

from io import BytesIO
from typing import Any, cast

from twisted.internet import reactor as the_reactor
from twisted.web.pages import forbidden
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from typing_extensions import override

from meshid import peer_of
from tests.frameworks import scene
from tests.frameworks.application import LINES, PAUSE, charge, noted, posted

mesh = scene.mesh()
reactor: Any = the_reactor


class Judged(Resource):
    """Around the resources of a site: whoever may not ask for this gets 403."""

    def __init__(self, root: Resource) -> None:
        super().__init__()
        self._root = root

    @override
    def getChildWithDefault(self, path: bytes, request: Request) -> Resource:
        asked = f"{request.method.decode('latin-1')} {request.uri.decode('latin-1')}"
        if not mesh.check(peer_of(request), request=asked):
            return forbidden()
        return cast("Resource", self._root.getChildWithDefault(path, request))


class Charges(Resource):
    """The application."""

    @override
    def getChild(self, path: bytes, request: Request) -> Resource:
        return self

    def render_GET(self, request: Request) -> bytes | int:
        path, peer = b"/" + b"/".join(request.prepath or []), peer_of(request)
        if path != b"/v1/stream":
            return charge(path.decode("utf-8", "surrogateescape"), peer)
        noted("GET", path, peer)
        self.send_lines(request, 0)
        return NOT_DONE_YET

    def render_POST(self, request: Request) -> bytes:
        return posted("/v1/charges", peer_of(request), len(cast("BytesIO", request.content).read()))

    def send_lines(self, request: Request, number: int) -> None:
        if number < LINES and request.channel is not None:
            request.write(b"line %d\n" % number)
            reactor.callLater(PAUSE, self.send_lines, request, number + 1)


context = mesh.openssl_context(server_side=True, http=True)
port = reactor.listenSSL(0, Site(Judged(Charges())), context, interface="127.0.0.1")
scene.listening(port.getHost().port)
reactor.run()
