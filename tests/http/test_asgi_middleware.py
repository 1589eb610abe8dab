"""The ASGI middleware, under real servers: who asks, for what, and what of it the application sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import weakref
from collections.abc import Iterator
from contextvars import Context
from functools import cache
from typing import Any, cast
from urllib.parse import quote
from wsgiref.simple_server import demo_app

import attrs
import pytest
from cryptography import x509
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from meshid import InvalidRequest, Mesh, NoPeer, PeerRejected, Reason, Revocations, peer_of
from meshid.http import ASGIMiddleware
from meshid.http.asgi import Message, Receive, Scope, Send
from meshid.policy import Request
from meshid.testing import CA, Issued
from meshid.tls.connection_of_call import connection_of_call, is_about
from meshid.tls.connections import MeshSSLObject
from tests.helpers.asgi_servers import SERVERS, Recording, Talk, answer, under_uvicorn
from tests.helpers.tls_peers import HOST, TIMEOUT, Memory, mesh_of, stranger

WEB = "/ns/shop/sa/web"
DESK = "/ns/support/sa/desk"
"""May ask for ``GET /charges/*`` alone."""

NOT_OURS = "the request came over no connection of ours"


def name_of(path: str) -> str:
    return f"spiffe://prod.example.org{path}"


@attrs.frozen
class Served:
    """A server that runs, and what reached its application."""

    mesh: Mesh
    app: Recording
    port: int
    ca: CA

    def talk(self, path: str) -> Talk:
        return Talk(self.port, self.ca.issue(path))


@contextlib.contextmanager
def served(name: str, ca: CA, **options: Any) -> Iterator[Served]:  # noqa: ANN401
    mesh, app = mesh_of(ca), Recording()
    wrapped = ASGIMiddleware(app, mesh, **options)
    with SERVERS[name](wrapped, mesh.server_context(http=True)) as port:
        yield Served(mesh, app, port, ca)


@pytest.fixture(scope="module")
def authority() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module", params=SERVERS, ids=str)
def server(request: pytest.FixtureRequest, authority: CA) -> Iterator[Served]:
    with served(request.param, authority, public=["GET /healthz"]) as running:
        yield running


@pytest.fixture(scope="module")
def h11(authority: CA) -> Iterator[Served]:
    with served("uvicorn, h11", authority) as running:
        yield running


class TestEveryServer:
    def test_a_peer_is_told_and_each_request_is_judged(self, server: Served) -> None:
        with server.talk(DESK) as desk:
            for target, status in ((b"/charges/7?a=b", 200), (b"/refunds", 403), (b"/charges/8", 200)):
                before = len(server.app.scopes)
                got, body = desk.ask(target)
                assert got == status
                assert len(server.app.scopes) - before == (status == 200)
                if status == 200:
                    scope = server.app.scopes[-1]
                    assert str(scope["meshid.peer"].spiffe_id) == name_of(DESK)
                    assert peer_of(scope) == scope["meshid.peer"]
                    assert json.loads(body)["peer"] == name_of(DESK)
                else:
                    assert body == b"forbidden\n"
            assert desk.ask(b"/charges/7", method=b"POST", headers=b"Content-Length: 0\r\n")[0] == 403

    def test_a_public_request_of_a_peer_tells_the_peer(self, server: Served) -> None:
        with server.talk(DESK) as desk:
            status, body = desk.ask(b"/healthz")
        assert (status, json.loads(body)["peer"]) == (200, name_of(DESK))

    def test_peers_are_not_mixed_up_pipelined_nor_with_slow_bodies(self, server: Served) -> None:
        paths = [f"/ns/shop/sa/w{number}" for number in range(6)]
        with contextlib.ExitStack() as stack:
            talks = {path: stack.enter_context(server.talk(path)) for path in paths}
            for talk in talks.values():
                talk.send(b"/slow", method=b"POST", headers=b"Content-Length: 4\r\n")
            for talk in talks.values():
                talk.socket.sendall(b"slow")
            for path, talk in talks.items():
                assert json.loads(talk.got()[0][1])["peer"] == name_of(path)
            for _ in range(5):
                for talk in talks.values():
                    talk.send(b"/a", b"/b", b"/c")
                for path, talk in talks.items():
                    answers = [json.loads(body) for _, body in talk.got(3)]
                    assert [each["peer"] for each in answers] == [name_of(path)] * 3
                    assert [each["path"] for each in answers] == ["/a", "/b", "/c"]

    @pytest.mark.parametrize(
        "target",
        [
            *(b"/charges/7#frag", b"/charges/7%23frag", b"//charges/7", b"/charges//7", b"/charges/%2561"),
            *(b"https://payments/charges/7", b"//payments/charges/7", b"/charges/caf%C3%A9", b"*"),
            *(b"/charges/caf%E9", b"/charges/caf\xc3\xa9", b"/charges/caf\xe9", b"/charges/a%2Fb"),
            *(b"/charges/a;b", b"/charges/a\\b", b"/charges/..", b"/charges/%2e%2e/x", b"/charges/%00"),
            *(b"/charges/a%3Fb", b"/charges/%F0%9F%92%B8", b"/charges/e%CC%81", b"charges/7", b"?/charges/7"),
        ],
        ids=repr,
    )
    def test_what_is_served_is_what_was_judged(
        self, server: Served, target: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "meshid.audit")
        before = len(server.app.scopes)
        with server.talk(WEB) as web:
            web.send(target)
            with contextlib.suppress(IndexError):  # the server ends the connection, without an answer
                web.got()
        arrived = server.app.scopes[before:]
        judged = [
            record.meshid.decision.request
            for record in caplog.records
            if hasattr(record, "meshid") and record.meshid.call == "check" and record.meshid.decision
        ]
        assert len(arrived) == len(judged)
        for scope, request in zip(arrived, judged, strict=True):
            assert Request.parse(request).path == scope["path"]
            assert target.partition(b"?")[0].partition(b"#")[0].removeprefix(b"https://payments") in {
                request.removeprefix("GET ").encode(),
                scope["raw_path"],
            }

    def test_a_websocket_is_judged_and_ends_with_its_peer(self, server: Served) -> None:
        path = "/ns/shop/sa/socket"
        url = f"wss://{HOST}:{server.port}/ws"
        with pytest.raises(InvalidStatus) as refused:
            connect(url, ssl=stranger(server.ca.issue(DESK)), open_timeout=TIMEOUT)
        assert refused.value.response.status_code == 403
        with connect(url, ssl=stranger(server.ca.issue(path)), open_timeout=TIMEOUT) as talk:
            talk.send("hello")
            assert talk.recv(TIMEOUT) == f"{name_of(path)} hello"
            scope = server.app.scopes[-1]
            assert scope["type"] == "websocket"
            server.mesh.publish(revocations=Revocations(deny=[name_of(path)]))
            try:
                with pytest.raises(ConnectionClosed):
                    talk.recv(TIMEOUT)
            finally:
                server.mesh.publish(revocations=Revocations())
            with pytest.raises(PeerRejected):
                peer_of(scope)

    def test_the_tls_extension_is_filled_as_it_is_specified(self, server: Served) -> None:
        issued = server.ca.intermediate().issue(WEB)
        with Talk(server.port, issued) as web:
            web.ask(b"/a")
            presented = web.presented
            web.ask(b"/b")
        one, other = (scope["extensions"]["tls"] for scope in server.app.scopes[-2:])
        assert one == other
        leaf = x509.load_der_x509_certificate(issued.chain[0])
        assert one == {
            "server_cert": ssl.DER_cert_to_PEM_cert(presented),
            "client_cert_chain": tuple(map(ssl.DER_cert_to_PEM_cert, issued.chain)),
            "client_cert_name": leaf.subject.rfc4514_string(),
            "client_cert_error": None,
            "tls_version": 0x0304,
            "cipher_suite": 0x1302,
        }


class TestWithoutAConnectionOfOurs:
    """A server that was not given the context, or ignores it, is refused."""

    @pytest.mark.parametrize("tls", [False, True], ids=["plain HTTP", "another context"])
    def test_nobody_is_let_in_but_to_public_requests(
        self, authority: CA, caplog: pytest.LogCaptureFixture, *, tls: bool
    ) -> None:
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue("/ns/pay/sa/payments").load_into(context)
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=authority.pem.decode())
        app = Recording()
        wrapped = ASGIMiddleware(app, mesh_of(authority), public=["GET /healthz"])
        with (
            SERVERS["uvicorn, h11"](wrapped, context) as port,
            Talk(port, authority.issue(WEB), tls=tls) as web,
        ):
            assert web.ask(b"/a") == (403, b"forbidden\n")
            assert app.scopes == []
            status, body = web.ask(b"/healthz")
            assert (status, json.loads(body)["peer"]) == (200, "-")
            assert web.ask(b"/a")[0] == 403
        [scope] = app.scopes
        assert "tls" not in scope.get("extensions", {})
        with pytest.raises(NoPeer, match="public route"):
            peer_of(scope)
        lines = [
            each.getMessage()
            for each in caplog.records
            if each.name == "meshid.http" and each.levelname == "WARNING"
        ]
        assert [NOT_OURS in line for line in lines] == [True, True]

    def test_a_server_that_resets_context_variables_fails_closed(self, authority: CA) -> None:
        mesh, app = mesh_of(authority), Recording()
        serving = under_uvicorn(http="h11", loop="asyncio", reset_contextvars=True)
        with (
            serving(ASGIMiddleware(app, mesh), mesh.server_context(http=True)) as port,
            Talk(port, authority.issue(WEB)) as web,
        ):
            assert web.ask(b"/a")[0] == 403
        assert app.scopes == []

    def test_a_context_without_the_promise_lets_nobody_in_by_rules_with_http_conditions(
        self, authority: CA
    ) -> None:
        mesh, app = mesh_of(authority), Recording()
        with SERVERS["uvicorn, h11"](ASGIMiddleware(app, mesh), mesh.server_context()) as port:
            with Talk(port, authority.issue(WEB)) as web:
                assert web.ask(b"/a")[0] == 200
            with pytest.raises((OSError, IndexError)), Talk(port, authority.issue(DESK)) as desk:
                desk.ask(b"/charges/7")


class Sent(list[Message]):
    """What an application sent."""

    async def __call__(self, message: Message) -> None:
        self.append(message)

    @property
    def status(self) -> int:
        return int(self[0]["status"])


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def scope_of(path: str, **fields: object) -> dict[str, Any]:
    """Return the scope of a request, without a raw path."""
    return {"type": "http", "method": "GET", "path": path, "headers": [], **fields}


def call(app: ASGIMiddleware, scope: Scope) -> Sent:
    """Call the application as a server does that was not given our context, or inside of `about`."""
    sent = Sent()
    asyncio.run(app(scope, nothing, sent))
    return sent


@pytest.fixture
def web(mesh: Mesh, prod_ca: CA) -> Memory:
    """Both ends of a connection; the server's end is what the calls of this test are about."""
    return connected(mesh, prod_ca.issue(WEB))


def connected(mesh: Mesh, who: Issued) -> Memory:
    both = Memory(mesh.server_context(http=True), stranger(who))
    both.shake_hands()
    return both


@pytest.mark.usefixtures("web")
class TestThePath:
    def test_without_a_raw_path_it_cannot_be_decoded_twice(self, mesh: Mesh) -> None:
        app = Recording()
        for path, status in (
            ("/a", 200),
            ("/café", 200),
            ("/a b", 200),
            ("/%61", 403),
            ("/a\udce9", 403),
            ("", 403),
        ):
            assert call(ASGIMiddleware(app, mesh), scope_of(path)).status == status, path
        assert [each["path"] for each in app.scopes] == ["/a", "/café", "/a b"]

    def test_it_is_what_the_raw_path_decodes_to(self, mesh: Mesh) -> None:
        for path, raw, status in (
            ("/café", b"/caf%C3%A9", 200),
            ("/caf\N{LATIN CAPITAL LETTER A WITH TILDE}\N{COPYRIGHT SIGN}", b"/caf%C3%A9", 403),
            ("/%61", b"/%2561", 403),
            ("/a", b"/%2561", 403),
            ("/secrets", b"/a", 403),
            ("/a", b"", 403),
            ("/a", b"/a?secrets", 200),
            ("/a?secrets", b"/a?secrets", 403),
        ):
            sent = call(ASGIMiddleware(Recording(), mesh), scope_of(path, raw_path=raw))
            assert sent.status == status, raw

    def test_it_is_below_the_root_path_if_there_is_one(
        self, mesh: Mesh, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Starlette and Quart route "/v1/a" as it is, and Litestar routes "/v1/api/a" as "/a".
        for root, path, status in (
            ("/api", "/api/a", 200),
            ("/api/", "/api/a", 200),
            ("/api", "/api", 200),
            ("/api", "/apis", 403),
            ("/api", "/v1/a", 403),
            ("/api", "/v1/api/a", 403),
            ("/", "/a", 200),
            (None, "/a", 200),
        ):
            sent = call(ASGIMiddleware(Recording(), mesh), scope_of(path, root_path=root))
            assert sent.status == status, path
        assert "the path '/v1/a' is not below the server's root_path '/api'" in caplog.text


@cache
def open_to_web() -> tuple[Mesh, Memory]:
    authority = CA("prod.example.org")
    mesh = mesh_of(authority)
    return mesh, connected(mesh, authority.issue(WEB))


@given(path=st.text(min_size=1, max_size=12).map("/{}".format), is_encoded=st.booleans())
@example(path="/a", is_encoded=False)
@example(path="/é", is_encoded=True)
def test_whatever_is_routed_was_judged(*, path: str, is_encoded: bool) -> None:
    raw = quote(path, errors="surrogatepass").encode() if is_encoded else None

    def ask() -> list[Scope]:
        mesh, web = open_to_web()
        is_about(weakref.ref(cast("MeshSSLObject", web.server)))
        app = Recording()
        call(ASGIMiddleware(app, mesh), scope_of(path, raw_path=raw))
        return app.scopes

    routed = Context().run(ask)
    assert [each["path"] for each in routed] in ([], [path])
    assert bool(routed) == is_plain(path)


def is_plain(path: str) -> bool:
    """Tell whether a decoded path is judged at all, by the rules of `Request`."""
    with contextlib.suppress(InvalidRequest):
        return bool(Request("GET", quote(path, errors="surrogatepass")))
    return False


class TestTheScope:
    def test_a_name_in_the_scope_that_came_in_is_not_believed(self, mesh: Mesh, prod_ca: CA) -> None:
        peer = peer_of(connected(mesh, prod_ca.issue(WEB)).server)
        app = Recording()
        scope = scope_of("/healthz", **{"meshid.peer": peer, "meshid.connection": object()})
        wrapped = ASGIMiddleware(app, mesh, public=["GET /healthz"])
        assert Context().run(call, wrapped, scope).status == 200
        [told] = app.scopes
        assert "meshid.peer" not in told
        assert "meshid.connection" not in told
        assert told["meshid.judge"]("payments").reason is Reason.NO_CERTIFICATE

    def test_another_target_can_be_asked_about(self, mesh: Mesh, web: Memory) -> None:
        app = Recording()
        extensions: dict[str, object] = {"http.response.push": {}}
        call(ASGIMiddleware(app, mesh, target="payments"), scope_of("/a", extensions=extensions))
        [told] = app.scopes
        assert told["meshid.connection"] is web.server
        assert told["meshid.judge"]("payments").reason is Reason.ALLOWED
        assert told["meshid.judge"]("reports").reason is Reason.NO_RULE
        assert set(told["extensions"]) == {"http.response.push", "tls"}
        assert extensions == {"http.response.push": {}}

    @pytest.mark.usefixtures("web")
    def test_an_ended_connection_is_refused(self, mesh: Mesh) -> None:
        app = Recording()
        assert call(ASGIMiddleware(app, mesh), scope_of("/a")).status == 200
        mesh.publish(revocations=Revocations(deny=[name_of(WEB)]))
        assert call(ASGIMiddleware(app, mesh), scope_of("/a")).status == 403
        mesh.publish(revocations=Revocations())
        assert call(ASGIMiddleware(app, mesh), scope_of("/a")).status == 403
        assert len(app.scopes) == 1

    def test_a_connection_of_another_mesh_is_judged_under_ours(self, authority: CA, web: Memory) -> None:
        ours = mesh_of(authority)
        assert peer_of(web.server) is not None
        assert call(ASGIMiddleware(Recording(), ours), scope_of("/a")).status == 403

    @pytest.mark.usefixtures("web")
    def test_lifespan_passes_and_any_other_kind_is_refused(self, mesh: Mesh) -> None:
        seen: list[str] = []

        async def app(scope: Scope, _: Receive, __: Send) -> None:
            seen.append(scope["type"])

        wrapped = ASGIMiddleware(app, mesh)
        call(wrapped, {"type": "lifespan"})
        for kind in ("webtransport", "", "HTTP"):
            with pytest.raises(ValueError, match="over http and websocket only, not over"):
                call(wrapped, {"type": kind, "method": "GET", "path": "/a"})
        assert seen == ["lifespan"]

    def test_the_refusal_of_a_websocket_is_a_policy_violation(self, mesh: Mesh) -> None:
        sent = Context().run(call, ASGIMiddleware(Recording(), mesh), {"type": "websocket", "path": "/ws"})
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]

    def test_it_must_be_put_around_an_application(self, mesh: Mesh) -> None:
        with pytest.raises(TypeError, match="app must be an ASGI application, not str"):
            ASGIMiddleware("app:app", mesh)  # type: ignore[arg-type]
        with pytest.raises(
            TypeError, match=r"as a WSGI application does, .* use meshid\.http\.WSGIMiddleware"
        ):
            ASGIMiddleware(demo_app, mesh)  # type: ignore[arg-type]


class TestWhatTheServerGoesOnToDo:
    """What an application reads on other connections does not change whose request comes next."""

    @pytest.mark.parametrize("ends", ["answers", "raises"])
    @pytest.mark.parametrize("is_ours", [True, False])
    def test_it_is_about_the_connection_of_the_request(
        self, mesh: Mesh, prod_ca: CA, ends: str, *, is_ours: bool
    ) -> None:
        async def serves_another_one(_: Scope, __: Receive, send: Send) -> None:
            # As a proxy may that ends TLS itself, in the task of a request.
            other = connected(mesh, prod_ca.issue(DESK))
            assert connection_of_call() is not None
            if ends == "raises":
                raise OSError
            await answer(send, b"{}")
            assert peer_of(other.server) is not None

        goes_on: list[object] = []

        class Server(Sent):
            async def __call__(self, message: Message) -> None:
                goes_on.append(connection_of_call())
                await super().__call__(message)

        async def request() -> None:
            with contextlib.suppress(OSError):
                wrapped = ASGIMiddleware(serves_another_one, mesh, public=["GET /open"])
                await wrapped(scope_of("/open"), nothing, Server())
            goes_on.append(connection_of_call())

        def about() -> object:
            both = connected(mesh, prod_ca.issue(WEB)) if is_ours else None
            asyncio.run(request())
            return None if both is None else both.server

        server = Context().run(about)
        assert goes_on == [server] * (3 if ends == "answers" else 1)


class TestWhatTheApplicationStarts:
    """It goes on after the request, and must not speak in the name of its peer."""

    def test_a_server_that_a_request_has_started_has_no_peer_of_ours(self, h11: Served) -> None:
        """It would be that of the request, for everybody, as long as its connection is open."""
        asked: list[int] = []

        async def starts_a_server(scope: Scope, _: Receive, send: Send) -> None:
            async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                sent = Sent()
                await app(scope_of("/charges/7"), nothing, sent)
                asked.append(sent.status)
                writer.close()

            if scope["path"] == "/start":
                async with await asyncio.start_server(handle, HOST, 0) as server:
                    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                    await asyncio.wait_for(reader.read(), TIMEOUT)
                    writer.close()
            await answer(send, b"{}")

        app = ASGIMiddleware(starts_a_server, h11.mesh)
        context = h11.mesh.server_context(http=True)
        with (
            under_uvicorn(http="h11", lifespan="off")(app, context) as port,
            Talk(port, h11.ca.issue(WEB)) as web,
        ):
            assert web.ask(b"/start")[0] == 200
            assert web.ask(b"/charges/7")[0] == 200
        assert asked == [403]

    def test_a_middleware_inside_of_another_one_knows_the_peer(self, mesh: Mesh, prod_ca: CA) -> None:
        seen = Recording()
        inside = ASGIMiddleware(seen, mesh)

        def ask() -> Sent:
            web = connected(mesh, prod_ca.issue(WEB))
            sent = call(ASGIMiddleware(inside, mesh), scope_of("/charges/7"))
            assert seen.scopes[0]["meshid.connection"] is web.server
            return sent

        assert Context().run(ask).status == 200

    def test_the_clients_end_of_a_connection_is_not_handed_on(self, mesh: Mesh, prod_ca: CA) -> None:
        both = connected(mesh, prod_ca.issue(WEB))
        for other in (both.client, object(), "peer"):
            scope = {**scope_of("/charges/7"), "meshid.connection": other}
            sent = Context().run(call, ASGIMiddleware(Recording(), mesh), scope)
            assert sent.status == 403


def test_what_stays_encoded_is_one_segment_only_where_it_is_routed_so(authority: CA) -> None:
    mesh, app = mesh_of(authority, keep_encoded=["%2F", "%3B"]), Recording()
    wrapped = ASGIMiddleware(app, mesh)
    with (
        SERVERS["uvicorn, h11"](wrapped, mesh.server_context(http=True)) as port,
        Talk(port, authority.issue(DESK)) as desk,
    ):
        assert desk.ask(b"/charges/a%3Bb")[0] == 200
        assert app.scopes[-1]["path"] == "/charges/a;b"
        assert desk.ask(b"/charges/a;b")[0] == 403
        # Its path has two segments, whatever the judged one has.
        assert desk.ask(b"/charges/a%2Fb")[0] == 403
    scope = app.scopes[-1]
    peer = scope["meshid.peer"]
    # A server that does not say how a path was sent has lost what was encoded in it.
    assert wrapped._decide(peer, "GET", "/charges/a%3Bb", scope)[0]  # noqa: SLF001
    assert not wrapped._decide(peer, "GET", "/charges/a%3Bb", {**scope, "raw_path": None})[0]  # noqa: SLF001
