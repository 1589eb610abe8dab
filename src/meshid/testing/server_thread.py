"""An ASGI application on a real server in a thread, for the tests of a service."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from meshid.support.callables import takes
from meshid.support.types import check_type

_HOST = "127.0.0.1"
_SECONDS = 5
"""For the requests that are under way at the end; then they are cancelled."""


@contextlib.contextmanager
def serving(app: Callable[[Any, Any, Any], Awaitable[None]], context: ssl.SSLContext) -> Iterator[str]:
    """Serve an ASGI application over TLS until the end of a ``with`` block, on a free port of this machine.

    It runs on uvicorn, which must be installed, in a thread of this process, so a test may replace parts
    of the application. The block begins when the application has started (its lifespan, too), and ends
    when it has shut down.

    Args:
        app: The application as it is served in production, that is in its `meshid.http.ASGIMiddleware`.
        context: The context of the server, ``mesh.server_context(http=True)``.

    Yields:
        The URL of the server, such as ``"https://127.0.0.1:40123"``.

    Raises:
        ImportError: If uvicorn is not installed.
        RuntimeError: If the application does not start; the log has its reason.
        TypeError: If *app* is a WSGI application, or *context* no context.
    """
    if takes(app, 2) and not takes(app, 3):
        msg = (
            "app takes two arguments, as a WSGI application does, and this serves ASGI: docs/testing.md has a"
            " server for it"
        )
        raise TypeError(msg)
    check_type(type(context), ssl.SSLContext, "context", "a context, such as mesh.server_context(http=True)")
    import uvicorn  # noqa: PLC0415 - for those who call it

    config = uvicorn.Config(
        app,
        ssl_context_factory=lambda *_: context,
        log_config=None,
        proxy_headers=False,
        timeout_graceful_shutdown=_SECONDS,
    )
    server = uvicorn.Server(config)
    with socket.create_server((_HOST, 0)) as listener:
        port = listener.getsockname()[1]

        def run() -> None:
            # uvicorn exits where the application does not start.
            with contextlib.suppress(SystemExit):
                server.run([listener])

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    msg = "the application does not start: its log says why"
                    raise RuntimeError(msg)
                thread.join(0.01)
            yield f"https://{_HOST}:{port}"
        finally:
            server.should_exit = True
            thread.join()
