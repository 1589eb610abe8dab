"""WSGI servers that serve over a TLS context of ours, each as its users start it, in a thread of its own."""

from __future__ import annotations

import contextlib
import gc
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import WSGIApplication

from cheroot import wsgi as cheroot_wsgi
from django.core.servers import basehttp
from gevent.pywsgi import WSGIServer as GeventServer
from typing_extensions import override
from waitress.server import create_server as waitress_server
from werkzeug.serving import WSGIRequestHandler as WerkzeugHandler
from werkzeug.serving import make_server as werkzeug_server

import tests.helpers.django_site  # noqa: F401 - the settings of its server
from tests.helpers.loops import serve_until_stopped
from tests.helpers.tls_peers import HOST, TIMEOUT, Service, Started, running

THREADS = 32

WSGIServing = Callable[[WSGIApplication, ssl.SSLContext | None], AbstractContextManager[int]]
"""Serves an application until the end of the block, in plaintext without a context; yields the port."""


@contextlib.contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        assert isinstance(server.server_address, tuple)
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def _wrap(server: socketserver.TCPServer, context: ssl.SSLContext | None) -> None:
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)


class _QuietWerkzeug(WerkzeugHandler):
    protocol_version = "HTTP/1.1"

    @override
    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""


class _Quiet(WSGIRequestHandler):
    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _QuietDjango(basehttp.WSGIRequestHandler):  # type: ignore[misc]  # Django has no types
    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def werkzeug(app: WSGIApplication, context: ssl.SSLContext | None) -> AbstractContextManager[int]:
    """Serve as ``flask.Flask.run(ssl_context=context)`` does."""
    return _serving(
        werkzeug_server(HOST, 0, app, threaded=True, ssl_context=context, request_handler=_QuietWerkzeug)
    )


@contextlib.contextmanager
def wsgiref(app: WSGIApplication, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve with the standard library, one connection after the other."""
    server = make_server(HOST, 0, app, handler_class=_Quiet)
    _wrap(server, context)
    with _serving(server) as port:
        yield port


@contextlib.contextmanager
def django(app: WSGIApplication, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve as Django's ``runserver`` does."""
    server = basehttp.ThreadedWSGIServer((HOST, 0), _QuietDjango)
    server.set_app(app)
    _wrap(server, context)
    with _serving(server) as port:
        yield port


@contextlib.contextmanager
def waitress(app: WSGIApplication, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve with waitress, which has no TLS of its own."""
    listener = socket.create_server((HOST, 0))
    if context is not None:
        listener = context.wrap_socket(listener, server_side=True)
    server = waitress_server(app, sockets=[listener], threads=THREADS, asyncore_loop_timeout=0.05)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Its loop ends when there is nothing left to watch.
        server.trigger.pull_trigger(server._map.clear)  # noqa: SLF001
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        server.close()
        server.trigger.close()


@contextlib.contextmanager
def cheroot(app: WSGIApplication, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve with the server of CherryPy."""

    class Server(cheroot_wsgi.Server):
        @override
        def bind(self, *family: Any) -> socket.socket:
            super().bind(*family)
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_side=True)
            bound: socket.socket = self.socket
            return bound

    server = Server((HOST, 0), app, numthreads=THREADS)
    # It keeps ten otherwise.
    server.keep_alive_conn_limit = 100
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.stop()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        # What it left is found in here, and not in another test.
        gc.collect()


@contextlib.contextmanager
def gevent(app: WSGIApplication, context: ssl.SSLContext | None) -> Iterator[int]:
    """Serve with gevent's own server, in a process that is not monkey-patched."""
    options: dict[str, Any] = {} if context is None else {"ssl_context": context}

    def serve(service: Service, started: Started) -> None:
        server = GeventServer((HOST, 0), app, log=None, error_log=None, **options)
        serve_until_stopped(server, service, started)

    with running(serve) as service:
        yield service.port


WSGI_SERVERS: dict[str, WSGIServing] = {
    "werkzeug": werkzeug,
    "wsgiref": wsgiref,
    "django": django,
    "waitress": waitress,
    "cheroot": cheroot,
    "gevent": gevent,
}
