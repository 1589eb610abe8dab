"""The WSGI middleware on real servers over TLS: what is judged, what is refused, and what is said."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidPattern, Mesh, Peer, PeerRejected, Revocations, peer_of
from meshid.http import WSGIMiddleware
from meshid.http.asgi import is_http
from meshid.http.wsgi_middleware import path_of
from meshid.policy.requests import MAX_PATH_LENGTH
from meshid.testing import CA, Issued
from tests.helpers.mounted import eventually
from tests.helpers.path_tricks import TRICKS, WIDE_POLICY, Trick, reaches
from tests.helpers.proxy_scene import Line, Received
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, TIMEOUT, Heard, mesh_of, policy, stranger
from tests.helpers.wsgi_servers import WSGI_SERVERS, waitress

# cheroot's writer is in pure Python, and writes again when it is collected, to a client that has gone.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function IOBase.__del__:pytest.PytestUnraisableExceptionWarning"
)

WEB = "/ns/web/sa/site"
NAME = f"spiffe://prod.example.org{WEB}"
HEALTH, PAGE = "/healthz", "/public/page"
FORBIDDEN = b"forbidden\n"
CROWD = 24
KEEPING = {"django", "waitress", "cheroot", "gevent"}
"""Servers that keep a connection for more requests than one."""

POLICY = WIDE_POLICY.replace('"GET /**"', '"GET /**", "POST /**"')
"""All but what is below /v1 is allowed: the policy that tricks like best."""


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said of requests that were refused for how they arrived."""
    found = [each for each in caplog.records if each.name == "meshid.http" and each.levelname == "WARNING"]
    return [each.getMessage() for each in found]


