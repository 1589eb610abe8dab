"""Envoy, as docs/envoy.md has it, and with the slips that the page warns of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from meshid import TrustBundle
from meshid.http import authorizer
from meshid.testing import CA
from tests.helpers.forwarding import xfcc
from tests.helpers.mounted import eventually
from tests.helpers.proxies import ENVOY, documented, filled, reserved_port, running_proxy
from tests.helpers.proxy_scene import CHECKOUT, CHECKOUT_ID, Line, Scene, proxy_scene, serving_app
from tests.helpers.tls_peers import HOST, stranger
from tests.helpers.whole_chain import (
    CHARGES,
    PUBLIC,
    WEB_ID,
    Proxied,
    WholeChainProxy,
    changed,
    other_trust,
    resumed,
)

Changes = tuple[tuple[str, str], ...]

TRUST_EVERYBODY = "            validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}\n"
WITH_URI: Changes = (("{cert: true, chain: true}", "{cert: true, chain: true, uri: true}"),)
UPSTREAM_PEER = "                  allowed_upstream_headers: {patterns: [{exact: x-meshid-peer}]}\n"
ALL_ROUTES = 'routes: [{match: {prefix: "/"}, route: {cluster: service}}]'
NOT_ASKED = (
    'routes: [{match: {prefix: "/health"}, route: {cluster: service}, typed_per_filter_config: '
    '{envoy.filters.http.ext_authz: {"@type": type.googleapis.com/'
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}, "
    '{match: {prefix: "/"}, route: {cluster: service}}]'
)


REWRITTEN = (
    'routes: [{match: {path: "/public"}, route: {cluster: service, prefix_rewrite: "/v1/charges"}}, '
    '{match: {prefix: "/"}, route: {cluster: service}}]'
)
UNJUDGED_UPGRADE = (
    "stat_prefix: mesh\n          upgrade_configs: [{upgrade_type: websocket, filters: "
    "[{name: envoy.filters.http.router, typed_config: "
    '{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}]\n'
)


def spiffe_validator() -> Changes:
    return ((TRUST_EVERYBODY, documented("envoy", "The SPIFFE validator")),)


def edge_only() -> Changes:
    return (
        (TRUST_EVERYBODY, documented("envoy", "The inner Envoy takes")),
        ("SANITIZE_SET", "APPEND_FORWARD"),
    )


def before_another(port: int) -> Changes:
    """Let the service of an Envoy be another Envoy, at *port*."""
    cluster = "  - name: service\n    type: STATIC\n"
    return (
        (cluster, cluster + documented("envoy", "The edge, in the cluster")),
        ("${UPSTREAM_PORT}", str(port)),
        ("            request_headers_to_remove: [x-forwarded-client-cert]", "           "),
    )


@contextlib.contextmanager
def envoy(scene: Scene, asks: Path, *changes: tuple[str, str]) -> Iterator[Proxied]:
    """Run Envoy as documented, but for *changes*; it waits less for clients to close."""
    sooner = ("stat_prefix: mesh\n", "stat_prefix: mesh\n          delayed_close_timeout: 0.05s\n")
    with reserved_port() as port:
        values = {
            **scene.values(port),
            "AUTHORIZER_SOCKET": asks,
            "HOST": HOST,
            "BUNDLES": scene.folder / "bundles",
            "EDGE_CERTIFICATE": scene.folder / "edge.pem",
            "EDGE_KEY": scene.folder / "edge.key",
            "INNER_CA": scene.folder / "web.pem",
            "INNER_NAME": "localhost",
        }
        text = filled(
            changed(documented("envoy", "Envoy ends TLS and asks meshid"), sooner, *changes), values
        )
        configuration = scene.folder / f"envoy-{port}.yaml"
        configuration.write_text(filled(text, values))
        command: list[str | Path] = [
            ENVOY.path(),
            "-c",
            configuration,
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
        ]
        with running_proxy([*command, "-l", "warning"], port, scene.folder):
            yield Proxied(scene, port, asks)


@contextlib.contextmanager
def slipped(scene: Scene, *changes: tuple[str, str]) -> Iterator[Proxied]:
    scene.restore()
    with envoy(scene, scene.socket, *changes) as proxied:
        yield proxied


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        proxy_scene(tmp_path_factory.mktemp("envoy")) as scene,
        serving_app(authorizer(scene.mesh, proxy="envoy"), scene.socket),
    ):
        yield scene


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[Proxied]:
    with envoy(scene, scene.socket) as proxied:
        yield proxied


@pytest.fixture(scope="module")
def running_astray(scene: Scene) -> Iterator[Proxied]:
    with envoy(scene, scene.folder / "astray.sock") as proxied:
        yield proxied


@pytest.fixture
def proxied(running: Proxied) -> Proxied:
    running.scene.restore()
    return running


@pytest.fixture
def astray(running_astray: Proxied) -> Proxied:
    running_astray.scene.restore()
    return running_astray


class TestEnvoy(WholeChainProxy):
    """The documented configuration."""

    passes_on: ClassVar = {"no content": 204, "elsewhere": 302}

    def test_a_resumed_session_has_its_whole_chain(self, proxied: Proxied) -> None:
        def forget() -> None:
            proxied.scene.mesh.publish(bundles=other_trust(proxied.scene))

        assert resumed(proxied, "checkout", forget) == (True, 200)

    def test_meshid_judges_the_path_that_envoy_has_made_of_it(self, proxied: Proxied) -> None:
        with Line(proxied.port, proxied.scene.context("web")) as line:
            assert line.ask("GET", "/v1/..//public?a=b").status == 200
            assert line.ask("GET", "/public/../v1/charges/1").status == 403
            assert line.ask("GET", "/v1%2fcharges").status == 400
        requests = [proxied.scene.heard.next().decision.request for _ in range(2)]
        assert requests == ["GET /public", "GET /v1/charges/1"]
        assert [it.target for it in proxied.scene.upstream.taken()] == [b"/public?a=b"]


# -- The SPIFFE validator -------------------------------------------------------


def put_bundles(scene: Scene, *bundles: TrustBundle) -> None:
    """Move a new SPIFFE bundle map to where the documented validator looks."""
    folder = scene.folder / "bundles"
    folder.mkdir(exist_ok=True)
    document = {"trust_domains": {str(it.trust_domain): json.loads(it.to_spiffe_json()) for it in bundles}}
    (folder / "new").write_text(json.dumps(document))
    (folder / "new").rename(folder / "bundles.json")


@pytest.fixture(scope="module")
def validating(scene: Scene) -> Iterator[Proxied]:
    put_bundles(scene, scene.clients.prod.bundle(), scene.clients.dev.bundle())
    with envoy(scene, scene.socket, *spiffe_validator(), *WITH_URI) as proxied:
        yield proxied


class TestSpiffeValidator:
    """Envoy with the documented SPIFFE validator; it also writes URIs into the header, as it should not."""

    def test_who_is_not_of_the_mesh_gets_no_answer(self, validating: Proxied) -> None:
        scene = validating.scene
        scene.restore()
        told = {name: validating.once(name) for name in scene.clients.named}
        refused = ("forged", "expired", "of an unknown trust domain", "none", "checkout, the leaf alone")
        assert told == {name: 0 if name in refused else 200 for name in told}

    def test_a_name_cannot_write_an_element(self, validating: Proxied) -> None:
        """The partner's CA may issue any name below its trust domain, and Envoy does not quote names."""
        scene = validating.scene
        scene.restore()
        victim = scene.clients.issued("checkout").chain
        element = xfcc(victim).partition(";Subject=")[0]
        own = "spiffe://dev.example.org/ns/a"
        for name in (
            f"{own},{element}",
            f"{own};{element}",
            f"{own},By=x;{element.partition(';')[2]}",
            f"{own},Hash=1",
        ):
            evil = scene.clients.dev.issue(uris=[name])
            with Line(validating.port, stranger(evil)) as line:
                assert line.ask(*PUBLIC).status == line.ask(*CHARGES).status == 403, name
        assert scene.upstream.taken() == []
        # The refusals are not Envoy's: a partner's honest leaf comes through the same validator.
        assert validating.once("federated") == 200

    def test_a_bundle_that_is_moved_in_is_in_force(self, validating: Proxied) -> None:
        scene = validating.scene
        scene.restore()
        # Another name: where two authorities have one, Envoy needs key identifiers to tell them apart.
        new = CA("prod.example.org", subject="CN=the next root")
        newcomer = new.intermediate().issue(CHECKOUT)
        both = TrustBundle.from_pem("prod.example.org", scene.clients.prod.pem + new.pem)
        assert validating.once(newcomer) == 0
        put_bundles(scene, both, scene.clients.dev.bundle())
        # Envoy lets it in; meshid has not heard of the new authority yet.
        assert eventually(lambda: validating.once(newcomer) == 403)
        put_bundles(scene, scene.clients.prod.bundle())
        assert eventually(lambda: validating.once("federated") == 0)


