"""Bearer tokens at the middlewares, on real servers: what counts, what is refused, and for which request."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from wsgiref.types import StartResponse, WSGIEnvironment

import attrs
import flask
import httpx
import pytest
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from meshid import Mesh, NoPeer, Peer, PeerRejected, Reason, Revocations, peer_of
from meshid.decisions import Call
from meshid.http import ASGIMiddleware, WSGIMiddleware, aiohttp_middleware, flask_require, starlette_require
from meshid.http.asgi import Receive, Scope, Send
from meshid.http.judging import RequestJudge
from meshid.testing import Issued
from meshid.tokens.key_set import KeySets
from tests.helpers.asgi_servers import SERVERS as ASGI_SERVERS
from tests.helpers.asgi_servers import answer
from tests.helpers.bearer_scene import SENT, BearerScene, bound_to, policy_with_tokens
from tests.helpers.proxy_scene import Line
from tests.helpers.tls_peers import HOST, TIMEOUT, Heard, Memory, Service, Started, running, stranger
from tests.helpers.wsgi_servers import WSGI_SERVERS

INVALID = 'Bearer error="invalid_token"'
ROUNDS = 12


@attrs.frozen
class Seen:
    """A request that an application has got."""

    path: str
    peer: Peer | None
    peer_of_request: Peer | None
    body: bytes = b""

    @property
    def evidence(self) -> list[str]:
        return [] if self.peer is None else sorted(self.peer.evidence)


def _asked(request: object, peer: Peer | None) -> Peer | None:
    return None if peer is None else peer_of(request)


class Applications:
    """One application in each family; what it has seen, by path."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer, body = scope.get("meshid.peer"), b""
        if scope["type"] == "websocket":
            await receive()
            self.seen.append(Seen(scope["path"], peer, _asked(scope, peer)))
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        more = True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append(Seen(scope["path"], peer, _asked(scope, peer), body))
        await answer(send, b"served")

    def wsgi(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        peer = environ.get("meshid.peer")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.seen.append(Seen(environ["PATH_INFO"], peer, _asked(environ, peer), body))
        start_response("200 OK", [("Content-Length", "6")])
        return [b"served"]

    async def aiohttp(self, request: web.Request) -> web.StreamResponse:
        peer = request.get("meshid.peer")
        self.seen.append(Seen(request.path, peer, _asked(request, peer), await request.read()))
        return web.Response(text="served")


Serving = Callable[[Applications, Mesh], AbstractContextManager[int]]
PUBLIC = ["GET /healthz"]


def _asgi(name: str) -> Serving:
    def serve(apps: Applications, mesh: Mesh) -> AbstractContextManager[int]:
        context = mesh.server_context(http=True, alpn=["h2", "http/1.1"] if name == "hypercorn" else ())
        return ASGI_SERVERS[name](ASGIMiddleware(apps.asgi, mesh, public=PUBLIC), context)

    return serve


def _wsgi(name: str) -> Serving:
    def serve(apps: Applications, mesh: Mesh) -> AbstractContextManager[int]:
        return WSGI_SERVERS[name](
            WSGIMiddleware(apps.wsgi, mesh, public=PUBLIC), mesh.server_context(http=True)
        )

    return serve


@contextlib.contextmanager
def _aiohttp(apps: Applications, mesh: Mesh) -> Iterator[int]:
    async def serve(service: Service, started: Started) -> None:
        app = web.Application(middlewares=[aiohttp_middleware(mesh, public=PUBLIC)])
        app.router.add_route("*", "/{rest:.*}", apps.aiohttp)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0, ssl_context=mesh.server_context(http=True)).start()
        service.port = runner.addresses[0][1]
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        started.put(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
        await runner.cleanup()

    with running(lambda service, started: asyncio.run(serve(service, started))) as service:
        yield service.port


SERVERS: dict[str, Serving] = {
    "uvicorn": _asgi("uvicorn, h11"),
    "hypercorn": _asgi("hypercorn"),
    "waitress": _wsgi("waitress"),
    "gevent": _wsgi("gevent"),
    "aiohttp": _aiohttp,
}


class Site:
    """A server that runs, and those who may ask it."""

    def __init__(self) -> None:
        self.scene = BearerScene()
        self.heard = Heard()
        self.mesh = self.scene.mesh(audit=self.heard)
        self.apps = Applications()
        self.port = 0

    def line(self, who: Issued) -> Line:
        return Line(self.port, stranger(who))

    def taken(self) -> list[Seen]:
        taken, self.apps.seen = self.apps.seen, []
        return taken

    def told(self) -> list[tuple[Call, Reason]]:
        """Return what was recorded, without the handshakes."""
        told: list[tuple[Call, Reason]] = []
        while not self.heard.is_quiet():
            event = self.heard.next()
            if event.call is not Call.ADMIT:
                told.append((event.call, event.decision.reason))
        return told


def credentials(*values: str) -> list[tuple[str | bytes, str | bytes]]:
    return [("Authorization", value) for value in values]


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def serving_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site()
    with SERVERS[request.param](site.apps, site.mesh) as site.port:
        yield site


@pytest.fixture
def site(serving_site: Site) -> Site:
    """A server in its first state, of which nothing was heard."""
    serving_site.mesh.publish(keys=serving_site.scene.keys(), revocations=Revocations())
    serving_site.taken()
    serving_site.told()
    return serving_site


class TestOnEveryServer:
    def test_a_token_counts_is_left_alone_or_is_refused(self, site: Site) -> None:
        for name, sent in SENT.items():
            with site.line(site.scene.web) as line:
                got = line.ask("POST", "/charges/1", credentials(*sent.values(site.scene)), b"amount=1")
            if sent.reason is None:
                [seen] = site.taken()
                assert (got.status, seen.body) == (200, b"amount=1"), name
                assert seen.evidence == (["token", "x509"] if sent.counts else ["x509"]), name
                assert seen.peer_of_request == seen.peer, name
                assert site.told() == [(Call.CHECK, Reason.ALLOWED)], name
            else:
                assert (got.status, got.body, got.headers["www-authenticate"]) == (
                    401,
                    b"forbidden\n",
                    INVALID,
                ), name
                assert sent.reason.value not in str(got.headers)
                assert site.taken() == [], name
                assert site.told() == [(Call.BIND, sent.reason)], name

    def test_where_a_rule_demands_a_token_a_certificate_alone_is_not_enough(self, site: Site) -> None:
        token = f"Bearer {site.scene.token()}"
        with site.line(site.scene.web) as line:
            got = line.ask("GET", "/refunds")
            assert (got.status, got.headers.get("www-authenticate")) == (403, None)
        assert site.told() == [(Call.CHECK, Reason.NO_RULE)]
        with site.line(site.scene.web) as line:
            assert line.ask("GET", "/refunds", credentials(token)).status == 200
        assert site.told() == [(Call.CHECK, Reason.ALLOWED)]
        [seen] = site.taken()
        assert seen.evidence == ["token", "x509"]

    def test_a_public_request_has_no_token(self, site: Site) -> None:
        for name in ("agreeing", "disagreeing", "not one word"):
            with site.line(site.scene.web) as line:
                got = line.ask("GET", "/healthz", credentials(*SENT[name].values(site.scene)))
            assert got.status == 200, name
        assert {tuple(each.evidence) for each in site.taken()} == {("x509",)}

    def test_each_request_of_a_connection_has_its_own_token(self, site: Site) -> None:
        """Pipelined, so that a server may read the next one before the last one is answered."""
        token = f"Bearer {site.scene.token()}"
        asked = [("/refunds", [token]), ("/refunds", []), ("/charges/1", []), ("/charges/2", [token])]
        asked += [("/charges/3", ["Bearer x y"]), ("/charges/4", []), ("/refunds", [token]), ("/refunds", [])]
        with site.line(site.scene.web) as line:
            for path, values in asked:
                fields = "".join(f"Authorization: {value}\r\n" for value in values)
                line.send(f"GET {path} HTTP/1.1\r\nHost: payments\r\n{fields}\r\n".encode())
            got = [line.answer().status for _ in asked]
        assert got == [200, 403, 200, 200, 401, 200, 200, 403]
        assert [(each.path, len(each.evidence)) for each in site.taken()] == [
            ("/refunds", 2),
            ("/charges/1", 1),
            ("/charges/2", 2),
            ("/charges/4", 1),
            ("/refunds", 2),
        ]

    def test_two_peers_with_two_tokens_at_once_are_not_mixed_up(self, site: Site) -> None:
        """Each with its own token, with none, and with that of the other one, in turns."""
        scene = site.scene
        tokens = {"web": f"Bearer {scene.token('web')}", "desk": f"Bearer {scene.token('desk')}"}
        wanted = {"own": (200, 2), "none": (200, 1), "other": (401, 0)}

        def ask(who: str, number: int) -> list[tuple[str, int]]:
            other = "desk" if who == "web" else "web"
            values = {"own": [tokens[who]], "none": [], "other": [tokens[other]]}
            got = []
            with site.line(getattr(scene, who)) as line:
                for turn in range(ROUNDS):
                    kind = list(values)[(turn + number) % 3]
                    path = f"/charges/{who}-{number}-{turn}-{kind}"
                    got.append((path, line.ask("GET", path, credentials(*values[kind])).status))
            return got

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(ask, who, number) for who in tokens for number in range(2)]
            got = dict(pair for job in jobs for pair in job.result(TIMEOUT))
        assert len(got) == 4 * ROUNDS
        for path, status in got.items():
            assert status == wanted[path.rpartition("-")[2]][0], path
        for seen in site.taken():
            assert seen.peer is not None
            who, kind = seen.path.split("/")[2].split("-")[0], seen.path.rpartition("-")[2]
            assert seen.peer.spiffe_id.path.endswith(f"/{who}")
            assert len(seen.evidence) == wanted[kind][1], seen.path
            assert seen.peer_of_request == seen.peer
            assert seen.peer.token is None or seen.peer.token.principal == who

    def test_a_token_whose_key_was_withdrawn_counts_no_more(self, site: Site) -> None:
        token = credentials(f"Bearer {site.scene.token()}")
        with site.line(site.scene.web) as line:
            assert line.ask("GET", "/refunds", token).status == 200
            site.mesh.publish(keys=KeySets())
            assert line.ask("GET", "/refunds", token).status == 401
            assert line.ask("GET", "/charges/1").status == 200
        assert [each.path for each in site.taken()] == ["/refunds", "/charges/1"]

    def test_a_peer_that_may_no_longer_be_there_is_refused_with_its_token(self, site: Site) -> None:
        """Its connection is ended, or where a server has read its request already, it is nobody."""
        token = credentials(f"Bearer {site.scene.token()}")
        with site.line(site.scene.web) as line:
            assert line.ask("GET", "/refunds", token).status == 200
            [seen] = site.taken()
            site.mesh.publish(revocations=Revocations(deny=["spiffe://prod.example.org/ns/shop/sa/web"]))
            assert line.ask("GET", "/refunds", token).status in {0, 403}
        assert site.taken() == []
        assert seen.peer is not None
        assert site.mesh.check(seen.peer).reason is Reason.DENY_LISTED


