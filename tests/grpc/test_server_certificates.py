"""Who can connect to a server of grpcio, and what it presents: as the mesh has it at that moment."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from meshid import BundleSet, InvalidCredentials, Mesh, TrustBundle
from meshid.grpc import PeerInterceptor
from meshid.grpc.server_certificates import ServerCertificates
from meshid.testing import CA, Issued
from tests.helpers.grpc_servers import (
    CHECKOUT,
    GET,
    NOWHERE,
    SERVERS,
    Charges,
    RawCall,
    Scene,
    Served,
    answer,
    raw_context,
    secure,
    status,
)
from tests.helpers.tls_peers import HOST


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(params=list(SERVERS))
def served(request: pytest.FixtureRequest, scene: Scene) -> Iterator[Served]:
    charges, interceptor = Charges(), PeerInterceptor(scene.mesh)
    with SERVERS[request.param](charges, [interceptor], secure(interceptor)) as port:
        yield Served(scene, charges, port)


def presented(served: Served, pair: Issued | None) -> bytes | None:
    """Make a call in a connection of its own; return the certificate of a server that let it in."""
    try:
        with RawCall(served.port, raw_context(pair)) as call:
            call.begin(GET, b"a")
            return call.tls.getpeercert(binary_form=True) if call.rest() != ["closed"] else None
    # It may be reset before all is written.
    except OSError:
        return None


def test_what_is_in_force_is_presented_and_trusted_without_a_restart(served: Served) -> None:
    scene, successor = served.scene, CA("prod.example.org", subject="O=successor")
    mesh, renewed = scene.mesh, successor.issue(CHECKOUT)
    assert presented(served, scene.checkout) == scene.own.chain[0]
    assert presented(served, renewed) is None
    own = scene.prod.issue("/ns/pay/sa/payments", dns=["localhost"])
    both = TrustBundle.from_pem("prod.example.org", scene.prod.pem + successor.pem)
    mesh.publish(credentials=own.svid, bundles=BundleSet([both]))
    assert presented(served, scene.checkout) == own.chain[0]
    assert presented(served, renewed) == own.chain[0]
    with served.channel(scene.checkout) as kept:
        assert answer(kept, GET, b"kept")
        own = successor.issue("/ns/pay/sa/payments", dns=["localhost"])
        mesh.publish(credentials=own.svid, bundles=BundleSet([successor.bundle()]))
        assert presented(served, scene.checkout) is None
        assert presented(served, renewed) == own.chain[0]
        # Who has connected before is judged by the same trust.
        assert status(lambda: answer(kept, GET, b"too late"))[0] == "PERMISSION_DENIED"
    assert "too late" not in repr(served.charges.seen)


def test_without_trust_or_credentials_nobody_gets_in(served: Served) -> None:
    assert presented(served, served.scene.checkout)
    served.scene.mesh.publish(bundles=BundleSet())
    assert presented(served, served.scene.checkout) is None
    served.scene.reset()
    assert presented(served, served.scene.checkout)
    served.scene.mesh.publish(credentials=None)
    assert presented(served, served.scene.checkout) is None
    served.scene.reset()
    assert presented(served, served.scene.checkout)


def test_a_client_without_a_certificate_does_not_connect(served: Served) -> None:
    assert presented(served, None) is None
    assert served.charges.seen == []


def plain(server: Any) -> int:  # noqa: ANN401 - of both kinds
    port: int = server.add_insecure_port(f"{HOST}:0")
    return port


@pytest.mark.parametrize("kind", SERVERS)
def test_on_a_port_without_certificates_everybody_is_unauthenticated(kind: str, scene: Scene) -> None:
    charges = Charges()
    with (
        SERVERS[kind](charges, [PeerInterceptor(scene.mesh)], plain) as port,
        grpc.insecure_channel(f"{HOST}:{port}") as channel,
    ):
        for method in (GET, NOWHERE):
            assert status(lambda m=method: answer(channel, m, b"a")) == (  # type: ignore[misc]
                "UNAUTHENTICATED",
                "peer rejected",
            )
    assert charges.seen == []
    assert scene.reasons() == ["no_certificate", "no_certificate"]


@pytest.mark.parametrize("kind", SERVERS)
def test_credentials_without_their_interceptor_let_nobody_in(kind: str, scene: Scene) -> None:
    """All that gRPC checks is the pool of authorities: the forged name would be believed."""

    def forgetful(server: Any) -> int:  # noqa: ANN401
        return secure(PeerInterceptor(scene.mesh))(server)

    charges = Charges()
    with SERVERS[kind](charges, [], forgetful) as port:
        served = Served(scene, charges, port)
        assert [presented(served, each) for each in (scene.forged, scene.checkout)] == [None, None]
    assert charges.seen == []


@pytest.mark.parametrize("is_given", [True, False], ids=["with it", "without it"])
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_never_asks_the_interceptor_is_told_of(
    kind: str, scene: Scene, caplog: pytest.LogCaptureFixture, *, is_given: bool
) -> None:
    interceptor, charges = PeerInterceptor(scene.mesh), Charges()
    with SERVERS[kind](charges, [interceptor] if is_given else [], secure(interceptor)) as port:
        served = Served(scene, charges, port)
        assert all(presented(served, scene.checkout) for _ in range(17))
    told = [each.getMessage() for each in caplog.records if each.name == "meshid.grpc"]
    right = "give the server interceptors=[interceptor], the one whose server_credentials() it has"
    line = f"16 clients have connected, and no call of theirs was judged: {right}"
    assert told == ([] if is_given else [line])


def test_a_mesh_without_credentials_has_none_for_grpc() -> None:
    with pytest.raises(
        InvalidCredentials, match=r"^TLS needs a certificate of our own: give the Mesh credentials$"
    ):
        PeerInterceptor(Mesh(service="payments")).server_credentials()


def test_grpc_is_given_only_news(scene: Scene) -> None:
    """On threads of its own, which see no debugger and no measuring of coverage."""
    interceptor = PeerInterceptor(scene.mesh)
    certificates = ServerCertificates(scene.mesh, weakref.ref(interceptor))
    asked: list[bool] = []

    def ask() -> None:
        asked.append(certificates.news() is not None)

    ask()  # It begins without trust: if the first question failed, nobody would get in.
    ask()
    scene.mesh.publish(policy=None)
    ask()
    scene.mesh.publish(credentials=None)
    ask()
    scene.reset()
    ask()
    del interceptor
    ask()
    ask()
    assert asked == [True, False, False, True, True, True, False]


def test_that_nobody_asks_is_told_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Measured as above; and not at all once it was asked, or when it is gone."""
    for was_asked, is_held, lines in ((False, True, 1), (True, True, 0), (False, False, 0)):
        interceptor = PeerInterceptor(scene.mesh)
        interceptor.was_asked = was_asked
        certificates = ServerCertificates(scene.mesh, weakref.ref(interceptor))
        if not is_held:
            del interceptor
        caplog.clear()
        for _ in range(20):
            certificates.news()
        assert len(caplog.records) == lines
