"""Both nginx, with the configurations of docs/nginx.md, and the authorizer that they ask."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from meshid import BundleSet, PeerRejected, Reason, Revocations, TrustBundle
from meshid.http import authorizer
from meshid.testing import CA
from tests.helpers.forged_headers import forged_headers
from tests.helpers.path_tricks import TRICKS, breaches, wide_policy
from tests.helpers.proxies import (
    CURL,
    NGINX,
    OPENSSL,
    WHEEL_NGINX,
    Program,
    Running,
    documented,
    filled,
    reserved_port,
    running_nginx,
)
from tests.helpers.proxy_scene import (
    CHECKOUT,
    CHECKOUT_ID,
    CLOSED,
    NO_VERDICTS,
    SPEAKING,
    Line,
    Line2,
    Scene,
    always_yes,
    policy_of,
    proxy_scene,
    saying,
    serving_app,
)
from tests.helpers.tls_peers import HOST
from tests.helpers.world import padding

CONFIGURATION = documented("nginx", "nginx ends TLS and asks meshid")
CHECKS_AS_WELL = documented("nginx", "nginx checks as well")
VERIFY = "    ssl_verify_client   optional_no_ca;\n"

Speaking = type[Line | Line2]
both_protocols = pytest.mark.parametrize("speak", SPEAKING.values(), ids=list(SPEAKING))


@attrs.frozen
class Nginx:
    """An nginx that runs in a scene."""

    scene: Scene
    program: Program
    port: int
    running: Running

    def line(self, speak: Speaking, client: str) -> Line | Line2:
        return speak(self.port, self.scene.context(client))


@contextlib.contextmanager
def nginx_of(scene: Scene, program: Program, text: str = CONFIGURATION, **more: object) -> Iterator[Nginx]:
    with reserved_port() as port:
        inside_http = filled(text, scene.values(port) | more)
        with running_nginx(program, inside_http, port, scene.folder) as proxy:
            yield Nginx(scene, program, port, proxy)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with proxy_scene(tmp_path_factory.mktemp("nginx")) as scene:
        app = authorizer(scene.mesh, proxy="nginx", intermediates=scene.clients.intermediates)
        with serving_app(app, scene.socket):
            yield scene


@pytest.fixture
def scene(standing: Scene) -> Iterator[Scene]:
    standing.restore()
    yield standing
    standing.restore()


@pytest.fixture(scope="module", params=NGINX.values(), ids=list(NGINX))
def program(request: pytest.FixtureRequest) -> Program:
    found: Program = request.param
    return found


@pytest.fixture(scope="module")
def started(standing: Scene, program: Program) -> Iterator[Nginx]:
    with nginx_of(standing, program) as nginx:
        yield nginx


@pytest.fixture
def nginx(scene: Scene, started: Nginx) -> Nginx:
    assert started.scene is scene
    return started


CASES = {
    "checkout": (200, Reason.ALLOWED),
    "checkout, the leaf alone": (200, Reason.ALLOWED),
    "checkout, of the root itself": (200, Reason.ALLOWED),
    "checkout, deep": (200, Reason.ALLOWED),
    "web": (403, Reason.NO_RULE),
    "federated": (403, Reason.NO_RULE),
    "forged": (403, Reason.FOREIGN_AUTHORITY),
    "of an unknown trust domain": (403, Reason.UNKNOWN_TRUST_DOMAIN),
    "expired": (400, None),
    "none": (401, Reason.NO_CERTIFICATE),
}
"""What nginx answers to ``POST /v1/charges``, and the audit event; None where nginx itself refuses."""


class TestWhoMayDoWhat:
    @both_protocols
    def test_every_certificate_is_judged(self, nginx: Nginx, speak: Speaking) -> None:
        assert set(CASES) == set(nginx.scene.clients.named)
        for client, (status, reason) in CASES.items():
            with nginx.line(speak, client) as line:
                answer = line.ask("POST", "/v1/charges", body=b"amount=1")
            assert answer.status == status, client
            assert [name for name in answer.headers if name.startswith("x-meshid")] == [], client
            received = nginx.scene.upstream.taken()
            if status == 200:
                assert [each.line for each in received] == [b"POST /v1/charges HTTP/1.1"], client
                assert received[0].all("x-meshid-peer") == [CHECKOUT_ID.encode()]
                assert (received[0].body, received[0].all("x-client-cert-pem")) == (b"amount=1", [])
            else:
                assert received == [], client
            if reason is None:
                assert nginx.scene.heard.is_quiet()
            else:
                event = nginx.scene.heard.next()
                assert event.decision.reason is reason, client
                # Who is not known is not asked what it wants.
                is_known = reason in {Reason.ALLOWED, Reason.NO_RULE}
                assert event.decision.request == ("POST /v1/charges" if is_known else None), client

    @both_protocols
    def test_endpoints_are_judged_one_by_one_on_one_connection(self, nginx: Nginx, speak: Speaking) -> None:
        asked = [
            ("GET", "/public", 200),
            ("GET", "/public?a=/v1", 200),
            ("GET", "/v1/charges/42?full=1", 200),
            ("DELETE", "/v1/charges/42", 403),
            ("GET", "/v1/charges", 403),
            ("POST", "/public", 403),
            ("GET", "/", 403),
            ("POST", "/v1/charges", 200),
        ]
        with nginx.line(speak, "checkout") as line:
            assert [line.ask(method, target).status for method, target, _ in asked] == [s for *_, s in asked]
        served = [f"{method} {target} HTTP/1.1".encode() for method, target, status in asked if status == 200]
        assert [each.line for each in nginx.scene.upstream.taken()] == served

    @both_protocols
    def test_others_may_do_what_everybody_may(self, nginx: Nginx, speak: Speaking) -> None:
        for client, status in (("web", 200), ("federated", 200), ("forged", 403), ("none", 401)):
            with nginx.line(speak, client) as line:
                assert line.ask("GET", "/public").status == status, client

    def test_curl_and_openssl_see_the_same(self, nginx: Nginx) -> None:
        chain, key = nginx.scene.files_of("checkout")
        url = f"https://localhost:{nginx.port}"
        for version in ("--http1.1", "--http2"):
            for path, expected in (("/public", "200"), ("/v1/charges", "403")):
                curl: list[str | Path] = [
                    CURL.path(),
                    "-sS",
                    version,
                    "--cacert",
                    nginx.scene.folder / "web.pem",
                ]
                curl += ["--cert", chain, "--key", key, "-o", "/dev/null", "-w", "%{http_code}", url + path]
                assert output_of(curl) == expected
            assert (
                output_of([CURL.path(), "-ksS", version, "-o", "/dev/null", "-w", "%{http_code}", url])
                == "401"
            )
        asking = b"GET /v1/charges/1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        client: list[str | Path] = [OPENSSL.path(), "s_client", "-quiet", "-connect", f"{HOST}:{nginx.port}"]
        assert output_of([*client, "-cert", chain, "-cert_chain", chain, "-key", key], asking).startswith(
            "HTTP/1.1 200"
        )
        assert output_of(client, asking).startswith("HTTP/1.1 401")


def output_of(command: Sequence[str | Path], given: bytes = b"") -> str:
    ran = subprocess.run(
        [str(each) for each in command], input=given, capture_output=True, check=False, timeout=30
    )
    return ran.stdout.decode()


def test_the_newer_way_to_say_http2_does_as_well(scene: Scene) -> None:
    text = replaced(CONFIGURATION, " ssl http2;", " ssl;\n    http2 on;")
    with nginx_of(scene, WHEEL_NGINX, text) as nginx, nginx.line(Line2, "checkout") as line:
        assert line.ask("GET", "/public").status == 200
    assert "[warn]" not in nginx.running.said()


class TestForgery:
    @both_protocols
    def test_what_a_client_writes_changes_nothing(self, nginx: Nginx, speak: Speaking) -> None:
        victim = nginx.scene.clients.issued("checkout")
        for name, headers in forged_headers(victim).items():
            for client, status in (("none", 401), ("web", 403), ("checkout", 200)):
                with nginx.line(speak, client) as line:
                    assert line.ask("POST", "/v1/charges", headers).status == status, (name, client)
            (received,) = nginx.scene.upstream.taken()
            assert received.all("x-meshid-peer") == [CHECKOUT_ID.encode()], name
            assert received.all("x-client-cert-pem") == received.all("x_meshid_peer") == [], name
            with nginx.line(speak, "web") as line:
                assert line.ask("GET", "/public", headers).status == 200, name
            (received,) = nginx.scene.upstream.taken()
            assert received.all("x-meshid-peer") == [b"spiffe://prod.example.org/ns/web/sa/front"], name

    @both_protocols
    def test_a_path_writes_no_header(self, nginx: Nginx, speak: Speaking) -> None:
        nginx.scene.mesh.publish(policy=wide_policy())
        with nginx.line(speak, "web") as line:
            line.ask("GET", "/a%0d%0aX-Original-URI:%20/public%0d%0aX-Meshid-Peer:%20me")
            line.ask("GET", "/a?%0d%0aX-Meshid-Peer:%20me")
        for each in nginx.scene.upstream.taken():
            assert each.all("x-meshid-peer") == [b"spiffe://prod.example.org/ns/web/sa/front"]
            assert each.all("x-original-uri") == []


class TestPaths:
    @both_protocols
    def test_no_trick_reaches_what_the_policy_forbids(self, nginx: Nginx, speak: Speaking) -> None:
        nginx.scene.mesh.publish(policy=wide_policy())
        assert breaches(speak, nginx.port, nginx.scene.context("web"), nginx.scene.upstream) == []

    def test_the_tricks_reach_it_if_nobody_judges(self, scene: Scene, program: Program) -> None:
        assert len(TRICKS) >= 60
        where = scene.folder / "yes.sock"
        with serving_app(always_yes, where), nginx_of(scene, program, AUTHORIZER_SOCKET=where) as nginx:
            for speak in SPEAKING.values():
                assert len(breaches(speak, nginx.port, scene.context("web"), scene.upstream)) > 50


class TestChanges:
    @both_protocols
    def test_each_change_counts_from_the_next_request_on(self, nginx: Nginx, speak: Speaking) -> None:
        mesh, clients = nginx.scene.mesh, nginx.scene.clients
        with nginx.line(speak, "checkout") as line:

            def status() -> int:
                return line.ask("POST", "/v1/charges", body=b"x").status

            for changes, restored in (
                ({"policy": policy_of(CLOSED)}, {"policy": mesh.snapshot.policy}),
                ({"revocations": Revocations(deny=[CHECKOUT_ID])}, {"revocations": Revocations()}),
                (
                    {"revocations": Revocations(crls=[clients.issuing.crl(clients.issued("checkout"))])},
                    {"revocations": Revocations()},
                ),
                (
                    {"bundles": BundleSet([CA("prod.example.org").bundle()])},
                    {"bundles": BundleSet([clients.prod.bundle()])},
                ),
            ):
                assert status() == 200, changes
                mesh.publish(**changes)
                assert status() == 403, changes
                mesh.publish(**restored)
            assert status() == 200
        assert len(nginx.scene.upstream.taken()) == 5

    def test_an_authority_that_is_added_counts_from_the_next_request_on(self, nginx: Nginx) -> None:
        scene, newer = nginx.scene, CA("prod.example.org")
        both = TrustBundle.from_pem("prod.example.org", scene.clients.prod.pem + newer.pem)
        with (
            Line(nginx.port, newer.issue(CHECKOUT).client_context()) as line,
            nginx.line(Line, "checkout") as other,
        ):
            assert line.ask("POST", "/v1/charges").status == 403
            scene.mesh.publish(bundles=BundleSet([both]))
            assert line.ask("POST", "/v1/charges").status == other.ask("POST", "/v1/charges").status == 200


ANCHORED = {
    "checkout": 200,
    "checkout, the leaf alone": 200,
    "checkout, of the root itself": 403,
    "checkout, deep": 403,
    "forged": 403,
    "none": 401,
}
"""What a client gets if the intermediate is the anchor."""


class TestLeafAlone:
    """nginx hands over no intermediate."""

    @pytest.fixture
    def bare(self, scene: Scene, program: Program) -> Iterator[Nginx]:
        where = scene.folder / "bare.sock"
        app = authorizer(scene.mesh, proxy="nginx")
        with serving_app(app, where), nginx_of(scene, program, AUTHORIZER_SOCKET=where) as nginx:
            yield nginx

    def test_without_the_intermediates_it_is_refused(self, bare: Nginx) -> None:
        """Unless its chain was seen elsewhere in this process: who is verified is remembered by the leaf."""
        scene = bare.scene
        with bare.line(Line, "checkout") as line:
            for _ in range(2):
                assert line.ask("GET", "/public").status == 403
                assert scene.heard.reason() is Reason.UNKNOWN_AUTHORITY
            scene.mesh.admit(scene.clients.issued("checkout").chain, request="GET /public")
            assert line.ask("GET", "/public").status == 200
        with bare.line(Line, "checkout, of the root itself") as line:
            assert line.ask("GET", "/public").status == 200

    def test_with_the_intermediates_the_answer_is_always_the_same(self, nginx: Nginx) -> None:
        scene = nginx.scene
        for client, status in (("checkout", 200), ("checkout, deep", 200), ("forged", 403)):
            with nginx.line(Line, client) as line:
                # A new state of trust starts with nothing remembered.
                bundles = [scene.clients.prod.bundle(), CA("other.example").bundle()]
                scene.mesh.publish(bundles=BundleSet(bundles))
                assert line.ask("GET", "/public").status == status
                with contextlib.suppress(PeerRejected):
                    scene.mesh.admit(scene.clients.issued(client).chain, request="GET /public")
                assert line.ask("GET", "/public").status == status

    def test_an_intermediate_alone_can_be_the_anchor(self, bare: Nginx) -> None:
        anchor = TrustBundle.from_pem("prod.example.org", bare.scene.clients.issuing.pem)
        bare.scene.mesh.publish(bundles=BundleSet([anchor]))
        assert statuses(bare, ANCHORED) == ANCHORED

    def test_nginx_can_check_as_well(self, bare: Nginx, program: Program) -> None:
        anchor = TrustBundle.from_pem("prod.example.org", bare.scene.clients.issuing.pem)
        bare.scene.mesh.publish(bundles=BundleSet([anchor]))
        text = replaced(CONFIGURATION, VERIFY, CHECKS_AS_WELL)
        where = bare.scene.folder / "bare.sock"
        with nginx_of(bare.scene, program, text, AUTHORIZER_SOCKET=where) as nginx:
            refused = dict.fromkeys(("checkout, deep", "forged", "none"), 400)
            # The second intermediate makes a chain that is deeper than the default depth of nginx.
            assert statuses(nginx, ANCHORED) == ANCHORED | refused

    def test_an_intermediate_alone_in_nginx_is_a_400_for_everybody(
        self, nginx: Nginx, program: Program
    ) -> None:
        for verify in ("on", "optional_no_ca"):
            lines = f"ssl_verify_client {verify};\nssl_client_certificate ${{INTERMEDIATE}};\n"
            with nginx_of(nginx.scene, program, replaced(CONFIGURATION, VERIFY, lines)) as other:
                assert statuses(other, {"checkout": 0, "checkout, the leaf alone": 0}) == {
                    "checkout": 400,
                    "checkout, the leaf alone": 400,
                }


def statuses(nginx: Nginx, clients: dict[str, int]) -> dict[str, int]:
    """Return the status of ``GET /public`` for each of the *clients*."""
    found = {}
    for client in clients:
        with nginx.line(Line, client) as line:
            found[client] = line.ask("GET", "/public").status
    return found


def replaced(text: str, old: str, new: str) -> str:
    """Replace one piece of a documented configuration, which must be there once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


