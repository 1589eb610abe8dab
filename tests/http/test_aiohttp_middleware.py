"""aiohttp's server, with each request judged before anything of the application sees it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Collection, Iterator

import pytest
from aiohttp import web

from meshid import Reason, peer_of
from meshid.http import aiohttp_middleware
from meshid.testing import CA
from tests.helpers.tls_peers import HOST, TIMEOUT, Heard, Service, Started, mesh_of, policy, running, stranger

RULES = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "charges"
from = ["/ns/shop/sa/web"]
to = ["payments"]
http = ["GET /charges/*", "GET /ws"]
[[allow]]
id = "reader"
from = ["/ns/shop/sa/reader"]
to = ["payments"]
http = ["GET /charges/*"]
"""
WEB, READER = "/ns/shop/sa/web", "/ns/shop/sa/reader"
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Shop:
    """Servers of one application: with our context, with another one, and without TLS."""

    def __init__(self, keep_encoded: Collection[str] = ()) -> None:
        self.ca, self.heard = CA("prod.example.org"), Heard()
        self.mesh = mesh_of(self.ca, policy=policy(RULES), audit=self.heard, keep_encoded=keep_encoded)
        self.seen: list[str] = []
        self.ports: dict[str, int] = {}

    async def answer(self, request: web.Request) -> web.Response:
        peer = request.get("meshid.peer")
        self.seen.append(f"{request.method} {request.path} {peer and peer.spiffe_id}")
        assert peer is None or peer_of(request) is peer
        return web.Response(text="hi")

    async def upgrade(self, request: web.Request) -> web.WebSocketResponse:
        self.seen.append("upgraded")
        accepted = web.WebSocketResponse()
        await accepted.prepare(request)
        return accepted

    async def serve(self, _: Service, started: Started) -> None:
        app = web.Application(middlewares=[aiohttp_middleware(self.mesh, public=["GET /healthz"])])
        app.router.add_get("/ws", self.upgrade)
        app.router.add_route("*", "/{rest:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        plain_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue("/ns/pay/sa/payments").load_into(plain_tls)
        contexts = {"ours": self.mesh.server_context(http=True), "another": plain_tls, "none": None}
        for name, context in contexts.items():
            site = web.TCPSite(runner, HOST, 0, ssl_context=context)
            await site.start()
            self.ports[name] = runner.addresses[-1][1]
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        started.put(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        await runner.cleanup()

    def ask(self, target: str, *fields: str, who: str = WEB, by: str = "ours", method: str = "GET") -> int:
        """Send one request as it is written; return the status."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
        with socket.create_connection((HOST, self.ports[by]), TIMEOUT) as plain:
            raw = plain if by == "none" else stranger(self.ca.issue(who)).wrap_socket(plain)
            with raw, raw.makefile("rb") as came:
                raw.sendall("\r\n".join(lines).encode("utf-8", "surrogateescape"))
                return int(came.readline().split()[1])


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    with running(lambda service, started: asyncio.run(shop.serve(service, started))):
        yield shop


@pytest.fixture(autouse=True)
def nothing_seen(shop: Shop) -> None:
    shop.seen.clear()


def test_a_peer_gets_what_it_may_ask_for_and_the_application_knows_it(shop: Shop) -> None:
    assert shop.ask("/charges/1?refunds=2") == 200
    assert shop.seen == ["GET /charges/1 spiffe://prod.example.org/ns/shop/sa/web"]


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/refunds/1"), ("POST", "/charges/1"), ("GET", "/charges"), ("GET", "/"), ("OPTIONS", "*")],
    ids=lambda part: part,
)
def test_whatever_is_not_allowed_is_refused(shop: Shop, method: str, target: str) -> None:
    assert shop.ask(target, method=method) == 403
    assert shop.seen == []


def test_a_websocket_is_judged_before_it_is_accepted(shop: Shop) -> None:
    assert shop.ask("/ws", *UPGRADE) == 101
    assert shop.seen == ["upgraded"]
    assert shop.ask("/ws", *UPGRADE, who=READER) == 403
    assert shop.seen == ["upgraded"]


@pytest.mark.parametrize("by", ["another", "none"])
def test_a_server_without_our_context_serves_nobody(shop: Shop, by: str) -> None:
    assert shop.ask("/charges/1", by=by) == 403
    assert shop.ask("/ws", *UPGRADE, by=by) == 403
    assert shop.ask("/nowhere", by=by) == 403
    assert shop.seen == []
    assert shop.ask("/healthz", by=by) == 200
    assert shop.seen == ["GET /healthz None"]


@pytest.mark.parametrize(
    ("target", "routed"),
    [
        ("/charges/caf%C3%A9", "/charges/café"),
        ("/charges/a%20b", "/charges/a b"),
        ("http://elsewhere/charges/1", "/charges/1"),
        ("https://elsewhere/charges/1?a", "/charges/1"),
        ("http://elsewhere/refunds/1", None),
        ("/charges/%2561", None),
        ("/charges/a%2Bb", "/charges/a+b"),
        ("/charges/a%2Fb", None),
        ("/charges/a%3Bb", None),
        ("/charges/caf%E9", None),
        ("/charges/café", None),
        ("/charges/caf\udce9", None),
        ("//charges/1", None),
        ("//elsewhere/charges/1", None),
        ("/charges//1", None),
        ("/refunds/../charges/1", None),
        ("/charges/%2e%2e", None),
        ("/charges/1#/../refunds", "/charges/1"),
        ("/charges/1%23", None),
        ("/charges/1\\", None),
    ],
    ids=ascii,
)
def test_the_path_that_is_judged_is_the_one_that_is_routed(
    shop: Shop, target: str, routed: str | None
) -> None:
    # 400 is of aiohttp's own parser.
    assert shop.ask(target) in ({400, 403} if routed is None else {200})
    assert shop.seen == ([] if routed is None else [f"GET {routed} spiffe://prod.example.org{WEB}"])


def test_no_peer_is_a_reason_on_record_and_in_the_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.heard.of_handshakes()
    shop.ask("/charges/1", by="none")
    assert shop.heard.reason() is Reason.NO_CERTIFICATE
    assert "over no connection of ours" in caplog.text
    caplog.clear()
    shop.ask("/refunds/1")
    assert "over no connection of ours" not in caplog.text


def test_what_stays_encoded_is_one_segment_as_it_is_routed() -> None:
    shop = Shop(keep_encoded=["%2F", "%3B"])
    with running(lambda service, started: asyncio.run(shop.serve(service, started))):
        assert shop.ask("/charges/caf%C3%A9%2fb") == 200
        assert shop.seen == [f"GET /charges/caf\u00e9/b spiffe://prod.example.org{WEB}"]
        assert shop.ask("/charges/a%3Bb") == 200
        assert shop.ask("/charges/a;b") == 403
        assert shop.ask("/charges/a%2F..") == 403
        assert shop.ask("/charges/a%252Fb") == 403
