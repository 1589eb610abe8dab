"""The authorizer, as a proxy hears it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import attrs
import pytest

from meshid import Mesh
from meshid.http import authorizer
from meshid.http.asgi import App
from meshid.testing import CA
from tests.helpers.forwarding import written
from tests.helpers.tls_peers import Heard

ASKING = ("nginx", "haproxy", "envoy", "caddy", "traefik", "rfc9440")
for_each_proxy = pytest.mark.parametrize("proxy", ASKING)

Pairs = Iterable[tuple[bytes, bytes]]


def question(proxy: str, method: str, target: str, headers: Pairs) -> dict[str, Any]:
    """Return the scope of a proxy's question."""
    scope = {"type": "http", "method": "GET", "path": "/authorize", "raw_path": b"/authorize"}
    raw = target.encode("latin-1")
    if proxy == "envoy":
        path = b"/authorize" + raw.partition(b"?")[0]
        told: list[tuple[bytes, bytes]] = []
        scope |= {"method": method, "path": path.decode("latin-1"), "raw_path": path}
    else:
        kind = "original" if proxy in {"nginx", "haproxy", "rfc9440"} else "forwarded"
        told = [(f"x-{kind}-method".encode(), method.encode()), (f"x-{kind}-uri".encode(), raw)]
    return {**scope, "headers": [(b"host", b"meshid"), *told, *headers]}


@attrs.frozen
class Answer:
    """What the proxy got, without `x-meshid-` before the names."""

    status: int
    meshid: dict[str, str]


def asked(app: App, scope: dict[str, Any]) -> Answer:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError  # it never reads a body

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert len(headers) == len(start["headers"])
    assert (headers.pop("cache-control"), headers.pop("content-length"), body["body"]) == (
        "no-store",
        "0",
        b"",
    )
    assert all(name.startswith("x-meshid-") for name in headers)
    return Answer(int(start["status"]), {name[9:]: value for name, value in headers.items()})


class Scene:
    """A mesh and its authorizer; peers are issued by an intermediate that only chains have."""

    def __init__(self, proxy: str, mesh: Mesh, ca: CA) -> None:
        self.proxy, self.mesh = proxy, mesh
        self.issuing = ca.intermediate()
        self.app = authorizer(mesh, proxy=proxy, intermediates=self.issuing.pem)
        self.shop = self.headers("/ns/shop/sa/web")
        self.support = self.headers("/ns/support/sa/desk")

    def headers(self, path: str) -> list[tuple[bytes, bytes]]:
        return written(self.proxy, self.issuing.issue(path).chain)

    def ask(self, headers: Pairs, method: str = "GET", target: str = "/charges/7") -> Answer:
        return asked(self.app, question(self.proxy, method, target, headers))


@pytest.fixture(params=ASKING)
def scene(request: pytest.FixtureRequest, mesh: Mesh, prod_ca: CA) -> Scene:
    return Scene(request.param, mesh, prod_ca)


@pytest.fixture
def nginx(mesh: Mesh, prod_ca: CA) -> Scene:
    return Scene("nginx", mesh, prod_ca)


class TestAnswers:
    def test_each_proxy_is_told_who_may_do_what(self, scene: Scene, heard: Heard) -> None:
        yes = scene.ask(scene.shop, "POST", "/charges?card=4111")
        assert yes == Answer(
            200,
            {
                "peer": "spiffe://prod.example.org/ns/shop/sa/web",
                "rule": "shop",
                "policy": scene.mesh.snapshot.policy.hash if scene.mesh.snapshot.policy else "",
            },
        )
        event = heard.next()
        # The query is on no record: it may hold secrets.
        assert (event.decision.request, event.decision.target) == ("POST /charges", "payments")
        assert scene.ask(scene.support).status == 200
        assert scene.ask(scene.support, "POST") == Answer(403, {"reason": "no_rule"})
        assert scene.ask(scene.headers("/ns/other/sa/x")) == Answer(403, {"reason": "no_rule"})
        assert scene.ask(()) == Answer(401, {"reason": "no_certificate"})
        assert [heard.reason() for _ in range(4)] == ["allowed", "no_rule", "no_rule", "no_certificate"]
        assert heard.is_quiet()
