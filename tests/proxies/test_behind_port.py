"""The mesh port in front of the real proxies, which ask by the handle, or hear of admitted peers alone."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from meshid import Revocations
from meshid.port import MeshPort
from meshid.port.proxy_header import proxy_header
from tests.helpers.mounted import eventually
from tests.helpers.path_tricks import breaches, wide_policy
from tests.helpers.ports import Running, running_port
from tests.helpers.proxies import (
    DEBIAN_NGINX,
    ENVOY,
    HAPROXY,
    WHEEL_NGINX,
    documented,
    filled,
    reserved_port,
    running_nginx,
    running_proxy,
)
from tests.helpers.proxy_dialects import forged
from tests.helpers.proxy_scene import (
    CHECKOUT_ID,
    Answer,
    Line,
    Line2,
    Scene,
    policy_of,
    proxy_scene,
    serving_app,
)
from tests.helpers.tls_peers import HOST, stranger
from tests.helpers.whole_chain import (
    BROKEN,
    CHARGES,
    DEV_ID,
    PUBLIC,
    WEB_ID,
    broken_authorizer,
    changed,
    in_portions,
    without_intermediate,
)

GATE_POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["dev.example.org"]
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
"""
"""Without http conditions: nobody judges requests."""

PUBLIC_ONLY = GATE_POLICY + 'http = ["GET /public"]\n'

# -- The proxies --------------------------------------------------------------

Start = Callable[[Scene, int], contextlib.AbstractContextManager[object]]
"""Starts a proxy at a port, plain and with a PROXY header."""

LISTEN = "    listen ${LISTEN} proxy_protocol;"


@contextlib.contextmanager
def nginx(scene: Scene, port: int, **more: object) -> Iterator[object]:
    """Start the newest nginx; it also listens on a Unix socket."""
    both = f"{LISTEN}\n    listen unix:{scene.folder}/nginx-{port}.sock proxy_protocol;\n"
    text = changed(documented("nginx", "by the handle of its connection"), (LISTEN, both))
    with running_nginx(WHEEL_NGINX, filled(text, scene.values(port) | more), port, scene.folder) as proxy:
        yield proxy


@contextlib.contextmanager
def haproxy(scene: Scene, port: int, **more: object) -> Iterator[object]:
    lua, configuration = scene.folder / "handle.lua", scene.folder / f"haproxy-{port}.cfg"
    lua.write_text(documented("haproxy", "beside the mesh port"))
    text = documented("haproxy", "by the handle of its connection")
    configuration.write_text(filled(text, scene.values(port) | {"LUA_FILE": lua} | more))
    with running_proxy([HAPROXY.path(), "-db", "-f", configuration], port, scene.folder) as proxy:
        yield proxy


@contextlib.contextmanager
def nginx_as_gate(scene: Scene, port: int) -> Iterator[object]:
    text = documented("nginx", "and is a gate")
    with running_nginx(DEBIAN_NGINX, filled(text, scene.values(port)), port, scene.folder) as proxy:
        yield proxy


@contextlib.contextmanager
def envoy(
    scene: Scene, port: int, marker: str = "by the handle of its connection", **more: object
) -> Iterator[object]:
    configuration = scene.folder / f"envoy-{port}.yaml"
    text = changed(documented("envoy", marker), ("stat_prefix: behind\n", f"stat_prefix: behind\n{SOONER}"))
    configuration.write_text(filled(text, scene.values(port) | {"HOST": HOST} | more))
    command: list[str | Path] = [ENVOY.path(), "-c", configuration, "--use-dynamic-base-id"]
    with running_proxy([*command, "--concurrency", "1", "-l", "warning"], port, scene.folder) as proxy:
        yield proxy


SOONER = "          delayed_close_timeout: 0.05s\n"
"""It waits less for clients to close."""


def envoy_as_gate(scene: Scene, port: int) -> contextlib.AbstractContextManager[object]:
    return envoy(scene, port, "takes the SPIFFE ID from the PROXY header")


# -- A port in front of one ---------------------------------------------------