# -- Two hops -------------------------------------------------------------------


def test_two_hops(scene: Scene) -> None:
    """The inner Envoy asks with two elements, and takes connections of the edge alone."""
    scene.restore()
    asks = scene.folder / "inner.sock"
    edge = scene.clients.issuing.issue("/ns/edge/sa/envoy")
    (scene.folder / "edge.pem").write_bytes(edge.chain_pem)
    (scene.folder / "edge.key").write_bytes(edge.key_pem)
    put_bundles(scene, scene.clients.prod.bundle(), scene.clients.dev.bundle())
    with (
        serving_app(authorizer(scene.mesh, proxy="envoy", elements=2), asks),
        envoy(scene, asks, *edge_only()) as inner,
        envoy(scene, scene.socket, *before_another(inner.port)) as outer,
    ):
        victim = xfcc(scene.clients.issued("checkout").chain)
        for name, statuses in {"checkout": [200, 200], "web": [200, 403], "none": [401, 401]}.items():
            with Line(outer.port, scene.context(name)) as line:
                told = [
                    line.ask(*it, [("x-forwarded-client-cert", victim)]).status for it in (PUBLIC, CHARGES)
                ]
            assert told == statuses
        peers = [value.decode() for it in scene.upstream.taken() for value in it.all("x-meshid-peer")]
        assert peers == [CHECKOUT_ID, CHECKOUT_ID, WEB_ID]
        # Whoever else connects to the inner one could write the first element.
        with Line(inner.port, scene.context("web")) as line:
            assert line.ask(*CHARGES, [("x-forwarded-client-cert", victim)]).status == 0
        # From the edge itself, which has written none, there is one element too few.
        assert inner.once(edge) == 403
        assert scene.upstream.taken() == []


