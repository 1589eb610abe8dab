"""A bearer token beside the certificate of the client, through each real proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import attrs
import pytest

from meshid.http import authorizer
from tests.helpers.bearer_scene import SENT, BearerScene, policy_with_tokens
from tests.helpers.proxies import NGINX
from tests.helpers.proxy_scene import SPEAKING, Answer, Line, Line2, Scene, proxy_scene, serving_app
from tests.helpers.tls_peers import stranger
from tests.proxies import test_behind_port as behind_port
from tests.proxies.test_caddy import caddy_of
from tests.proxies.test_envoy import envoy
from tests.proxies.test_haproxy import haproxy
from tests.proxies.test_nginx import nginx_of

INVALID = 'Bearer error="invalid_token"'
SEVERAL = {"two tokens", "a token behind another scheme"}
"""nginx itself answers 400 to these."""

Way = Callable[[Scene], AbstractContextManager[int]]
"""Starts a proxy that asks, and the authorizer that it asks; gives the port for clients."""


class Running(Protocol):
    @property
    def port(self) -> int: ...


Start = Callable[[Scene], AbstractContextManager[Running]]


def _ends_tls(proxy: str, start: Start) -> Way:
    @contextlib.contextmanager
    def way(scene: Scene) -> Iterator[int]:
        with serving_app(authorizer(scene.mesh, proxy=proxy), scene.socket), start(scene) as running:
            yield running.port

    return way


def _asking_at_its_socket(start: Callable[[Scene, Path], AbstractContextManager[Running]]) -> Start:
    return lambda scene: start(scene, scene.socket)


def _behind_port(name: str) -> Way:
    start, unix, _ = behind_port.ASKING[name]

    @contextlib.contextmanager
    def way(scene: Scene) -> Iterator[int]:
        with behind_port.behind_port(scene, name, start, asks=True, unix=unix) as behind:
            yield behind.running.number

    return way


WAYS: dict[str, Way] = {
    **{name: _ends_tls("nginx", partial(nginx_of, program=program)) for name, program in NGINX.items()},
    "HAProxy": _ends_tls("haproxy", _asking_at_its_socket(haproxy)),
    "Envoy": _ends_tls("envoy", _asking_at_its_socket(envoy)),
    "Caddy": _ends_tls("caddy", caddy_of),
    **{f"{name} behind the port": _behind_port(name) for name in behind_port.ASKING},
}


@attrs.frozen
class Proxied:
    """A proxy that runs, with those who ask through it."""

    name: str
    scene: Scene
    tokens: BearerScene
    port: int

    def ask(
        self,
        request: tuple[str, str],
        *values: str,
        who: str = "web",
        speak: type[Line | Line2] = Line,
    ) -> Answer:
        with speak(self.port, stranger(getattr(self.tokens, who))) as line:
            fields: list[tuple[str | bytes, str | bytes]] = [("Authorization", value) for value in values]
            return line.ask(*request, fields, body=b"amount=1")


@pytest.fixture(scope="module", params=WAYS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    with proxy_scene(tmp_path_factory.mktemp("tokens")) as scene:
        tokens = BearerScene(scene.clients.prod)
        with WAYS[request.param](scene) as port:
            yield Proxied(request.param, scene, tokens, port)


@pytest.fixture
def proxied(started: Proxied) -> Proxied:
    scene = started.scene
    scene.restore()
    scene.mesh.publish(policy=policy_with_tokens(), keys=started.tokens.keys())
    return started


CHARGE, REFUND = ("POST", "/charges/1"), ("POST", "/refunds")


def test_a_token_counts_is_left_alone_or_is_refused(proxied: Proxied) -> None:
    """Agreeing, bound, disagreeing, bound to another certificate, and the rest."""
    for name, sent in SENT.items():
        values = sent.values(proxied.tokens)
        answer, received = proxied.ask(CHARGE, *values), proxied.scene.upstream.taken()
        assert not [each for each in answer.headers if each.startswith("x-meshid")], name
        if sent.reason is None:
            assert answer.status == 200, name
            [request] = received
            assert (request.body, request.all("authorization")) == (
                b"amount=1",
                [it.encode() for it in values],
            )
            continue
        assert received == [], name
        if name in SEVERAL and "nginx" in proxied.name:
            assert answer.status == 400, name
        else:
            assert (answer.status, answer.headers["www-authenticate"]) == (401, INVALID), name


def test_where_a_rule_demands_a_token_a_certificate_alone_is_not_enough(proxied: Proxied) -> None:
    token, other = (f"Bearer {proxied.tokens.token(who)}" for who in ("web", "desk"))
    asked = [("web", [token], 200), ("web", [], 403), ("web", [other], 401), ("desk", [token], 401)]
    # Behind the port, clients speak HTTP/1.1 unless something else is set.
    for speak in [Line] if "behind" in proxied.name else SPEAKING.values():
        for who, values, status in [*asked, ("desk", [other], 403)]:
            answer = proxied.ask(REFUND, *values, who=who, speak=speak)
            challenge = INVALID if status == 401 else None
            assert (answer.status, answer.headers.get("www-authenticate")) == (status, challenge)
        assert len(proxied.scene.upstream.taken()) == 1


def test_the_requests_of_one_connection_have_each_its_own_token(proxied: Proxied) -> None:
    token = f"Bearer {proxied.tokens.token()}"
    with Line(proxied.port, stranger(proxied.tokens.web)) as line:
        got = [
            line.ask("GET", "/refunds", [("Authorization", value) for value in values]).status
            for values in ([token], [], [token], [token], [])
        ]
    assert got == [200, 403, 200, 200, 403]
    assert [each.all("authorization") for each in proxied.scene.upstream.taken()] == [[token.encode()]] * 3