@attrs.frozen
class Behind:
    """A proxy behind a port.

    Attributes:
        scene: What stands around them.
        running: The port.
        inner: The port of the proxy itself.
        name: The proxy.
    """

    scene: Scene
    running: Running
    inner: int
    name: str

    def line(self, client: str) -> Line:
        return Line(self.running.number, self.scene.context(client))

    def straight(self, header: bytes, request: tuple[str, str] = PUBLIC, claim: str = "0" * 32) -> Answer:
        """Ask past the port, with a PROXY header of our own, and a handle where it has no place."""
        with Line(self.inner, None) as line:
            line.send(header)
            return line.ask(*request, [("X-Meshid-Connection", claim)])

    def handles(self) -> list[str]:
        """Return the handles of all open connections."""
        connections = self.running.hub._plan.handles._connections  # noqa: SLF001 - nobody else may see them
        return list(connections)

    def is_empty(self) -> bool:
        """Wait until the last connection has gone, and its handle."""
        return self.running.is_empty() and eventually(lambda: self.scene.mesh.open_connections == 0)


@contextlib.contextmanager
def behind_port(scene: Scene, name: str, start: Start, *, asks: bool, unix: bool = False) -> Iterator[Behind]:
    with contextlib.ExitStack() as stack:
        inner = stack.enter_context(reserved_port())
        upstream = f"unix:{scene.folder}/nginx-{inner}.sock" if unix else f"{HOST}:{inner}"
        port = MeshPort(scene.mesh, upstream, proxy_protocol=True)
        if asks:
            stack.enter_context(serving_app(port.authorizer(), scene.socket))
        stack.enter_context(start(scene, inner))
        yield Behind(scene, stack.enter_context(running_port(port)), inner, name)


ASKING: Mapping[str, tuple[Start, bool, int]] = {
    "nginx": (nginx, True, 500),
    "HAProxy": (haproxy, False, 403),
    "Envoy": (envoy, False, 403),
}
"""Each with whether it listens on a Unix socket, and what it says without an authorizer."""


@pytest.fixture(scope="module", params=ASKING)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    start, unix, _ = ASKING[request.param]
    with (
        proxy_scene(tmp_path_factory.mktemp("behind")) as scene,
        behind_port(scene, request.param, start, asks=True, unix=unix) as behind,
    ):
        yield behind


@pytest.fixture
def behind(started: Behind) -> Iterator[Behind]:
    assert started.is_empty()
    started.scene.restore()
    yield started
    started.scene.restore()


# -- Asking by the handle -----------------------------------------------------

NO_CONNECTION = 0
ALLOWED = {
    "checkout": (200, 200, CHECKOUT_ID),
    "checkout, of the root itself": (200, 200, CHECKOUT_ID),
    "checkout, deep": (200, 200, CHECKOUT_ID),
    "web": (200, 403, WEB_ID),
    "federated": (200, 403, DEV_ID),
}
"""The answers to ``GET /public`` and ``POST /v1/charges``, and the name that the service hears."""

REFUSED = {
    "forged": "foreign_authority",
    "expired": "expired",
    "of an unknown trust domain": "unknown_trust_domain",
    "none": "no_certificate",
    "a leaf without its intermediate": "unknown_authority",
}
"""Who gets no connection, and the reason of the audit event; the trust has the roots alone."""


class KnownToSpeak2(Line2):
    """HTTP/2 with prior knowledge (RFC 9113 section 3.3)."""

    is_negotiated = False


