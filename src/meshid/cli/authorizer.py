"""`meshid authorizer`: a proxy asks it about each request, at a Unix socket, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import cast

from meshid.cli.asgi_server import config_of, load_uvicorn
from meshid.cli.inputs import read_some
from meshid.cli.log_lines import show_log
from meshid.cli.no_answer import NoAnswer, errors_named
from meshid.cli.running_options import add_log, add_settings, in_force, say, settings_of
from meshid.errors import InvalidSettings, Problem
from meshid.http import Forwarded, authorizer, private_socket
from meshid.http.asgi import App
from meshid.http.requested import requested_by
from meshid.mesh import Mesh
from meshid.policy import Policy
from meshid.port.systemd import READY, notify
from meshid.settings.settings import Settings

_OPTIONS = {"authorizer": "unix:PATH", "proxy": "NAME", "intermediates": "FILE", "elements": "NUMBER"}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments: keys, which come before all other settings."""
    add_settings(parser, _OPTIONS)
    add_log(parser)


def run(arguments: Namespace) -> int:
    """Answer until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: If a setting is missing or wrong.
        InvalidInput, SourceUnavailable: As `Mesh.from_settings` and `private_socket` do.
        MissingExtra: Without the extra ``authorizer``.
        NoAnswer: If no authorizer can be made of the settings.
        OSError: If the socket cannot be made.
    """
    settings = settings_of(arguments, _OPTIONS)
    path, proxy = _needed(settings)
    _check_sockets()
    uvicorn = load_uvicorn()
    # There is nothing to reload, as trust and policy follow their sources; it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    show_log(as_json=arguments.json, quiet=arguments.quiet)
    logging.getLogger("uvicorn").handlers = logging.getLogger("meshid").handlers
    with Mesh.from_settings(settings) as mesh:
        app = _app(mesh, proxy, settings)
        with private_socket(path) as listener:
            server = uvicorn.Server(config_of(uvicorn, app, proxy))
            for number in (signal.SIGTERM, signal.SIGINT):
                # When uvicorn has drained, it raises the signal again, which would end the process there.
                signal.signal(number, lambda *_: setattr(server, "should_exit", True))
            _tell_start(mesh, path, proxy, as_json=arguments.json)
            server.run(sockets=[listener])
    return 0


def _needed(settings: Settings) -> tuple[Path, str]:
    """Return the path of the socket and the name of the proxy."""
    problems = [
        Problem(name, f"is not set: {what}")
        for name, what in {
            "authorizer": "where does the proxy ask? Set MESHID_AUTHORIZER=unix:/run/meshid/authorizer.sock",
            "proxy": "who asks? Set MESHID_PROXY, such as nginx",
            "service": "it is what peers reach through the proxy; set MESHID_SERVICE",
            "policy": "nobody would be admitted; set MESHID_POLICY",
        }.items()
        if getattr(settings, name) is None
    ]
    if problems:
        raise InvalidSettings(tuple(problems))
    proxy = cast("str", settings.proxy)
    try:
        requested_by(Forwarded(proxy, elements=settings.elements).proxy)
    except ValueError as error:
        name = "elements" if str(error).startswith("elements") else "proxy"
        raise InvalidSettings((Problem(f"{name}, from {settings.origins[name]}", str(error)),)) from error
    return cast("Path", settings.authorizer), proxy


def _check_sockets() -> None:
    """Refuse the sockets of systemd: who connects to one would wait for ever."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        msg = "systemd hands over a socket, and the authorizer makes its own: remove the .socket unit"
        raise NoAnswer(msg)


def _app(mesh: Mesh, proxy: str, settings: Settings) -> App:
    pem = b"" if settings.intermediates is None else _read(settings, settings.intermediates)
    with errors_named(str(settings.intermediates)):
        return authorizer(mesh, proxy=proxy, intermediates=pem or (), elements=settings.elements)


def _read(settings: Settings, intermediates: Path) -> bytes:
    try:
        return read_some(str(intermediates))
    except NoAnswer as error:
        msg = f"intermediates, from {settings.origins['intermediates']}: {error.lines[0]}"
        raise NoAnswer(msg) from error


def _tell_start(mesh: Mesh, path: Path, proxy: str, *, as_json: bool) -> None:
    # A mesh that was told of a policy does not start without one.
    policy = cast("Policy", mesh.snapshot.policy)
    facts = {
        "socket": f"unix:{path}",
        "proxy": proxy,
        "service": mesh.service,
        "environment": policy.environment.name,
        "policy_hash": policy.hash,
    }
    line = f"{proxy} asks at unix:{path} about {mesh.service}; {in_force(policy)}"
    say(line, as_json=as_json, **facts)
    notify(os.environ, READY, f"STATUS={line}")
