"""What a client writes into the headers of any proxy changes no verdict, whichever proxy asks."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from meshid import Mesh
from meshid.http import Forwarded, authorizer
from meshid.http.asgi import Message
from meshid.testing import Issued
from tests.helpers.forwarding import PROXIES, Pairs, written
from tests.helpers.proxy_dialects import JUDGED, forged
from tests.helpers.proxy_scene import POLICY, Clients, policy_of
from tests.helpers.tls_peers import mesh_of


@attrs.frozen
class Cast:
    """Who takes part."""

    mesh: Mesh
    victim: Issued
    wrong: Issued
    intermediates: bytes


@pytest.fixture(scope="module")
def cast() -> Cast:
    clients = Clients()
    mesh = mesh_of(clients.prod, policy=policy_of(POLICY))
    return Cast(mesh, clients.issued("checkout"), clients.issued("web"), clients.intermediates)


def answer(cast: Cast, dialect: str, request: str, lines: Pairs) -> tuple[int, dict[bytes, bytes]]:
    """Ask the authorizer of *dialect* as its proxy does."""
    method, path = request.split()
    judged = list(zip(JUDGED[dialect], (method.encode(), path.encode()), strict=False))
    asked = f"/authorize{path}" if dialect == "envoy" else "/authorize"
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method if dialect == "envoy" else "GET",
        "scheme": "http",
        "path": asked,
        "raw_path": asked.encode(),
        "query_string": b"",
        "headers": [*judged, *lines],
        "client": None,
        "server": ("/run/meshid.sock", None),
    }
    app = authorizer(cast.mesh, proxy=dialect, intermediates=cast.intermediates)
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("dialect", JUDGED)
class TestOneDialect:
    """The authorizer of one proxy, and a client that writes the headers of all the others."""

    def test_its_own_headers_are_believed(self, dialect: str, cast: Cast) -> None:
        told = answer(cast, dialect, "POST /v1/charges", written(dialect, cast.victim.chain))
        assert told[0] == 200
        assert told[1][b"x-meshid-peer"] == b"spiffe://prod.example.org/ns/checkout/sa/api"

    @pytest.mark.parametrize(
        ("request_", "status"), [("POST /v1/charges", 401), ("GET /public", 401)], ids=["charges", "public"]
    )
    def test_a_client_without_certificate_stays_without(
        self, dialect: str, request_: str, status: int, cast: Cast
    ) -> None:
        told = answer(cast, dialect, request_, forged(cast.victim.chain, besides=dialect))
        assert told == answer(cast, dialect, request_, [])
        assert told[0] == status

    @pytest.mark.parametrize(
        ("request_", "status"), [("POST /v1/charges", 403), ("GET /public", 200)], ids=["charges", "public"]
    )
    def test_another_client_stays_who_it_is(
        self, dialect: str, request_: str, status: int, cast: Cast
    ) -> None:
        own = written(dialect, cast.wrong.chain)
        before = answer(cast, dialect, request_, own)
        lies = forged(cast.victim.chain, besides=dialect)
        assert (
            answer(cast, dialect, request_, own + lies)
            == answer(cast, dialect, request_, lies + own)
            == before
        )
        assert before[0] == status

    def test_its_own_headers_twice_are_refused(self, dialect: str, cast: Cast) -> None:
        own, lies = written(dialect, cast.wrong.chain), written(dialect, cast.victim.chain)
        for lines in (own + lies, lies + own, lies + lies):
            assert answer(cast, dialect, "GET /public", lines)[0] == 403

    def test_the_request_twice_is_refused(self, dialect: str, cast: Cast) -> None:
        own = written(dialect, cast.victim.chain)
        for name, value in zip(JUDGED[dialect], (b"GET", b"/public"), strict=False):
            assert answer(cast, dialect, "GET /public", [*own, (name, value)])[0] == 403


@pytest.mark.parametrize("dialect", PROXIES)
def test_only_its_own_headers_are_read(dialect: str, cast: Cast) -> None:
    chain = cast.victim.chain
    reader = Forwarded(dialect)
    assert reader.chain(forged(chain, besides=dialect)) == ()
    assert reader.chain(written(dialect, chain))[0] == chain[0]