class TestAsking:
    @pytest.mark.parametrize("client", ALLOWED)
    def test_who_is_admitted_is_judged_at_each_request(self, client: str, behind: Behind) -> None:
        scene, (public, charges, name) = behind.scene, ALLOWED[client]
        with behind.line(client) as line:
            for _ in range(2):
                assert line.ask(*PUBLIC).status == public
                assert line.ask(*CHARGES, body=b"amount=1").status == charges
            assert scene.mesh.open_connections == 1
        received = scene.upstream.taken()
        assert len(received) == (4 if charges == 200 else 2)
        for each in received:
            assert each.all("x-meshid-peer") == [name.encode()]
            # Envoy writes another header, and not for the loopback.
            assert each.all("x-real-ip") == ([] if behind.name == "Envoy" else [HOST.encode()])
            assert each.all("x-meshid-connection") == []
        calls = [scene.heard.next() for _ in range(5)]
        assert [(each.call, each.decision.name) for each in calls] == [("admit", name)] + [
            ("check", name)
        ] * 4
        assert calls[2].decision.request == "POST /v1/charges"

    @pytest.mark.parametrize("client", REFUSED)
    def test_who_is_refused_gets_no_connection(self, client: str, behind: Behind) -> None:
        scene = behind.scene
        known = client in scene.clients.named
        context = scene.context(client) if known else stranger(without_intermediate(scene))
        with Line(behind.running.number, context) as line:
            assert line.ask(*PUBLIC).status == NO_CONNECTION
        assert scene.heard.reason() == REFUSED[client]
        assert scene.upstream.taken() == []

    def test_what_a_client_writes_changes_nothing(self, behind: Behind) -> None:
        """Not even if it knew the handle of a connection that may do it."""
        scene = behind.scene
        with behind.line("checkout") as victim, behind.line("web") as line:
            assert victim.ask(*CHARGES).status == line.ask(*PUBLIC).status == 200
            scene.upstream.taken()
            lies = forged(scene.clients.issued("checkout").chain)
            lies += [(b"X-Meshid-Connection", handle.encode()) for handle in behind.handles()]
            lies += [(b"X_Meshid_Peer", CHECKOUT_ID.encode()), (b"x-MESHID-peer", CHECKOUT_ID.encode())]
            for portion in in_portions(lies):
                assert line.ask(*PUBLIC, portion).status == 200
                assert line.ask(*CHARGES, portion).status == 403
        for each in scene.upstream.taken():
            assert each.target == b"/public"
            assert each.all("x-meshid-peer") == [WEB_ID.encode()]
            assert each.all("x_meshid_peer") == each.all("x-meshid-connection") == []

    @pytest.mark.parametrize(
        "header",
        [
            pytest.param(lambda: made_up(secrets.token_hex(16)), id="a handle"),
            pytest.param(lambda: made_up(None), id="no handle"),
            pytest.param(lambda: b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", id="version 1"),
            pytest.param(
                lambda: made_up("0" * 32).replace(b"\x21\x11", b"\x20\x00"), id="a local connection"
            ),
        ],
    )
    def test_who_comes_past_the_port_is_nobody(self, header: Callable[[], bytes], behind: Behind) -> None:
        for request in (PUBLIC, CHARGES):
            assert behind.straight(header(), request).status == 401
            assert behind.scene.heard.reason() == "no_certificate"
        assert behind.scene.upstream.taken() == []

    def test_nothing_that_is_no_handle_is_believed(self, behind: Behind) -> None:
        with behind.line("checkout") as line:
            assert line.ask(*PUBLIC).status == 200
            (handle,) = behind.handles()
            assert behind.straight(made_up(None), CHARGES, handle).status == 401
            wrong = handle + "\r\nX-Original-URI: /public"
            header = made_up("0" * len(wrong)).replace(b"0" * len(wrong), wrong.encode())
            assert behind.straight(header, CHARGES).status in {400, 403, 500}
        behind.scene.upstream.taken()
        assert behind.is_empty()
        assert behind.straight(made_up(handle), CHARGES).status == 401, "its connection has gone"
        assert behind.scene.upstream.taken() == []

    def test_a_revocation_ends_the_open_connection(self, behind: Behind) -> None:
        scene = behind.scene
        with behind.line("checkout") as ending, behind.line("web") as going_on:
            assert ending.ask(*CHARGES).status == going_on.ask(*PUBLIC).status == 200
            scene.mesh.publish(revocations=Revocations(deny=[CHECKOUT_ID]))
            with contextlib.suppress(ConnectionError):
                assert ending.socket.recv(1024) == b""
            assert going_on.ask(*PUBLIC).status == 200
        with behind.line("checkout") as again:
            assert again.ask(*PUBLIC).status == NO_CONNECTION

    def test_a_new_policy_is_in_force_at_the_next_request(self, behind: Behind) -> None:
        scene = behind.scene
        with behind.line("checkout") as line:
            assert line.ask(*CHARGES).status == 200
            scene.mesh.publish(policy=policy_of(PUBLIC_ONLY))
            assert [line.ask(*request).status for request in (CHARGES, PUBLIC)] == [403, 200]
            scene.mesh.publish(policy=policy_of(GATE_POLICY))
            assert line.ask("DELETE", "/v1/charges").status == 200

    def test_no_trick_reaches_what_the_policy_forbids(self, behind: Behind) -> None:
        behind.scene.mesh.publish(policy=wide_policy())
        context, upstream = behind.scene.context("web"), behind.scene.upstream
        # The port negotiates no HTTP/2; Envoy speaks it with whoever begins with it.
        for speak in (Line, KnownToSpeak2) if behind.name == "Envoy" else (Line,):
            assert breaches(speak, behind.running.number, context, upstream) == []


def made_up(handle: str | None) -> bytes:
    """Return the PROXY header that somebody else than the port could write."""
    there = ("192.0.2.1", 1)
    if handle is None or len(handle) == 32:
        return proxy_header(there, there, handle=handle, spiffe_id=CHECKOUT_ID, version="TLSv1.3")
    fitting = proxy_header(there, there, handle="0" * 32, spiffe_id=None, version=None)
    entry = len(fitting) - 32 + len(handle)
    return (
        fitting[:14] + (entry - 16).to_bytes(2, "big") + fitting[16:29] + len(handle).to_bytes(2, "big")
    ) + handle.encode()


@pytest.mark.parametrize("case", ["gone", "no HTTP", "HTTP/0.9"])
@pytest.mark.parametrize("proxy", ASKING)
def test_without_an_answer_of_meshid_nobody_is_served(
    proxy: str, case: str, lonely: Mapping[str, tuple[Scene, int]]
) -> None:
    scene, port = lonely[proxy]
    with broken_authorizer(scene.folder / "astray.sock", BROKEN[case]), Line(port, None) as line:
        line.send(made_up("0" * 32))
        assert line.ask(*PUBLIC).status == ASKING[proxy][2]
    assert scene.upstream.taken() == []


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, tuple[Scene, int]]]:
    """Proxies whose authorizer is what a test puts there."""
    with contextlib.ExitStack() as stack:
        scene = stack.enter_context(proxy_scene(tmp_path_factory.mktemp("lonely")))
        found = {}
        astray = scene.folder / "astray.sock"
        for name, start in (("nginx", nginx), ("HAProxy", haproxy), ("Envoy", envoy)):
            port = stack.enter_context(reserved_port())
            stack.enter_context(start(scene, port, AUTHORIZER_SOCKET=astray))
            found[name] = scene, port
        yield found


