"""`meshid port`: mutual TLS in front of a plain service, until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import attrs

from meshid.cli.log_lines import show_log
from meshid.cli.port.checks import check
from meshid.cli.port.running import Running
from meshid.mesh import Mesh
from meshid.port.systemd import listening_sockets
from meshid.settings.settings import KEYS, Settings

_OPTIONS = {
    "host": "HOST",
    "port": "PORT",
    "upstream": "ADDRESS",
    "expect": "NAME",
    "proxy_protocol": None,
    "spiffe_tlv": "NUMBER",
    "authorizer": "unix:PATH",
    "status_address": "HOST:PORT",
    "max_connections": "NUMBER",
    "idle_timeout": "SECONDS",
    "drain_timeout": "SECONDS",
    "remote_upstream": None,
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments: the keys of the port, which come before all other settings."""
    about = {key.name: key.about.replace("`", "") for key in KEYS}
    for name, metavar in _OPTIONS.items():
        option = f"--{name.replace('_', '-')}"
        if metavar is None:
            about_it = about[name].removesuffix(": true or false")
            parser.add_argument(option, action="store_const", const=True, help=about_it)
        else:
            action = "append" if name == "expect" else "store"
            parser.add_argument(option, metavar=metavar, action=action, help=about[name])
    parser.add_argument(
        "--client",
        action="store_true",
        help="the other way round: listen on the loopback without TLS, and speak TLS to the upstream",
    )
    parser.add_argument("--quiet", action="store_true", help="log refusals and warnings only")
    parser.add_argument("--json", action="store_true", help="print and log JSON, one object a line")


def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 1 if connections had to be cut off.

    Raises:
        InvalidSettings: If a setting is missing or wrong.
        InvalidInput, SourceUnavailable: As `Mesh.from_settings` does.
        NoAnswer: If it cannot be listened where it should.
    """
    given = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    settings = Settings.from_env(**given)
    sockets = listening_sockets(os.environ)
    check(settings, [each.getsockname()[:2] for each in sockets], client=arguments.client)
    # Until the port runs, it would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    show_log(as_json=arguments.json, quiet=arguments.quiet)
    if arguments.client:
        # Nobody is admitted here, so nothing has to be said of a policy.
        settings = attrs.evolve(settings, service=None)
    with Mesh.from_settings(settings) as mesh, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        running = Running(mesh, settings, client=arguments.client, as_json=arguments.json)
        return runner.run(running.run(sockets))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - it is used where it is installed
    except ImportError:
        return None
    return uvloop.new_event_loop
