"""Calls of gRPC on both servers of grpcio: who may make them, what reaches the application, and when they end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from meshid.grpc import PeerInterceptor
from meshid.testing import Issued
from tests.helpers.grpc_servers import (
    CHECKOUT,
    GET,
    KINDS,
    LIST,
    NO_LISTS,
    NOWHERE,
    OTHER,
    PUT,
    SERVERS,
    TALK,
    Charges,
    RawCall,
    Scene,
    Served,
    answer,
    policy,
    raw_context,
    secure,
    started,
    status,
)
from tests.helpers.mounted import eventually

REFUSED = ("PERMISSION_DENIED", "peer rejected")
UNKNOWN = ("UNAUTHENTICATED", "peer rejected")
CANCELLED = "CANCELLED"
NAME = f"spiffe://prod.example.org{CHECKOUT}".encode()


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, scene: Scene) -> Iterator[Served]:
    charges, interceptor = Charges(), PeerInterceptor(scene.mesh)
    with SERVERS[request.param](charges, [interceptor], secure(interceptor)) as port:
        yield Served(scene, charges, port)


@pytest.fixture
def served(server: Served) -> Iterator[Served]:
    """A server in its first state, which leaves no call behind."""
    server.scene.reset()
    server.charges.__init__()  # type: ignore[misc]
    yield server
    server.scene.reset()
    assert eventually(lambda: server.scene.mesh.open_connections == 0)


@pytest.mark.parametrize("method", KINDS)
def test_a_call_is_answered_and_its_handler_knows_who_calls(served: Served, method: str) -> None:
    for _ in range(2):
        with served.channel(served.scene.checkout) as channel:
            assert answer(channel, method, b"a") == [NAME]
    assert served.charges.seen == 2 * [f"look up {method}", "decode b'a'", f"{CHECKOUT} b'a'"]
    assert served.scene.reasons() == ["allowed", "allowed"]


@pytest.mark.parametrize("method", [*KINDS, NOWHERE])
@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        pytest.param("nobody", "no_rule", id="policy"),
        pytest.param("web", "no_rule", id="request policy"),
        pytest.param("forged", "not_authorized_for_domain", id="trust"),
        pytest.param("other", "denied", id="deny list"),
    ],
)
def test_nothing_of_a_refused_call_reaches_the_application(
    served: Served, method: str, peer: str, reason: str
) -> None:
    served.scene.revoke(OTHER)
    served.scene.events.clear()
    if peer == "web" and method == GET:
        method = LIST
    with served.channel(getattr(served.scene, peer)) as channel:
        assert status(lambda: answer(channel, method, b"a")) == REFUSED
    assert served.charges.seen == []
    print(served.scene.reasons())


def test_x(served):
    pass
