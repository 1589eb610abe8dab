"""The bundle endpoint that we serve, as others see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn

from meshid import BundleSet, Mesh
from meshid.errors import InvalidSpiffeId
from meshid.http import bundle_app
from meshid.http.asgi import App, Message
from meshid.names.spiffe_id import TrustDomain
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.testing import CA, Issued, TokenIssuer
from meshid.tokens.key_set import KeySet
from meshid.trust.bundles import TrustBundle
from tests.helpers.tls_peers import HOST, TIMEOUT, mesh_of
from tests.helpers.world import Clock

DOMAIN = "prod.example.org"
NAME = f"spiffe://{DOMAIN}/bundles"


def called(app: App, scope: dict[str, object], *received: str) -> list[Message]:
    """Call *app* once, and return what it sends."""
    events = iter(received)
    sent: list[Message] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def got(app: App, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    start, body = called(app, {"type": "http", "method": method, "path": "/"})
    return start["status"], dict(start["headers"]), body["body"]


def document(app: App) -> dict[str, Any]:
    status, _, body = got(app)
    assert status == 200
    read: dict[str, Any] = json.loads(body)
    return read


@pytest.fixture
def mesh(prod_ca: CA) -> Mesh:
    return mesh_of(prod_ca)


class TestAnswers:
    """The server MUST respond with the most up-to-date version of the SPIFFE bundle available."""

    def test_the_bundle_in_force_is_served(self, mesh: Mesh, prod_ca: CA) -> None:
        app = bundle_app(mesh)
        status, headers, body = got(app)
        assert (status, headers[b"content-type"]) == (200, b"application/json")
        assert headers[b"content-length"] == str(len(body)).encode()
        assert TrustBundle.from_spiffe_json(DOMAIN, body) == prod_ca.bundle()
        newer = CA(DOMAIN)
        both = TrustBundle.from_pem(DOMAIN, prod_ca.pem + newer.pem)
        mesh.publish(bundles=BundleSet([both]))
        assert TrustBundle.from_spiffe_json(DOMAIN, got(app)[2]) == both

    def test_the_keys_for_jwt_svids_are_served_with_it(self, mesh: Mesh, prod_ca: CA, clock: Clock) -> None:
        spire = TokenIssuer(None, use="jwt-svid")
        app = bundle_app(mesh, clock=clock)
        for sequence in (0, 1):
            spire.new_key("ES384")
            keys = KeySet.from_json("spire", spire.jwks(), use="jwt-svid").keys
            bundle = attrs.evolve(prod_ca.bundle(), jwt_keys=keys)
            mesh.publish(bundles=BundleSet([bundle]))
            body = got(app)[2]
            assert TrustBundle.from_spiffe_json(DOMAIN, body) == bundle
            # A key that is new, or is withdrawn, is a change like that of an authority.
            assert json.loads(body)["spiffe_sequence"] == int(clock()) + sequence

    def test_another_trust_domain_can_be_named(self, mesh: Mesh, prod_ca: CA, dev_ca: CA) -> None:
        mesh.publish(bundles=BundleSet([prod_ca.bundle(), dev_ca.bundle()]))
        for named in (TrustDomain("dev.example.org"), "dev.example.org", "spiffe://dev.example.org"):
            body = got(bundle_app(mesh, named))[2]
            assert TrustBundle.from_spiffe_json("dev.example.org", body) == dev_ca.bundle()

    def test_a_bundle_that_is_gone_is_not_found(self, mesh: Mesh) -> None:
        app = bundle_app(mesh)
        mesh.publish(bundles=BundleSet())
        assert got(app)[0] == 404

    def test_head_has_everything_but_the_body(self, mesh: Mesh) -> None:
        app = bundle_app(mesh)
        assert got(app, "HEAD") == (*got(app)[:2], b"")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
    def test_no_other_method_is_allowed(self, mesh: Mesh, method: str) -> None:
        status, headers, _ = got(bundle_app(mesh), method)
        assert (status, headers[b"allow"]) == (405, b"GET, HEAD")

    def test_it_starts_and_stops_when_the_server_does(self, mesh: Mesh) -> None:
        sent = called(bundle_app(mesh), {"type": "lifespan"}, "lifespan.startup", "lifespan.shutdown")
        assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    def test_anything_but_http_is_refused(self, mesh: Mesh) -> None:
        with pytest.raises(ValueError, match="not over websocket"):
            called(bundle_app(mesh), {"type": "websocket"})


class TestDocument:
    def test_the_refresh_hint_is_told(self, mesh: Mesh) -> None:
        assert document(bundle_app(mesh))["spiffe_refresh_hint"] == 300
        assert document(bundle_app(mesh, refresh_hint=60))["spiffe_refresh_hint"] == 60

    def test_the_sequence_grows_with_each_change_and_only_then(
        self, mesh: Mesh, prod_ca: CA, clock: Clock
    ) -> None:
        app = bundle_app(mesh, clock=clock)
        begun = int(clock())
        one, two = prod_ca.bundle(), CA(DOMAIN).bundle()
        for bundle, seconds, sequence in (
            (one, 0, begun),
            (one, 100, begun),
            (two, 100, begun + 100),
            (one, 100, begun + 101),
            (two, 50, begun + 102),
            (two, 500, begun + 102),
            (one, 500, begun + 500),
        ):
            mesh.publish(bundles=BundleSet([bundle]))
            clock.now = clock.now.fromtimestamp(begun + seconds, clock.now.tzinfo)
            assert document(app)["spiffe_sequence"] == sequence

    def test_a_restart_is_no_step_back(self, mesh: Mesh, clock: Clock) -> None:
        before = document(bundle_app(mesh, clock=clock))["spiffe_sequence"]
        clock.now = clock.now.fromtimestamp(clock() + 1, clock.now.tzinfo)
        assert document(bundle_app(mesh, clock=clock))["spiffe_sequence"] == before + 1


class TestWrongArguments:
    def test_a_mesh_without_a_name_must_be_told_the_trust_domain(self, prod_ca: CA) -> None:
        mesh = Mesh(bundles=BundleSet([prod_ca.bundle()]))
        with pytest.raises(ValueError, match="no trust domain: pass trust_domain"):
            bundle_app(mesh)
        assert got(bundle_app(mesh, DOMAIN))[0] == 200

    def test_a_trust_domain_must_be_one(self, mesh: Mesh) -> None:
        with pytest.raises(InvalidSpiffeId):
            bundle_app(mesh, "no domain")

    @pytest.mark.parametrize("seconds", [0, -1])
    def test_a_refresh_hint_must_be_positive(self, mesh: Mesh, seconds: int) -> None:
        with pytest.raises(ValueError, match=f"refresh_hint is {seconds}"):
            bundle_app(mesh, refresh_hint=seconds)


# -- Under servers that people have -------------------------------------------


@contextlib.contextmanager
def under_uvicorn(app: App, listener: socket.socket, pem: Path) -> Iterator[None]:
    config = uvicorn.Config(app, ssl_certfile=pem, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@contextlib.contextmanager
def under_hypercorn(app: App, listener: socket.socket, pem: Path) -> Iterator[None]:
    config = hypercorn.config.Config()
    config.certfile = config.keyfile = str(pem)
    config.bind = [f"fd://{listener.detach()}"]
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    serve = hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)  # type: ignore[arg-type]
    thread = threading.Thread(target=loop.run_until_complete, args=(serve,))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        loop.close()


Serving = Callable[[App, socket.socket, Path], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize("under", [under_uvicorn, under_hypercorn])
class TestServers:
    def test_a_partner_fetches_our_bundle(
        self, under: Serving, mesh: Mesh, prod_ca: CA, tmp_path: Path
    ) -> None:
        with served(under, mesh, prod_ca.issue(NAME), tmp_path) as port:
            partner = BundleEndpoint.https_spiffe(
                DOMAIN, f"https://{HOST}:{port}/", spiffe_id=NAME, bundle=prod_ca.bundle()
            )
            assert partner.read().bundles == (prod_ca.bundle(),)
            newer = TrustBundle.from_pem(DOMAIN, prod_ca.pem + CA(DOMAIN).pem)
            mesh.publish(bundles=BundleSet([newer]))
            assert partner.read().bundles == (newer,)

    def test_the_web_fetches_it_too(self, under: Serving, mesh: Mesh, prod_ca: CA, tmp_path: Path) -> None:
        web = CA("web.example")
        with served(under, mesh, web.issue(uris=[], dns=["localhost"]), tmp_path) as port:
            partner = BundleEndpoint.https_web(DOMAIN, f"https://localhost:{port}/any", roots=web.pem)
            assert partner.read().bundles == (prod_ca.bundle(),)


@contextlib.contextmanager
def served(under: Serving, mesh: Mesh, presented: Issued, directory: Path) -> Iterator[int]:
    pem = directory / "identity.pem"
    pem.write_bytes(presented.key_pem + presented.chain_pem)
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with under(bundle_app(mesh), listener, pem):
            yield port