# -- Slips ----------------------------------------------------------------------


class TestSlips:
    """What a small change of the configuration does: the page says so, and must be right."""

    def test_forward_only_believes_the_client(self, scene: Scene) -> None:
        """This door is open: what the client wrote cannot be told from what Envoy writes."""
        victim = xfcc(scene.clients.issued("checkout").chain)
        with (
            slipped(scene, ("SANITIZE_SET", "FORWARD_ONLY")) as proxied,
            Line(proxied.port, scene.context("web")) as line,
        ):
            assert line.ask(*CHARGES, [("x-forwarded-client-cert", victim)]).status == 200

    def test_failure_mode_allow_serves_everybody(self, scene: Scene) -> None:
        """This door is open, and the service at least is told of no peer."""
        scene.restore()
        nowhere = scene.folder / "nowhere.sock"
        with envoy(scene, nowhere, ("failure_mode_allow: false", "failure_mode_allow: true")) as proxied:
            with Line(proxied.port, scene.context("none")) as line:
                assert line.ask(*CHARGES, [("x-meshid-peer", "me")]).status == 200
            assert [it.all("x-meshid-peer") for it in scene.upstream.taken()] == [[]]

    def test_append_forward_is_refused_with_what_the_client_wrote(self, scene: Scene) -> None:
        victim = xfcc(scene.clients.issued("checkout").chain)
        with (
            slipped(scene, ("SANITIZE_SET", "APPEND_FORWARD")) as proxied,
            Line(proxied.port, scene.context("web")) as line,
        ):
            assert line.ask(*PUBLIC).status == 200
            assert line.ask(*PUBLIC, [("x-forwarded-client-cert", victim)]).status == 403
            assert line.ask(*CHARGES, [("x-forwarded-client-cert", victim)]).status == 403

    def test_without_the_header_nobody_is_anybody(self, scene: Scene) -> None:
        allowed = "patterns: [{exact: x-forwarded-client-cert}, {exact: authorization}]"
        with slipped(scene, (allowed, "patterns: [{exact: authorization}]")) as proxied:
            assert proxied.once("checkout") == 401
        assert scene.upstream.taken() == []

    def test_without_the_prefix_nobody_is_served(self, scene: Scene) -> None:
        with slipped(scene, ("                path_prefix: /authorize\n", "")) as proxied:
            assert proxied.once("checkout") == 404
        assert scene.upstream.taken() == []

    def test_what_is_served_is_not_what_was_judged(self, scene: Scene) -> None:
        """Two doors that are open: a path that the route changes, and an upgrade with filters of its own."""
        with (
            slipped(scene, (ALL_ROUTES, REWRITTEN), ("stat_prefix: mesh\n", UNJUDGED_UPGRADE)) as proxied,
            Line(proxied.port, scene.context("web")) as line,
        ):
            assert line.ask(*PUBLIC).status == 200
            assert line.ask("GET", "/v1/charges/1").status == 403
            line.ask("GET", "/v1/charges/1", [("Connection", "Upgrade"), ("Upgrade", "websocket")])
        assert [it.target for it in scene.upstream.taken()] == [b"/v1/charges", b"/v1/charges/1"]

    def test_the_name_of_the_peer_is_never_the_clients(self, scene: Scene) -> None:
        """Neither where the answer's is forgotten, nor on a route that is not judged."""
        lies = [
            (name, CHECKOUT_ID)
            for name in ("x-meshid-peer", "X-Meshid-Peer", "x_meshid_peer", "X-MESHID-PEER")
        ]
        with (
            slipped(scene, (UPSTREAM_PEER, ""), (ALL_ROUTES, NOT_ASKED)) as proxied,
            Line(proxied.port, scene.context("web")) as line,
        ):
            assert line.ask("GET", "/health", lies).status == line.ask(*PUBLIC, lies).status == 200
        received = scene.upstream.taken()
        assert [it.target for it in received] == [b"/health", b"/public"]
        assert [name for it in received for name, _ in it.headers if b"meshid" in name] == []