@pytest.fixture(scope="module", params=["uvicorn", "waitress", "aiohttp"])
def demanding(request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site()
    site.mesh = site.scene.mesh(tokens="required", audit=site.heard)
    with SERVERS[request.param](site.apps, site.mesh) as site.port:
        yield site


class TestWhereTokensAreRequired:
    def test_a_request_without_one_is_asked_for_it(self, demanding: Site) -> None:
        for name, sent in SENT.items():
            with demanding.line(demanding.scene.web) as line:
                got = line.ask("GET", "/charges/1", credentials(*sent.values(demanding.scene)))
            assert got.status == (200 if sent.counts else 401), name
            shows_none = name in {"nothing", "another scheme"}
            challenge = None if sent.counts else "Bearer" if shows_none else INVALID
            assert got.headers.get("www-authenticate") == challenge, name
        assert {tuple(each.evidence) for each in demanding.taken()} == {("token", "x509")}

    def test_a_public_request_needs_none(self, demanding: Site) -> None:
        with demanding.line(demanding.scene.web) as line:
            assert line.ask("GET", "/healthz").status == 200


@pytest.fixture(scope="module")
def uvicorn() -> Iterator[Site]:
    site = Site()
    with SERVERS["uvicorn"](site.apps, site.mesh) as site.port:
        yield site


def test_a_websocket_is_judged_by_its_token_before_it_is_accepted(uvicorn: Site) -> None:
    url = f"wss://{HOST}:{uvicorn.port}/ws"

    def visit(*values: str) -> int:
        uvicorn.taken()
        fields = [("Authorization", value) for value in values]
        context = stranger(uvicorn.scene.web)
        try:
            with connect(url, ssl=context, open_timeout=TIMEOUT, additional_headers=fields):
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    assert visit(f"Bearer {uvicorn.scene.token()}") == 101
    [seen] = uvicorn.taken()
    assert (seen.evidence, seen.peer_of_request) == (["token", "x509"], seen.peer)
    # What servers make of the close code 1008 before the handshake of a WebSocket is over.
    assert visit(f"Bearer {uvicorn.scene.token('desk')}") == 403
    assert visit(*SENT["two tokens"].values(uvicorn.scene)) == 403
    assert uvicorn.taken() == []


def test_the_streams_of_one_connection_have_each_its_own_token() -> None:
    site = Site()
    token, other = (f"Bearer {site.scene.token(who)}" for who in ("web", "desk"))
    sent = {"own": {"Authorization": token}, "none": {}, "other": {"Authorization": other}}
    statuses = {"own": 200, "none": 200, "other": 401}

    async def ask_all(context: ssl.SSLContext) -> dict[str, int]:
        url = f"https://{HOST}:{site.port}/charges"
        async with httpx.AsyncClient(http1=False, http2=True, verify=context, timeout=TIMEOUT) as client:

            async def ask(path: str, headers: dict[str, str]) -> tuple[str, int]:
                got = await client.get(f"{url}/{path}", headers=headers)
                assert got.http_version == "HTTP/2"
                return path, got.status_code

            paths = [(f"{number}-{kind}", sent[kind]) for number in range(ROUNDS) for kind in sent]
            return dict(await asyncio.gather(*(ask(*each) for each in paths)))

    with SERVERS["hypercorn"](site.apps, site.mesh) as site.port:
        got = asyncio.run(ask_all(stranger(site.scene.web)))
    assert len(got) == 3 * ROUNDS
    for path, status in got.items():
        assert status == statuses[path.partition("-")[2]], path
    assert len([each for each in site.told() if each[0] is Call.BIND]) == ROUNDS
    for seen in site.taken():
        assert seen.evidence == (["token", "x509"] if seen.path.endswith("own") else ["x509"]), seen.path


def test_a_server_that_keeps_one_of_two_headers_shows_the_same_one_to_all() -> None:
    """cheroot keeps the last one; nobody behind it knows of another."""
    site = Site()
    good, other = (f"Bearer {site.scene.token(who)}" for who in ("web", "desk"))
    with _wsgi("cheroot")(site.apps, site.mesh) as site.port:
        for values, status in (([other, good], 200), ([good, other], 401), (["Basic YQ==", good], 200)):
            with site.line(site.scene.web) as line:
                assert line.ask("GET", "/refunds", credentials(*values)).status == status
    assert [each.evidence for each in site.taken()] == [["token", "x509"]] * 2


class TestRequire:
    """The target of a part of the application is judged with the token of the request."""

    def test_in_starlette(self) -> None:
        async def office(request: StarletteRequest) -> JSONResponse:
            peer = await starlette_require.require("office")(request)
            assert peer_of(request) == peer
            return JSONResponse(sorted(peer.evidence))

        self._check("uvicorn, h11", Starlette(routes=[Route("/charges/office", office)]))

    def test_in_flask(self) -> None:
        app = flask.Flask(__name__)

        @app.get("/charges/office")
        @flask_require.require("office")
        def office() -> list[str]:
            return sorted(peer_of(flask.request).evidence)

        self._check("cheroot", app)

    @staticmethod
    def _check(name: str, app: object) -> None:
        scene = BearerScene()
        mesh = scene.mesh()
        if name in WSGI_SERVERS:
            serving = WSGI_SERVERS[name](WSGIMiddleware(app, mesh), mesh.server_context(http=True))  # type: ignore[arg-type]
        else:
            serving = ASGI_SERVERS[name](ASGIMiddleware(app, mesh), mesh.server_context(http=True))  # type: ignore[arg-type]
        with serving as port, Line(port, stranger(scene.web)) as line:
            for values, status in ([], 403), ([f"Bearer {scene.token()}"], 200), ([], 403):
                got = line.ask("GET", "/charges/office", credentials(*values))
                assert got.status == status
                assert (b'"token"' in got.body) is (status == 200)


@pytest.fixture(scope="module")
def scene() -> BearerScene:
    return BearerScene()


class TestJudging:
    """What the middlewares have in common."""

    def test_a_refused_token_is_on_record_with_what_was_asked_for(self, scene: BearerScene) -> None:
        heard = Heard()
        mesh = scene.mesh(audit=heard)
        peer = mesh.admit(scene.web.chain, request="GET /charges/1")
        heard.next()
        judge = RequestJudge(mesh)
        for _ in range(2):
            decision, bound = judge.judge(peer, "GET", "/charges/1", authorization="Bearer a b")
            assert (decision.allowed, bound) == (False, peer)
            event = heard.next()
            assert (event.call, event.decision) == (Call.BIND, decision)
            assert (event.decision.target, event.decision.request) == ("payments", "GET /charges/1")

    def test_nobody_has_a_token(self, scene: BearerScene) -> None:
        decision, bound = RequestJudge(scene.mesh()).judge(
            None, "GET", "/charges/1", authorization="Bearer a b"
        )
        assert (decision.reason, bound) == (Reason.NO_CERTIFICATE, None)

    def test_what_cannot_be_judged_is_refused_without_a_look_at_the_token(self, scene: BearerScene) -> None:
        mesh = scene.mesh()
        peer = mesh.admit(scene.web.chain, request="GET /charges/1")
        for target, routed in (("/charges/%2561", None), ("/charges/1", "/charges/2")):
            decision, _ = RequestJudge(mesh).judge(
                peer, "GET", target, routed=routed, authorization="Bearer a b"
            )
            assert decision.reason is Reason.UNSAFE_REQUEST

    def test_without_issuers_every_token_is_for_the_application(self, scene: BearerScene) -> None:
        """As it was before a policy could name any."""
        text = """
            version = 1
            [environments.prod]
            trust_domains = ["prod.example.org"]
            [[allow]]
            id = "shop"
            from = ["/ns/shop/**"]
            to = ["payments"]
        """
        mesh = scene.mesh(policy=policy_with_tokens(text), keys=KeySets())
        peer = mesh.admit(scene.web.chain)
        for name, sent in SENT.items():
            authorization = ", ".join(sent.values(scene))
            decision, bound = RequestJudge(mesh).judge(peer, "GET", "/charges/1", authorization=authorization)
            assert decision.allowed, name
            assert bound is peer, name

    def test_no_traceback_shows_the_token(self, scene: BearerScene) -> None:
        mesh = scene.mesh()
        peer = mesh.admit(scene.web.chain, request="GET /charges/1")
        token = scene.token("desk", cnf=bound_to(scene.web))
        decision, bound = RequestJudge(mesh).judge(peer, "GET", "/charges/1", authorization=f"Bearer {token}")
        assert not decision.allowed
        assert token not in repr((decision, bound))

    def test_a_peer_with_a_token_is_gone_with_its_connection(self, scene: BearerScene) -> None:
        mesh = scene.mesh()
        both = Memory(mesh.server_context(http=True), stranger(scene.web))
        both.shake_hands()
        bound = mesh.bind(peer_of(both.server), scene.token())
        request = {"meshid.peer": bound, "meshid.connection": both.server}
        assert peer_of(request) is bound
        mesh.publish(revocations=Revocations(deny=[str(bound.spiffe_id)]))
        with pytest.raises(PeerRejected):
            peer_of(request)
        begun = Memory(mesh.server_context(http=True), stranger(scene.web))
        with pytest.raises(NoPeer):
            peer_of({**request, "meshid.connection": begun.server})