class TestResumption:
    def resumed(self, nginx: Nginx) -> tuple[bool, Line, Line]:
        context = nginx.scene.context("checkout")
        first = Line(nginx.port, context)
        assert first.ask("GET", "/public").status == 200
        second = Line(nginx.port, context, first.tls.session)
        return bool(second.tls.session_reused), first, second

    def test_no_session_is_resumed(self, nginx: Nginx) -> None:
        resumed, first, second = self.resumed(nginx)
        with first, second:
            assert not resumed
            assert second.ask("GET", "/public").status == 200

    def test_a_resumed_session_is_judged_as_the_first_was(self, scene: Scene, program: Program) -> None:
        text = CONFIGURATION.replace("ssl_session_tickets off;", "").replace("ssl_session_cache   off;", "")
        with nginx_of(scene, program, text) as nginx:
            resumed, first, second = self.resumed(nginx)
            with first, second:
                assert resumed
                assert second.ask("POST", "/v1/charges").status == 200
                assert scene.upstream.taken()[-1].all("x-meshid-peer") == [CHECKOUT_ID.encode()]
                scene.mesh.publish(revocations=Revocations(deny=[CHECKOUT_ID]))
                assert second.ask("POST", "/v1/charges").status == 403


class TestNoJudge:
    """Without a verdict, the upstream hears nothing."""

    @both_protocols
    def test_each_failure_of_the_authorizer_is_a_refusal(
        self, scene: Scene, program: Program, speak: Speaking
    ) -> None:
        where = scene.folder / "none.sock"
        with nginx_of(scene, program, AUTHORIZER_SOCKET=where) as nginx:

            def status() -> int:
                with nginx.line(speak, "checkout") as line:
                    return line.ask("GET", "/public").status

            assert status() == 500
            for name, answer in NO_VERDICTS.items():
                with saying(answer, where):
                    assert status() == 500, name
            app = authorizer(scene.mesh, proxy="nginx", intermediates=scene.clients.intermediates)
            with serving_app(app, where):
                assert status() == 200
            assert status() == 500
        assert len(scene.upstream.taken()) == 1

    def test_an_authorizer_that_hangs_is_a_refusal(self, scene: Scene, program: Program) -> None:
        where = scene.folder / "hanging.sock"
        text = replaced(CONFIGURATION, "proxy_read_timeout    2s;", "proxy_read_timeout 200ms;")
        with (
            nginx_of(scene, program, text, AUTHORIZER_SOCKET=where) as nginx,
            saying(None, where),
            nginx.line(Line, "checkout") as line,
        ):
            assert line.ask("GET", "/public").status == 500
        assert scene.upstream.taken() == []


