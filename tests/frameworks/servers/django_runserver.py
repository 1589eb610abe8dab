"""Django, with the server of its `runserver`: the listener is wrapped as a whole."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from meshid import peer_of
from meshid.http import WSGIMiddleware
from tests.frameworks import scene
from tests.frameworks.application import charge, noted, posted, stream


def read(request: HttpRequest, number: str) -> Any:
    """Answer with the path, as it was routed."""
    return HttpResponse(charge(f"/v1/charges/{number}", peer_of(request)))


@csrf_exempt  # type: ignore[untyped-decorator]  # no browser is among the peers
def write(request: HttpRequest) -> Any:
    """Answer with the length of the body."""
    return HttpResponse(posted(request.path, peer_of(request), len(request.body)))


def lines(request: HttpRequest) -> Any:
    """Answer for long."""
    noted("GET", request.path, peer_of(request))
    return StreamingHttpResponse(stream())


urlpatterns = [
    path("v1/charges", write),
    path("v1/charges/<number>", read),
    path("v1/stream", lines),
]
# It tells the length of an answer, so that the connection is kept.
LENGTHS = "django.middleware.common.CommonMiddleware"
settings.configure(DATABASES={}, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[LENGTHS])

mesh = scene.mesh()
context = mesh.server_context(http=True)
application = WSGIMiddleware(get_wsgi_application(), mesh)

server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.set_app(application)
server.socket = context.wrap_socket(server.socket, server_side=True)
scene.listening(server.server_port)
server.serve_forever()
