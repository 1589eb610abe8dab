"""The authorizer, as a proxy hears it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, NoReturn

import attrs
import pytest

from meshid import BundleSet, Mesh, Reason
from meshid.errors import InvalidForwarded
from meshid.http import authorizer
from meshid.http.asgi import App, Message
from meshid.http.authorizer import LOGGER, LONGEST_HEADERS, LONGEST_REQUEST, AuthorizerApp
from meshid.http.requested import Asked, in_original, text_of
from meshid.policy.requests import Request
from meshid.testing import CA
from tests.helpers.forwarding import written
from tests.helpers.tls_peers import CLOSED_POLICY, POLICY, Heard, mesh_of, policy
from tests.helpers.world import Clock

ASKING = ("nginx", "haproxy", "envoy", "caddy", "traefik", "rfc9440")

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
    sent: list[Message] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError  # it never reads a body

    async def send(message: Message) -> None:
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

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PURGE"])
    def test_it_does_not_matter_with_which_method_a_proxy_asks(self, nginx: Scene, method: str) -> None:
        scope = question("nginx", "GET", "/charges/7", nginx.shop)
        assert asked(nginx.app, {**scope, "method": method}).status == 200

    def test_a_policy_that_only_observes_has_no_rule(self, nginx: Scene) -> None:
        observing = policy(POLICY.replace("version = 1", "version = 1\nobserve = true"))
        nginx.mesh.publish(policy=observing)
        assert nginx.ask(nginx.shop).meshid.keys() == {"peer", "policy"}

    def test_the_target_may_be_another_one(self, mesh: Mesh, prod_ca: CA) -> None:
        app = authorizer(mesh, proxy="traefik", target="refunds")
        leaf = written("traefik", prod_ca.issue("/ns/shop/sa/web").chain)
        assert asked(app, question("traefik", "GET", "/", leaf)) == Answer(403, {"reason": "no_rule"})

    def test_it_starts_and_stops_when_the_server_does(self, nginx: Scene) -> None:
        phases = iter(["lifespan.startup", "lifespan.shutdown"])
        sent: list[str] = []

        async def receive() -> dict[str, Any]:
            return {"type": next(phases)}

        async def send(message: Message) -> None:
            sent.append(message["type"])

        asyncio.run(nginx.app({"type": "lifespan"}, receive, send))
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class TestWhatIsAsked:
    """The path that is judged is the path that is served."""

    @pytest.mark.parametrize("path", ["/", "/authorize/", "/authorized", "/AUTHORIZE", "", "//authorize"])
    def test_only_one_path_is_answered(self, nginx: Scene, path: str) -> None:
        scope = question("nginx", "GET", "/charges/7", nginx.shop)
        assert asked(nginx.app, {**scope, "path": path}) == Answer(404, {})

    def test_envoy_must_have_our_prefix(self, mesh: Mesh, prod_ca: CA) -> None:
        envoy = Scene("envoy", mesh, prod_ca)
        scope = question("envoy", "GET", "/charges/7", envoy.shop)
        assert asked(envoy.app, {**scope, "raw_path": b"/charges/7"}) == Answer(404, {})
        # A server that keeps the raw path to itself, such as one behind WSGI, cannot be used.
        assert asked(envoy.app, {**scope, "raw_path": None}) == Answer(404, {})
        assert asked(envoy.app, {**scope, "raw_path": b"/authorize*"}) == Answer(
            403, {"reason": "unsafe_request"}
        )

    @pytest.mark.parametrize(
        "target", ["/charges/../v1", "/charges/%2e%2e/v1", "//charges", "/a;b", "/a%2fb", "a", ""]
    )
    def test_what_two_servers_read_differently_is_refused_on_record(
        self, scene: Scene, heard: Heard, target: str
    ) -> None:
        assert scene.ask(scene.shop, "GET", target) == Answer(403, {"reason": "unsafe_request"})
        event = heard.next()
        assert (event.decision.name, event.decision.reason) == (
            "spiffe://prod.example.org/ns/shop/sa/web",
            Reason.UNSAFE_REQUEST,
        )

    @pytest.mark.parametrize("target", ["/charges/\xe9", "/\xc3\xa9"], ids=["Latin-1", "UTF-8"])
    def test_only_ascii_is_read(
        self, scene: Scene, heard: Heard, caplog: pytest.LogCaptureFixture, target: str
    ) -> None:
        assert scene.ask(scene.shop, "GET", target) == Answer(403, {"reason": "unsafe_request"})
        # As UTF-8 or Latin-1, it would have been another path, and allowed.
        assert heard.is_quiet()
        assert "is not ASCII: '/" in caplog.text
        # What is not judged may be anything.
        assert scene.ask(scene.shop, "GET", "/charges?q=\xe9").status == 200

    @pytest.mark.parametrize("method", ["GET /charges?", "", "GET\t", "M" * 33, "G\xc9T"], ids=ascii)
    def test_a_method_is_one_word(self, scene: Scene, heard: Heard, method: str) -> None:
        # With the first one, "GET /charges? /v1" would be asked for.
        assert scene.ask(scene.shop, method, "/v1") == Answer(403, {"reason": "unsafe_request"})
        assert heard.is_quiet()

    @pytest.mark.parametrize("proxy", sorted(set(ASKING) - {"envoy"}))
    @pytest.mark.parametrize("nth", [1, 2], ids=["method", "target"])
    def test_a_header_of_the_request_is_there_exactly_once(
        self, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture, proxy: str, nth: int
    ) -> None:
        scene = Scene(proxy, mesh, prod_ca)
        scope = question(proxy, "GET", "/charges/7", scene.shop)
        headers = scope["headers"]
        for wrong, fault in (
            (headers[:nth] + headers[nth + 1 :], "is missing"),
            ([*headers, headers[nth]], "is there more than once"),
            ([*headers, (headers[nth][0], b"/public")], "is there more than once"),
        ):
            caplog.clear()
            assert asked(scene.app, {**scope, "headers": wrong}) == Answer(403, {"reason": "unsafe_request"})
            assert f"header {headers[nth][0].decode()} {fault}" in caplog.text.lower()
        assert asked(scene.app, scope).status == 200

    def test_no_proxy_believes_the_headers_of_another(self, scene: Scene) -> None:
        for other in ASKING:
            strange = question(other, "GET", "/charges/7", ())["headers"][1:]
            if (
                other == scene.proxy
                or strange == question(scene.proxy, "GET", "/charges/7", ())["headers"][1:]
            ):
                continue
            assert scene.ask([*scene.shop, *strange], "POST", "/x").status == 200
            assert scene.ask([*strange, *scene.support], "POST", "/charges/7") == Answer(
                403, {"reason": "no_rule"}
            )


class TestCertificates:
    def test_a_header_that_is_not_the_proxys_is_refused_and_told(
        self, scene: Scene, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        ((name, value), *_) = scene.shop
        for wrong in (
            [*scene.shop, *scene.shop],
            [*scene.support, (name, b"")],
            [(name, value.replace(b"M", b"!", 1))],
        ):
            caplog.clear()
            assert scene.ask(wrong) == Answer(403, {"reason": "malformed_certificate"})
            assert caplog.records[0].levelno == logging.WARNING
            assert f"refused: malformed_certificate: header {name.decode()}" in caplog.text.lower()
        assert heard.is_quiet()
        assert scene.ask(scene.shop).status == 200

    def test_the_answer_does_not_depend_on_who_came_before(self, mesh: Mesh, prod_ca: CA) -> None:
        issuing = prod_ca.intermediate()
        leaf = issuing.issue("/ns/shop/sa/web")
        with_it = authorizer(mesh, proxy="nginx", intermediates=issuing.pem)
        without = authorizer(mesh, proxy="nginx")
        scope = question("nginx", "GET", "/", written("nginx", leaf.chain))
        assert asked(without, scope) == Answer(403, {"reason": "unknown_authority"})
        assert asked(with_it, scope).status == 200


class TestRemembering:
    def test_what_was_allowed_is_judged_again_each_time(
        self, scene: Scene, heard: Heard, clock: Clock
    ) -> None:
        for _ in range(3):
            assert scene.ask(scene.shop).status == 200
            assert heard.reason() is Reason.ALLOWED
        scene.mesh.publish(policy=CLOSED_POLICY)
        assert scene.ask(scene.shop) == Answer(403, {"reason": "no_rule"})
        scene.mesh.publish(policy=policy())
        clock.now = clock.now.replace(year=clock.now.year + 9)
        assert scene.ask(scene.shop).status == 403

    def test_nothing_is_remembered_of_who_is_refused(self, scene: Scene) -> None:
        scene.ask(scene.support, "POST", "/forbidden")
        scene.ask(scene.headers("/ns/other/sa/x"), "GET", "/other")
        scene.ask((), "GET", "/none")
        assert (requests_of(scene.app), chains_of(scene.app)) == (set(), 0)
        assert scene.ask(scene.shop, "PUT", "/charges?card=4111").status == 200
        # Without the query, which may hold secrets.
        assert (requests_of(scene.app), chains_of(scene.app)) == ({(b"PUT", b"/charges")}, 1)

    def test_only_what_is_small_is_remembered(self, nginx: Scene) -> None:
        fits = "/" + "a" * (LONGEST_REQUEST - len("GET/"))
        assert nginx.ask(nginx.shop, "GET", fits).status == 200
        assert nginx.ask(nginx.shop, "GET", fits + "a").status == 200
        assert requests_of(nginx.app) == {(b"GET", fits.encode())}
        names = [f"{'.'.join(['a' * 60] * 3)}.{number}.example" for number in range(50)]
        large = nginx.issuing.issue("/ns/shop/sa/web", dns=names)
        headers = written("nginx", large.chain)
        assert len(headers[0][1]) > LONGEST_HEADERS
        assert nginx.ask(headers).status == 200
        assert chains_of(nginx.app) == 1


class TestFailures:
    def test_a_failure_of_ours_is_a_refusal_and_told_to_our_log_alone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(*_: object) -> NoReturn:
            msg = "secret\nof ours"
            raise RuntimeError(msg)

        apps = AuthorizerApp(fails, fails), AuthorizerApp(in_original, fails)
        for app in apps:
            assert asked(app, question("nginx", "GET", "/", ())) == Answer(403, {"reason": "internal_error"})
        assert [each.levelno for each in caplog.records] == [logging.ERROR] * 2
        assert r"refused: internal_error: RuntimeError: 'secret\nof ours'" in caplog.text

    def test_a_sink_that_fails_refuses(self, prod_ca: CA) -> None:
        def fails(_: object) -> None:
            raise OSError

        scene = Scene("nginx", mesh_of(prod_ca, audit=fails), prod_ca)
        assert scene.ask(scene.shop) == Answer(403, {"reason": "internal_error"})

    def test_a_flood_does_not_fill_the_log(self, nginx: Scene, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, LOGGER.name)
        twice = [*nginx.shop, *nginx.shop]
        for _ in range(50):
            nginx.ask(twice)
        assert 10 <= len(caplog.records) <= 12
        # Others are told of all the same.
        nginx.ask(nginx.shop, "GET", "/\xe9")
        assert "is not ASCII" in caplog.records[-1].getMessage()
        assert "before it were not logged" in caplog.records[-1].getMessage()


class TestWrongArguments:
    def test_a_load_balancer_that_asks_nobody_is_refused(self, mesh: Mesh) -> None:
        with pytest.raises(ValueError, match=r"aws-alb asks no authorizer; in your service, Mesh\.admit\(\)"):
            authorizer(mesh, proxy="aws-alb")

    def test_they_are_found_when_it_is_made(self, mesh: Mesh, prod_ca: CA) -> None:
        with pytest.raises(ValueError, match="did you mean 'nginx'"):
            authorizer(mesh, proxy="ngnix")
        with pytest.raises(ValueError, match="elements"):
            authorizer(mesh, proxy="nginx", elements=2)
        with pytest.raises(InvalidForwarded, match="intermediates"):
            authorizer(mesh, proxy="nginx", intermediates=b"")
        nameless = Mesh(bundles=BundleSet([prod_ca.bundle()]))
        with pytest.raises(ValueError, match="no target: pass target="):
            authorizer(nameless, proxy="nginx")
        with pytest.raises(TypeError, match="target must be a str"):
            authorizer(mesh, proxy="nginx", target=7)  # type: ignore[arg-type]


def requests_of(app: App) -> set[Asked]:
    assert isinstance(app, AuthorizerApp)
    items = app._requests.items()  # noqa: SLF001 - what is remembered shows nowhere else
    assert all(Request(*text_of(asked)) == request for asked, request in items)
    return {asked for asked, _ in items}


def chains_of(app: App) -> int:
    assert isinstance(app, AuthorizerApp)
    return len(app._judge._chains)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


@pytest.mark.parametrize("proxy", ["nginx", "envoy"])
def test_what_stays_encoded_in_a_mesh_does_so_for_its_authorizer(proxy: str, prod_ca: CA) -> None:
    scene = Scene(proxy, mesh_of(prod_ca, keep_encoded=["%2F"]), prod_ca)
    for _ in range(2):
        assert scene.ask(scene.support, target="/charges/a%2fb?c").status == 200
        assert scene.ask(scene.support, target="/charges/a%3Bb").meshid == {"reason": "unsafe_request"}
    plain = Scene(proxy, mesh_of(prod_ca), prod_ca)
    assert plain.ask(plain.support, target="/charges/a%2fb").meshid == {"reason": "unsafe_request"}
