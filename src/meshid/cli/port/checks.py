"""What is wrong with the settings of a port, in the words of settings."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from meshid.errors import InvalidSettings, Problem
from meshid.port.upstream import UNIX, Upstream, is_host, is_loopback, unix_path
from meshid.settings.settings import Settings
from meshid.support.quoting import quote

Place = tuple[str, int]
"""An IP address and a port."""


def check(settings: Settings, handed_over: Sequence[Place], *, client: bool) -> None:
    """Check what a port needs, before anything is opened.

    Args:
        settings: The settings.
        handed_over: Where sockets listen that systemd has opened.
        client: Whether it is a port for local clients.

    Raises:
        InvalidSettings: With everything that is wrong.
    """
    of_its_kind = _of_client if client else _of_server
    if problems := (*_of_both(settings, handed_over), *of_its_kind(settings, handed_over)):
        raise InvalidSettings(problems)


def _of_both(settings: Settings, handed_over: Sequence[Place]) -> Iterator[Problem]:
    if settings.credentials is None and settings.workload_api is None:
        yield Problem(
            "credentials", "is not set: a port has a certificate of its own; set MESHID_CREDENTIALS"
        )
    if settings.port is None and not handed_over and not settings.host.startswith(UNIX):
        yield Problem("port", "is not set: where to listen? Set MESHID_PORT; 0 is a free one")
    yield from _of_host(settings, handed_over)
    if settings.upstream is None:
        what = "is not set: what is behind the port? Set MESHID_UPSTREAM, such as 127.0.0.1:8080 or"
        yield Problem("upstream", f"{what} unix:/run/app.sock")
        return
    try:
        upstream = Upstream.parse(settings.upstream)
    except ValueError as error:
        yield _problem(settings, "upstream", str(error).removeprefix("upstream "))
        return
    if _is_own(upstream, settings, handed_over):
        what = f"{quote(str(upstream))} is where this port itself listens; write the address of your service"
        yield _problem(settings, "upstream", what)


def _of_host(settings: Settings, handed_over: Sequence[Place]) -> Iterator[Problem]:
    host = settings.host
    try:
        if host.startswith(UNIX):
            unix_path(host, "host")
            return
    except ValueError as error:
        yield _problem(settings, "host", str(error).removeprefix("host "))
        return
    if not is_host(host):
        what = (
            "is no address and no name of a host: write one of this machine, such as 0.0.0.0, or unix:/path"
        )
        yield _problem(settings, "host", f"{quote(host)} {what}; the port is MESHID_PORT")
        return
    at = settings.status_address
    ours = set(handed_over) or _places(host, settings.port or 0)
    if at is not None and at.port and _places(at.host, at.port) & ours:
        what = f"{quote(str(at))} is where the port itself listens; write another port, or 0 for a free one"
        yield _problem(settings, "status_address", what)


def _of_server(settings: Settings, _: Sequence[Place]) -> Iterator[Problem]:
    if settings.service is None:
        yield Problem("service", "is not set: it is what clients of this port reach; set MESHID_SERVICE")
    if settings.policy is None:
        yield Problem("policy", "is not set: nobody would be admitted; set MESHID_POLICY")
    if settings.authorizer is not None and not settings.proxy_protocol:
        what = "needs MESHID_PROXY_PROTOCOL=true: the proxy asks with the handle that is in that header"
        yield _problem(settings, "authorizer", what)
    if settings.expect and settings.proxy_protocol:
        what = "is for a plain upstream, and does not go with MESHID_EXPECT"
        yield _problem(settings, "proxy_protocol", what)
    upstream = settings.upstream or ""
    if not settings.expect and not settings.remote_upstream and _is_elsewhere(upstream):
        what = "is not on the loopback, and would get plain text: name the server for TLS with MESHID_EXPECT"
        yield _problem(settings, "upstream", f"{quote(upstream)} {what}, or set MESHID_REMOTE_UPSTREAM=true")


def _of_client(settings: Settings, handed_over: Sequence[Place]) -> Iterator[Problem]:
    if not settings.expect:
        what = "is not set: with --client the upstream is a server of the mesh, and must have this name"
        yield Problem("expect", f"{what}; set MESHID_EXPECT, such as /ns/pay/sa/api")
    if len(settings.alpn) > 1:
        what = "must be one protocol with --client: clients speak plainly, and do not hear of the other"
        yield _problem(settings, "alpn", what)
    what = "is not of the loopback, and with --client whoever can connect speaks as this service"
    for host, _ in handed_over or [(settings.host, 0)]:
        if is_host(host) and not is_loopback(host):
            yield _problem(
                settings, "host", f"{quote(host)} {what}; set MESHID_HOST=127.0.0.1, or unix:/path"
            )
    for name in ("proxy_protocol", "authorizer"):
        if getattr(settings, name):
            yield _problem(settings, name, "does not go with --client, whose clients have no names")


def _problem(settings: Settings, name: str, what: str) -> Problem:
    return Problem(f"{name}, from {settings.origins[name]}", what)


def _is_elsewhere(upstream: str) -> bool:
    with suppress(ValueError):
        return not Upstream.parse(upstream).is_local
    # Whatever it is, that is another problem.
    return False


def _is_own(upstream: Upstream, settings: Settings, handed_over: Sequence[Place]) -> bool:
    """Tell whether connections would come back to the port, without an end."""
    if upstream.port is None:
        own = settings.host.removeprefix(UNIX)
        return own != settings.host and Path(own).resolve() == Path(upstream.host).resolve()
    theirs = _places(upstream.host, upstream.port)
    ours = set(handed_over) or _places(settings.host, settings.port or 0)
    # At 0.0.0.0 it listens at every address of this machine; which these are is not looked up.
    everywhere = {port for host, port in ours if ip_address(host).is_unspecified}
    return bool(theirs & ours) or (upstream.is_local and upstream.port in everywhere)


def _places(host: str, port: int) -> set[Place]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        # Said where it is bound or connected.
        return set()
    return {(str(address[0]).partition("%")[0], port) for *_, address in found}