class Recording:
    """An application, and each request that it got: the method, the path as octets, and the peer."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes, Peer | None]] = []
        self.schemes: set[str] = set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        peer = environ.get("meshid.peer")
        self.got.append((environ["REQUEST_METHOD"], environ["PATH_INFO"].encode("latin-1"), peer))
        self.schemes.add(environ["wsgi.url_scheme"])
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body += b"-" if peer is None else str(peer_of(environ).spiffe_id).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def taken(self) -> list[tuple[str, bytes, Peer | None]]:
        taken, self.got = self.got, []
        return taken


@attrs.frozen
class Site:
    """A server with an application behind the middleware."""

    port: int
    app: Recording
    mesh: Mesh
    heard: Heard
    ca: CA
    keeps: bool

    def line(self, who: Issued | None = None) -> Line:
        return Line(self.port, stranger(who or self.ca.issue(WEB)))

    def judged(self) -> list[str]:
        """Return the requests that were allowed since the last time."""
        found: list[str] = []
        while not self.heard.is_quiet():
            event = self.heard.next()
            if event.call == "check" and event.decision.allowed:
                found.append(event.decision.request or "")
        return found


@pytest.fixture(scope="module", params=WSGI_SERVERS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    ca, heard, app = CA("prod.example.org"), Heard(), Recording()
    mesh = mesh_of(ca, policy=policy(POLICY), audit=heard)
    with WSGI_SERVERS[request.param](WSGIMiddleware(app, mesh), mesh.server_context(http=True)) as port:
        yield Site(port, app, mesh, heard, ca, request.param in KEEPING)


class TestOnEveryServer:
    def test_the_application_knows_the_peer(self, site: Site) -> None:
        for method, body in (("GET", b""), ("POST", b"some ")):
            with site.line() as line:
                answer = line.ask(method, PAGE, body=body)
                assert (answer.status, answer.body) == (200, body + NAME.encode())
        assert site.app.schemes == {"https"}

    def test_what_is_not_allowed_does_not_reach_it(self, site: Site) -> None:
        site.app.taken()
        for method, body in (("GET", FORBIDDEN), ("HEAD", b"")):
            with site.line() as line:
                answer = line.ask(method, "/v1/charges")
                assert (answer.status, answer.body) == (403, body)
        assert site.app.taken() == []

    def test_what_is_judged_is_what_it_routes(self, site: Site) -> None:
        who = site.ca.issue(WEB)
        site.judged()
        site.app.taken()

        def attempt(trick: Trick) -> None:
            with site.line(who) as line:
                line.ask(trick.method, trick.target, trick.headers, trick.body)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(attempt, TRICKS.values()))
        judged, routed = list[tuple[str, bytes]](), list[tuple[str, bytes]]()

        def are_the_same() -> bool:
            judged.extend(
                (each.partition(" ")[0], unquote_to_bytes(each.partition(" ")[2])) for each in site.judged()
            )
            routed.extend((method, path) for method, path, _ in site.app.taken())
            return sorted(judged) == sorted(routed)

        # A client may have gone before its request was judged.
        assert eventually(are_the_same)
        assert len(routed) > 1
        assert [path for _, path in routed if reaches(Received(f"GET {quote(path)}".encode(), (), b""))] == []

    def test_nobody_gets_the_name_of_another(self, site: Site) -> None:
        names = [f"/ns/web/sa/peer-{number}" for number in range(CROWD)]

        def call(name: str) -> None:
            who, left = site.ca.issue(name), 8
            while left:
                with site.line(who) as line:
                    kept = True
                    while left and kept:
                        answer = line.ask("GET", PAGE, [("Connection", "keep-alive")])
                        assert answer.body == f"spiffe://prod.example.org{name}".encode()
                        left -= 1
                        kept = site.keeps

        with ThreadPoolExecutor(CROWD) as pool:
            list(pool.map(call, names))


@pytest.mark.parametrize("server", WSGI_SERVERS)
def test_without_a_connection_of_ours_only_what_is_public_is_served(
    server: str, prod_ca: CA, caplog: pytest.LogCaptureFixture
) -> None:
    """So it is in plaintext, and where a server ignores our context or gives no way to its connections."""
    app, mesh = Recording(), mesh_of(prod_ca, policy=policy(POLICY))
    with WSGI_SERVERS[server](WSGIMiddleware(app, mesh, public=[f"GET {HEALTH}"]), None) as port:
        for path, status, body in ((PAGE, 403, FORBIDDEN), (HEALTH, 200, b"-")):
            with Line(port, None) as line:
                answer = line.ask("GET", path)
                assert (answer.status, answer.body) == (status, body)
    assert app.taken() == [("GET", HEALTH.encode(), None)]
    assert app.schemes == {"http"}
    (said,) = lines(caplog)
    assert said.startswith("refused: no_certificate: no connection of a MeshContext: the server '")


# -- Without a server -----------------------------------------------------------------------------


class Answered:
    """What was given to `start_response`."""

    status: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __call__(self, status: str, headers: list[tuple[str, str]], *_: object) -> Any:  # noqa: ANN401 - PEP 3333
        self.status, self.headers = status, tuple(headers)


@pytest.fixture
def peer(mesh: Mesh, prod_ca: CA) -> Peer:
    return mesh.admit(prod_ca.issue(PATH).chain)


def environ_of(peer: Peer | None = None, path: str = PAGE, **more: object) -> WSGIEnvironment:
    """Return an environ; one with a peer is as another middleware of ours passes it on."""
    known = {} if peer is None else {"meshid.peer": peer}
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO(), **known, **more}


def status_of(app: WSGIApplication, environ: WSGIEnvironment) -> str:
    answered = Answered()
    app(environ, answered)
    return answered.status[:3]


def served(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b""]


def test_a_refusal_of_head_has_no_body(mesh: Mesh) -> None:
    """Not every server leaves it out (RFC 9110 section 9.3.2)."""
    refusing = WSGIMiddleware(served, mesh)
    for method, body in (("HEAD", []), ("GET", [FORBIDDEN])):
        assert refusing(environ_of(REQUEST_METHOD=method), told := Answered()) == body
        assert (told.status, dict(told.headers)["Content-Length"]) == ("403 Forbidden", str(len(FORBIDDEN)))


def test_an_answer_passes_as_it_is(mesh: Mesh, peer: Peer) -> None:
    """So whoever closes it closes the application's, and its errors are its own."""
    body, told = iter([b"a"]), Answered()

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        assert start_response is told
        return body

    assert WSGIMiddleware(app, mesh)(environ_of(peer), told) is body