class TestBodies:
    @both_protocols
    def test_a_large_body_arrives_whole_and_is_not_asked_about(
        self, scene: Scene, program: Program, speak: Speaking
    ) -> None:
        body = bytes(range(256)) * 12_000
        text = replaced(CONFIGURATION, "    location / {", "    client_max_body_size 4m;\n    location / {")
        with nginx_of(scene, program, text) as nginx:
            for target, status in (("/v1/charges", 200), ("/public", 403)):
                with nginx.line(speak, "checkout") as line:
                    assert line.ask("POST", target, body=body).status == status
        (received,) = scene.upstream.taken()
        assert received.body == body

    def test_a_large_leaf_reaches_the_authorizer(self, nginx: Nginx) -> None:
        large = nginx.scene.clients.issuing.issue(CHECKOUT, extra=[padding(12_000)])
        with Line(nginx.port, large.client_context()) as line:
            assert [line.ask("POST", "/v1/charges").status for _ in range(2)] == [200, 200]

    def test_a_refused_upload_sends_no_body(self, nginx: Nginx) -> None:
        head = b"%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        with Line(nginx.port, nginx.scene.context("checkout")) as line:
            line.send(head % b"POST /public")
            assert line.answer().status == 403
        with Line(nginx.port, nginx.scene.context("checkout")) as line:
            line.send(head % b"POST /v1/charges")
            assert line.socket.recv(1024).startswith(b"HTTP/1.1 100")
            line.send(b"body")
            assert line.answer().status == 200
        assert [each.body for each in nginx.scene.upstream.taken()] == [b"body"]


class TestCache:
    CACHED = (
        "proxy_cache_path ${FOLDER}/kept keys_zone=kept:1m;\nproxy_cache kept;\nproxy_cache_valid any 1m;\n"
        + replaced(CONFIGURATION, "        proxy_cache off;", "#")
    )
    IGNORED = "proxy_ignore_headers Cache-Control;\n"

    def verdicts(self, scene: Scene, program: Program, text: str, folder: Path) -> list[int]:
        with nginx_of(scene, program, text, FOLDER=folder) as nginx:
            found = []
            for client in ("checkout", "web", "none"):
                with nginx.line(Line, client) as line:
                    found.append(line.ask("GET", "/v1/charges/1").status)
            return found

    def test_a_verdict_is_not_kept(self, scene: Scene, program: Program, tmp_path: Path) -> None:
        assert self.verdicts(scene, program, self.CACHED, tmp_path) == [200, 403, 401]

    def test_it_is_kept_if_nginx_is_told_to_and_the_documented_line_is_missing(
        self, scene: Scene, program: Program, tmp_path: Path
    ) -> None:
        assert self.verdicts(scene, program, self.IGNORED + self.CACHED, tmp_path) == [200, 200, 200]
