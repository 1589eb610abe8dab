"""Caddy, with the configuration of docs/caddy.md, and the authorizer that it asks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from meshid import BundleSet, Reason, Revocations, TrustBundle
from meshid.admission.snapshot import Changes
from meshid.http import authorizer
from tests.helpers.forged_headers import forged_headers
from tests.helpers.path_tricks import breaches, wide_policy
from tests.helpers.proxies import CADDY, Running, documented, filled, reserved_port, running_proxy
from tests.helpers.proxy_scene import (
    CHECKOUT_ID,
    CLOSED,
    NO_VERDICTS,
    SPEAKING,
    Answer,
    Line,
    Line2,
    Scene,
    always_yes,
    policy_of,
    proxy_scene,
    saying,
    serving_app,
)

CONFIGURATION = documented("caddy", "Caddy ends TLS")
WEB_ID = b"spiffe://prod.example.org/ns/web/sa/front"

Speaking = type[Line | Line2]
both_protocols = pytest.mark.parametrize("speak", SPEAKING.values(), ids=list(SPEAKING))


@attrs.frozen
class Caddy:
    """A Caddy that runs in a scene."""

    scene: Scene
    port: int
    running: Running

    def line(self, speak: Speaking, client: str) -> Line | Line2:
        return speak(self.port, self.scene.context(client))


@contextlib.contextmanager
def caddy_of(scene: Scene, text: str = CONFIGURATION, **more: object) -> Iterator[Caddy]:
    with reserved_port() as port:
        file = scene.folder / f"Caddyfile-{port}"
        file.write_text(filled(text, scene.values(port) | more), "utf-8")
        command: list[str | Path] = [CADDY.path(), "run", "--adapter", "caddyfile", "--config", file]
        with running_proxy(command, port, scene.folder) as proxy:
            yield Caddy(scene, port, proxy)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    with proxy_scene(tmp_path_factory.mktemp("caddy")) as scene:
        app = authorizer(scene.mesh, proxy="caddy", intermediates=scene.clients.intermediates)
        with serving_app(app, scene.socket), caddy_of(scene) as caddy:
            yield caddy


@pytest.fixture
def caddy(standing: Caddy) -> Iterator[Caddy]:
    standing.scene.restore()
    yield standing
    standing.scene.restore()


CASES = {
    "checkout": (200, Reason.ALLOWED),
    "checkout, the leaf alone": (200, Reason.ALLOWED),
    "checkout, of the root itself": (200, Reason.ALLOWED),
    "checkout, deep": (200, Reason.ALLOWED),
    "web": (403, Reason.NO_RULE),
    "federated": (403, Reason.NO_RULE),
    "forged": (403, Reason.FOREIGN_AUTHORITY),
    "of an unknown trust domain": (403, Reason.UNKNOWN_TRUST_DOMAIN),
    "expired": (403, Reason.EXPIRED),
    "none": (401, Reason.NO_CERTIFICATE),
}
"""What is answered to ``POST /v1/charges``, and the audit event."""


@both_protocols
def test_every_certificate_is_judged(caddy: Caddy, speak: Speaking) -> None:
    assert set(CASES) == set(caddy.scene.clients.named)
    for client, (status, reason) in CASES.items():
        with caddy.line(speak, client) as line:
            answer = line.ask("POST", "/v1/charges", body=b"amount=1")
        assert answer.status == status, client
        assert [name for name in answer.headers if name.startswith("x-meshid")] == [], client
        received = [(each.line, each.body) for each in caddy.scene.upstream.taken()]
        assert received == [(b"POST /v1/charges HTTP/1.1", b"amount=1")] * (status == 200), client
        assert caddy.scene.heard.reason() is reason, client


@both_protocols
def test_endpoints_are_judged_one_by_one_on_one_connection(caddy: Caddy, speak: Speaking) -> None:
    asked = [
        ("GET", "/public?a=/v1", 200),
        ("GET", "/v1/charges/42?full=1", 200),
        ("DELETE", "/v1/charges/42", 403),
        ("GET", "/v1/charges", 403),
        ("POST", "/v1/charges", 200),
    ]
    with caddy.line(speak, "checkout") as line:
        assert [line.ask(method, target).status for method, target, _ in asked] == [each[2] for each in asked]
    served = [f"{method} {target} HTTP/1.1".encode() for method, target, status in asked if status == 200]
    received = caddy.scene.upstream.taken()
    assert [each.line for each in received] == served
    assert {tuple(each.all("x-meshid-peer")) for each in received} == {(CHECKOUT_ID.encode(),)}
    for client, status in (("web", 200), ("federated", 200), ("forged", 403), ("none", 401)):
        with caddy.line(speak, client) as line:
            assert line.ask("GET", "/public").status == status, client


@both_protocols
def test_what_a_client_writes_changes_nothing(caddy: Caddy, speak: Speaking) -> None:
    for name, headers in forged_headers(caddy.scene.clients.issued("checkout")).items():
        for client, status in (("none", 401), ("web", 403), ("checkout", 200)):
            with caddy.line(speak, client) as line:
                assert line.ask("POST", "/v1/charges", headers).status == status, (name, client)
        (received,) = caddy.scene.upstream.taken()
        assert received.all("x-meshid-peer") == [CHECKOUT_ID.encode()], name
        believed = (
            "x-client-cert-der",
            "x_meshid_peer",
            "x_client_cert_der",
            "x-meshid-rule",
            "x-original-uri",
        )
        assert [header for header in believed if received.all(header)] == [], name
        with caddy.line(speak, "web") as line:
            assert line.ask("GET", "/public", headers).status == 200, name
        (received,) = caddy.scene.upstream.taken()
        assert received.all("x-meshid-peer") == [WEB_ID], name


@both_protocols
def test_no_trick_reaches_what_the_policy_forbids(caddy: Caddy, speak: Speaking) -> None:
    caddy.scene.mesh.publish(policy=wide_policy())
    assert breaches(speak, caddy.port, caddy.scene.context("web"), caddy.scene.upstream) == []


def test_the_tricks_reach_it_if_nobody_judges(caddy: Caddy) -> None:
    scene, where = caddy.scene, caddy.scene.folder / "yes.sock"
    with serving_app(always_yes, where), caddy_of(scene, AUTHORIZER_SOCKET=where) as open_to_all:
        for speak in SPEAKING.values():
            assert len(breaches(speak, open_to_all.port, scene.context("web"), scene.upstream)) > 40


@both_protocols
def test_each_change_counts_from_the_next_request_on(caddy: Caddy, speak: Speaking) -> None:
    mesh, clients = caddy.scene.mesh, caddy.scene.clients
    revoked = clients.issuing.crl(clients.issued("checkout"))
    with caddy.line(speak, "checkout") as line:

        def status() -> int:
            return line.ask("POST", "/v1/charges", body=b"x").status

        changes: list[Changes] = [
            {"policy": policy_of(CLOSED)},
            {"revocations": Revocations(deny=[CHECKOUT_ID])},
            {"revocations": Revocations(crls=[revoked])},
            {"bundles": BundleSet([clients.dev.bundle()])},
        ]
        for change in changes:
            assert status() == 200
            mesh.publish(**change)
            assert status() == 403
            caddy.scene.restore()
        assert status() == 200


def test_an_intermediate_alone_can_be_the_anchor(caddy: Caddy) -> None:
    scene, where = caddy.scene, caddy.scene.folder / "bare.sock"
    anchor = TrustBundle.from_pem("prod.example.org", scene.clients.issuing.pem)
    scene.mesh.publish(bundles=BundleSet([anchor]))
    app = authorizer(scene.mesh, proxy="caddy")
    checking = CONFIGURATION.replace(
        "mode request", "mode require_and_verify\ntrust_pool file ${INTERMEDIATE}", 1
    )
    with serving_app(app, where):
        with caddy_of(scene, AUTHORIZER_SOCKET=where) as asking:
            expected = {
                "checkout": 200,
                "checkout, of the root itself": 403,
                "checkout, deep": 403,
                "none": 401,
            }
            for client, status in expected.items():
                with asking.line(Line, client) as line:
                    assert line.ask("GET", "/public").status == status, client
        with caddy_of(scene, checking, AUTHORIZER_SOCKET=where) as both:
            with both.line(Line, "checkout") as line:
                assert line.ask("GET", "/public").status == 200
            with both.line(Line, "checkout, of the root itself") as line:
                assert line.ask("GET", "/public").status == 0


@both_protocols
def test_each_failure_of_the_authorizer_is_a_refusal(caddy: Caddy, speak: Speaking) -> None:
    scene, where = caddy.scene, caddy.scene.folder / "none.sock"
    hurried = CONFIGURATION.replace("response_header_timeout 2s", "response_header_timeout 200ms")
    with caddy_of(scene, hurried, AUTHORIZER_SOCKET=where) as other:

        def status() -> int:
            with other.line(speak, "checkout") as line:
                return line.ask("GET", "/public").status

        assert status() == 502
        for name, answer in {**NO_VERDICTS, "nothing, for ever": None}.items():
            with saying(answer, where):
                assert status() >= 300, name
        app = authorizer(scene.mesh, proxy="caddy", intermediates=scene.clients.intermediates)
        with serving_app(app, where):
            assert status() == 200
    assert len(scene.upstream.taken()) == 1


def test_no_session_is_resumed(caddy: Caddy) -> None:
    context = caddy.scene.context("checkout")
    with Line(caddy.port, context) as first:
        assert first.ask("GET", "/public").status == 200
        session = first.tls.session
    with Line(caddy.port, context, session) as second:
        assert second.ask("POST", "/v1/charges").status == 200
        caddy.scene.mesh.publish(revocations=Revocations(deny=[CHECKOUT_ID]))
        assert second.ask("POST", "/v1/charges").status == 403


@both_protocols
def test_a_large_body_arrives_whole(caddy: Caddy, speak: Speaking) -> None:
    body = bytes(range(256)) * 12_000
    with caddy.line(speak, "checkout") as line:
        assert line.ask("POST", "/v1/charges", body=body).status == 200
    with caddy.line(speak, "checkout") as line:
        assert line.ask("POST", "/public", body=b"x").status == 403
    (received,) = caddy.scene.upstream.taken()
    assert received.body == body


# -- Traps --------------------------------------------------------------------

ROUTE = "\troute {\n"
LAST = "\t\treverse_proxy ${UPSTREAM}\n"
SITE = "https://:${PORT} {\n\tbind ${ADDRESS}\n"
OPEN = SITE.replace("//:", "//localhost:") + "\ttls ${CERTIFICATE} ${KEY}\n\treverse_proxy ${UPSTREAM}\n}\n"


def asked(
    caddy: Caddy, client: str, target: str, *headers: tuple[str, str], host: str = "localhost"
) -> Answer:
    with Line(caddy.port, caddy.scene.context(client), host=host) as line:
        return line.ask("GET", target, headers)


def serves_another_path(caddy: Caddy) -> bool:
    asked(caddy, "web", "/public")
    return [each.target for each in caddy.scene.upstream.taken()] == [b"/v1/charges"]


def passes_a_name(caddy: Caddy) -> bool:
    asked(caddy, "web", "/public", ("X-Meshid-Rule", "mine"))
    return any(each.all("x-meshid-rule") for each in caddy.scene.upstream.taken())


def loses_the_name(caddy: Caddy) -> bool:
    assert asked(caddy, "web", "/public").status == 200
    return not caddy.scene.upstream.taken()[0].all("x-meshid-peer")


TRAPS: dict[str, tuple[Callable[[Caddy], bool], list[tuple[str, str]]]] = {
    "respond before": (
        lambda caddy: asked(caddy, "none", "/told").body == b"told",
        [(ROUTE, f'{ROUTE}\t\trespond /told "told"\n')],
    ),
    "rewrite after": (serves_another_path, [(LAST, f"\t\trewrite /public /v1/charges\n{LAST}")]),
    "no request_header": (passes_a_name, [("\t\trequest_header -X-Meshid*\n", "")]),
    "no route": (loses_the_name, [(ROUTE, "\thandle {\n")]),
    "headers removed in forward_auth": (
        lambda caddy: asked(caddy, "checkout", "/public").status == 401,
        [("\t\t\tcopy_headers", "\t\t\theader_up -X-Client*\n\t\t\tcopy_headers")],
    ),
    "a certificate as PEM": (
        lambda caddy: asked(caddy, "checkout", "/public").status == 502,
        [("client.certificate_der_base64", "client.certificate_pem")],
    ),
    "a host name": (
        lambda caddy: asked(caddy, "none", "/v1/charges").status == 200,
        [(SITE, SITE.replace("https://:", "https://127.0.0.1:"))],
    ),
    "a second site": (
        lambda caddy: asked(caddy, "none", "/v1/charges").body == b"served\n",
        [("# No host name here", f"{OPEN}# No host name here")],
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_told_to_be_a_trap_is_one(caddy: Caddy, trap: str) -> None:
    strikes, changes = TRAPS[trap]
    text = CONFIGURATION
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    with caddy_of(caddy.scene, text) as wrong:
        assert strikes(wrong)
    caddy.scene.upstream.taken()
    assert not strikes(caddy)