def test_a_connection_that_was_ended_has_no_peer(mesh: Mesh, prod_ca: CA) -> None:
    """Its requests are refused, although the same peer may come again."""
    app = Recording()
    guarded = WSGIMiddleware(app, mesh)
    denied = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])

    def ending(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        mesh.publish(revocations=denied)
        mesh.publish(revocations=Revocations())
        statuses.append(status_of(guarded, environ))
        return served(environ, start_response)

    statuses: list[str] = []
    with waitress(ending, mesh.server_context()) as port, Line(port, stranger(prod_ca.issue(PATH))) as line:
        assert line.ask("GET", PAGE).status == 0
        # The client has its end before the server's thread goes on.
        assert eventually(lambda: statuses)
    assert (statuses, app.taken()) == (["403"], [])


def test_a_peer_that_is_ended_in_its_request_is_not_told_any_more(mesh: Mesh, prod_ca: CA) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
        with pytest.raises(PeerRejected):
            peer_of(environ)
        done.set()
        return served(environ, start_response)

    done = threading.Event()
    context = stranger(prod_ca.issue(PATH))
    with waitress(WSGIMiddleware(app, mesh), mesh.server_context()) as port, Line(port, context) as line:
        line.ask("GET", PAGE)
        assert done.wait(TIMEOUT)


def test_a_public_request_may_have_a_peer(mesh: Mesh, peer: Peer) -> None:
    guarded = WSGIMiddleware(app := Recording(), mesh, public=[f"GET {HEALTH}"])
    assert status_of(guarded, environ_of(peer, HEALTH)) == "200"
    assert app.taken() == [("GET", HEALTH.encode(), peer)]


def test_the_inner_one_of_two_judges_as_well(mesh: Mesh, peer: Peer) -> None:
    other = WSGIMiddleware(app := Recording(), mesh, target="ledger", public=[f"GET {HEALTH}"])
    assert status_of(WSGIMiddleware(other, mesh), environ_of(peer)) == "403"
    # What is public is public for those who are refused inside, too; and a peer from outside is not kept.
    mesh.publish(policy=CLOSED_POLICY)
    assert status_of(other, environ_of(peer, HEALTH)) == "403"
    assert app.taken() == []


class TestThePath:
    @given(octets=st.binary(max_size=40), script=st.sampled_from(["", "/api", "/a\xe9%"]))
    def test_it_is_decoded_exactly_once(self, octets: bytes, script: str) -> None:
        path = path_of(environ_of(path=f"/{octets.decode('latin-1')}", SCRIPT_NAME=script))
        assert re.fullmatch(r"[!-~]+", path)
        assert not set(path) & set("?#")
        assert unquote_to_bytes(path) == script.encode("latin-1") + b"/" + octets

    def test_a_long_one_is_cut_before_it_costs(self) -> None:
        assert len(path_of(environ_of(path="/" + "a" * 100_000))) == MAX_PATH_LENGTH + 1

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            pytest.param(
                {"PATH_INFO": "/\u0101"}, r"PATH_INFO is '/\\u0101', which is not text of", id="text"
            ),
            pytest.param({"PATH_INFO": "*"}, "PATH_INFO is '\\*', and must begin with '/'", id="asterisk"),
            pytest.param({"PATH_INFO": ""}, "PATH_INFO is '', and must", id="empty"),
            pytest.param({"HTTP_SCRIPT_NAME": "/a"}, "a header SCRIPT_NAME: gunicorn lets", id="a header"),
        ],
    )
    def test_what_cannot_be_judged_is_refused(
        self, mesh: Mesh, peer: Peer, caplog: pytest.LogCaptureFixture, more: dict[str, str], said: str
    ) -> None:
        guarded = WSGIMiddleware(app := Recording(), mesh)
        assert status_of(guarded, environ_of(peer) | more) == "403"
        assert app.taken() == []
        (line,) = lines(caplog)
        assert re.match(f"refused: unsafe_request: {said}", line)

    def test_so_is_an_environ_without_the_keys(self, mesh: Mesh, peer: Peer) -> None:
        for key in ("PATH_INFO", "REQUEST_METHOD"):
            environ = environ_of(peer)
            del environ[key]
            assert status_of(WSGIMiddleware(served, mesh), environ) == "403"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"app": None}, TypeError, "app must be a WSGI application, not NoneType"),
        ({"app": is_http}, TypeError, "takes three arguments, as an ASGI .* use meshid.http.ASGIMiddleware"),
        ({"mesh": None}, TypeError, "mesh must be a Mesh"),
        ({"mesh": Mesh()}, ValueError, "target"),
        ({"public": ["/healthz"]}, InvalidPattern, "public: "),
        ({"public": ["* /**"]}, InvalidPattern, "opens every path to everybody"),
    ],
    ids=["app", "ASGI", "mesh", "target", "public", "all public"],
)
def test_a_mistake_is_said_when_it_is_made(
    mesh: Mesh, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        WSGIMiddleware(**{"app": served, "mesh": mesh, **options})


def test_what_was_decoded_keeps_nothing_encoded() -> None:
    ca, app = CA("prod.example.org"), Recording()
    mesh = mesh_of(ca, policy=policy(POLICY), keep_encoded=["%25", "%3B"])
    with (
        waitress(WSGIMiddleware(app, mesh), mesh.server_context(http=True)) as port,
        Line(port, stranger(ca.issue(WEB))) as line,
    ):
        assert line.ask("GET", "/public/a").status == 200
        # In PATH_INFO, this is the same as a percent sign that was sent alone.
        assert line.ask("GET", "/public/a%25b").status == 403