# -- The gate -----------------------------------------------------------------

GATES: Mapping[str, tuple[Start, list[bytes]]] = {
    "Debian's nginx": (nginx_as_gate, []),
    "Envoy": (envoy_as_gate, [CHECKOUT_ID.encode()]),
}
"""Each with what the service hears of the peer."""


@pytest.mark.parametrize("proxy", GATES)
def test_a_gate_lets_admitted_peers_through_and_nobody_else(proxy: str, tmp_path: Path) -> None:
    start, named = GATES[proxy]
    with proxy_scene(tmp_path / "gate") as scene, behind_port(scene, proxy, start, asks=False) as behind:
        lies = [("X-Meshid-Peer", "spiffe://prod.example.org/liar")]
        with behind.line("checkout") as line:
            assert line.ask(*PUBLIC).status == NO_CONNECTION, "a rule with http conditions lets nobody in"
        scene.mesh.publish(policy=policy_of(GATE_POLICY))
        for client in scene.clients.named:
            with behind.line(client) as line:
                answered = line.ask(*CHARGES, lies).status
            assert answered == (200 if client.startswith("checkout") else NO_CONNECTION), client
        received = scene.upstream.taken()
        assert [each.all("x-meshid-peer") for each in received] == [named] * 4
        if proxy == "Debian's nginx":
            assert received[0].all("x-real-ip") == [HOST.encode()]
        with behind.line("checkout") as ending:
            assert ending.ask(*PUBLIC).status == 200
            scene.mesh.publish(revocations=Revocations(deny=[CHECKOUT_ID]))
            with contextlib.suppress(ConnectionError):
                assert ending.socket.recv(1024) == b""
        if named:
            # Who is not of the mesh cannot borrow a name from the header of the request.
            scene.upstream.taken()
            with Line(behind.inner, None) as line:
                line.send(proxy_header(None, None, handle=None, spiffe_id=None, version=None))
                assert line.ask(*PUBLIC, lies).status == 200
            assert lies[0][1].encode() not in scene.upstream.taken()[0].all("x-meshid-peer")
