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
from meshid.cli.running_options import add_log, add_settings, settings_of
from meshid.mesh import Mesh
from meshid.port.systemd import listening_sockets

_OPTIONS = {
    "host": "HOST",
    "port": "PORT",
    "upstream": "ADDRESS",
    "expect": "NAME",
    "alpn": "PROTOCOL",
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
    add_settings(parser, _OPTIONS)
    parser.add_argument(
        "--client",
        action="store_true",
        help="the other way round: listen on the loopback without TLS, and speak TLS to the upstream",
    )
    add_log(parser)


def run(arguments: Namespace) -> int:
    """Serve until SIGTERM or SIGINT; return 1 if connections had to be cut off.

    Raises:
        InvalidSettings: If a setting is missing or wrong.
        InvalidInput, SourceUnavailable: As `Mesh.from_settings` does.
        NoAnswer: If it cannot be listened where it should.
    """
    settings = settings_of(arguments, _OPTIONS)
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
