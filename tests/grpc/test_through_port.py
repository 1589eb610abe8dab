"""gRPC through a mesh port: clients that want HTTP/2 by ALPN, and servers that end TLS themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from meshid import Mesh
from meshid.grpc import PeerInterceptor
from meshid.port import MeshPort
from tests.helpers.grpc_servers import (
    CHECKOUT,
    GET,
    RAW,
    SERVERS,
    Charges,
    Scene,
    Served,
    answer,
    policy,
    secure,
    started,
    status,
)
from tests.helpers.mounted import eventually
from tests.helpers.ports import running_port
from tests.helpers.tls_peers import HOST, mesh_of

EVERY_CALL = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
"""
SERVER = "/ns/pay/sa/payments"


def plain(server: Any) -> int:  # noqa: ANN401 - of both kinds
    port: int = server.add_insecure_port(f"{HOST}:0")
    return port


@pytest.fixture(params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    made: str = request.param
    return made


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def checkout(scene: Scene) -> Mesh:
    """The mesh of a client that may call."""
    return mesh_of(scene.prod, credentials=scene.checkout.svid, service=None)


@pytest.fixture
def charges() -> Charges:
    return Charges()


@pytest.fixture
def ends_tls(kind: str, scene: Scene, charges: Charges) -> Iterator[str]:
    """The address of a server that ends TLS itself."""
    interceptor = PeerInterceptor(scene.mesh)
    with SERVERS[kind](charges, [interceptor], secure(interceptor)) as port:
        yield f"{HOST}:{port}"


def test_a_plain_server_is_reached_by_clients_that_want_alpn(
    kind: str, scene: Scene, charges: Charges
) -> None:
    # The port judges connections: a rule about requests would let nobody in.
    scene.mesh.publish(policy=policy(EVERY_CALL))
    with SERVERS[kind](charges, [], plain) as behind:
        with running_port(MeshPort(scene.mesh, f"{HOST}:{behind}", alpn=["h2"])) as running:
            served = Served(scene, charges, running.number)
            with served.channel(scene.checkout) as channel:
                assert answer(channel, RAW, b"17") == [b"raw 17"]
            with served.channel(scene.other) as channel:
                assert status(lambda: answer(channel, RAW, b"17"))[0] == "UNAVAILABLE"
        # The client of grpcio insists on it.
        with running_port(MeshPort(scene.mesh, f"{HOST}:{behind}")) as running:
            with Served(scene, charges, running.number).channel(scene.checkout) as channel:
                assert status(lambda: answer(channel, RAW, b"17"))[0] == "UNAVAILABLE"
            assert eventually(lambda: running.port.figures().admitted > 0)


def test_a_plain_client_reaches_a_server_that_ends_tls_itself(
    scene: Scene, checkout: Mesh, charges: Charges, ends_tls: str
) -> None:
    port = MeshPort(checkout, ends_tls, client=True, expect=SERVER, alpn=("h2",))
    with running_port(port) as running, grpc.insecure_channel(f"{HOST}:{running.number}") as channel:
        assert answer(channel, GET, b"17") == [f"spiffe://prod.example.org{CHECKOUT}".encode()]
        # It is the peer itself who calls, so each call is judged.
        scene.revoke(CHECKOUT)
        assert status(lambda: answer(channel, GET, b"18")) == ("PERMISSION_DENIED", "peer rejected")
    assert f"{CHECKOUT} b'18'" not in charges.seen


def test_without_alpn_such_a_server_refuses(checkout: Mesh, charges: Charges, ends_tls: str) -> None:
    port = MeshPort(checkout, ends_tls, client=True, expect=SERVER)
    with running_port(port) as running, grpc.insecure_channel(f"{HOST}:{running.number}") as channel:
        assert status(lambda: started(channel, GET, b"17").result())[0] == "UNAVAILABLE"
    assert charges.seen == []
