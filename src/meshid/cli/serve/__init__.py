"""`meshid serve`: an ASGI application under mutual TLS, each request judged, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.cli.asgi_server import load_uvicorn
from meshid.cli.log_lines import show_log
from meshid.cli.running_options import add_log, add_settings, settings_of
from meshid.cli.serve.application import load_application
from meshid.cli.serve.serving import Serving
from meshid.errors import InvalidSettings, Problem
from meshid.http import ASGIMiddleware
from meshid.mesh import Mesh
from meshid.port.systemd import listening_sockets
from meshid.port.upstream import is_host
from meshid.settings.settings import Settings
from meshid.support.quoting import quote

_OPTIONS: dict[str, str | None] = {
    "host": "HOST",
    "port": "PORT",
    "status_address": "HOST:PORT",
    "drain_timeout": "SECONDS",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments: the application, and keys, which come before all other settings."""
    parser.add_argument(
        "application",
        metavar="MODULE:NAME",
        help="the ASGI application, such as main:app for `app` in main.py of this directory",
    )
    parser.add_argument(
        "--public",
        metavar="'METHOD PATH'",
        action="append",
        default=[],
        help="requests that need no rule, such as 'GET /healthz', of whoever may connect; may be repeated",
    )
    add_settings(parser, _OPTIONS)
    add_log(parser)


def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 1 if connections had to be cut off.

    Raises:
        InvalidSettings: If a setting is missing or wrong.
        InvalidInput, SourceUnavailable: As `Mesh.from_settings` and `ASGIMiddleware` do.
        MissingExtra: Without the extra ``serve``.
        NoAnswer: If there is no such application, if it does not start, or if it cannot be listened where it
            should.
    """
    settings = settings_of(arguments, _OPTIONS)
    sockets = listening_sockets(os.environ)
    if problems := tuple(_problems(settings, is_handed_over=bool(sockets))):
        raise InvalidSettings(problems)
    uvicorn = load_uvicorn("serve")
    # Until it runs, it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Before our log: the application may configure its own, which ends the handlers that it finds.
    application = load_application(arguments.application)
    show_log(as_json=arguments.json, quiet=arguments.quiet)
    _switch_on_again()
    logging.getLogger("uvicorn").handlers = logging.getLogger("meshid").handlers
    with Mesh.from_settings(settings) as mesh:
        judged = ASGIMiddleware(application, mesh, public=arguments.public)
        serving = Serving(uvicorn, judged, mesh, settings, as_json=arguments.json)
        with asyncio.Runner(loop_factory=serving.loop_factory) as runner:
            return runner.run(serving.run(sockets))


def _problems(settings: Settings, *, is_handed_over: bool) -> Iterator[Problem]:
    for name, what in {
        "credentials": "a server has a certificate; set MESHID_CREDENTIALS",
        "service": "it is what clients reach; set MESHID_SERVICE",
        "policy": "nobody would be admitted; set MESHID_POLICY",
        "port": "where to listen? Set MESHID_PORT; 0 is a free one",
    }.items():
        instead = {"credentials": settings.workload_api, "port": is_handed_over or None}.get(name)
        if getattr(settings, name) is None and instead is None:
            yield Problem(name, f"is not set: {what}")
    if not is_host(settings.host):
        what = "is no address and no name of a host: write one of this machine, such as 0.0.0.0"
        yield Problem(f"host, from {settings.origins['host']}", f"{quote(settings.host)} {what}")


def _switch_on_again() -> None:
    """Undo what `logging.config` does to each logger that it finds and is not told of."""
    for name in logging.root.manager.loggerDict:
        if name.startswith(("meshid.", "uvicorn.")):
            logging.getLogger(name).disabled = False
