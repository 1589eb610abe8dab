"""With a grace, an open connection outlives its peer's leaf by a while; nothing else does."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from meshid import InvalidInput, Mesh, PeerRejected, Reason, Revocations
from meshid.testing import CA
from tests.helpers.lines import goes_on, is_ended, line, sweep
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, SERVERS, Serving, knock, mesh_of, stranger
from tests.helpers.world import HOUR, Clock

GRACE = 60.0
SECOND = timedelta(seconds=1)

EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)


@pytest.fixture
def mesh(prod_ca: CA, clock: Clock) -> Mesh:
    return mesh_of(prod_ca, clock=clock, leaf_grace=GRACE)


@EACH_SERVER
def test_a_connection_outlives_its_leaf_while_the_peer_has_a_new_one(
    serve: Serving, mesh: Mesh, prod_ca: CA, clock: Clock
) -> None:
    old = prod_ca.issue(PATH, not_after=clock.now + HOUR)
    with serve(mesh.server_context()) as service, line(service.port, stranger(old)) as busy:
        peer = mesh.admit(old.chain)
        clock.now += HOUR + SECOND
        sweep(mesh)
        assert goes_on(busy)
        assert mesh.check(peer)
        new = prod_ca.issue(PATH, not_after=clock.now + HOUR)
        assert knock(service.port, stranger(new)).answer.startswith(b"spiffe://")
        assert knock(service.port, stranger(old)).answer == b"", "a new connection needs a leaf in date"
        clock.now += timedelta(seconds=GRACE)
        sweep(mesh)
        assert is_ended(busy)
        assert mesh.check(peer).reason is Reason.EXPIRED


@EACH_SERVER
def test_without_one_it_ends_with_its_leaf(serve: Serving, prod_ca: CA, clock: Clock) -> None:
    mesh = mesh_of(prod_ca, clock=clock)
    issued = prod_ca.issue(PATH, not_after=clock.now + HOUR)
    with serve(mesh.server_context()) as service, line(service.port, stranger(issued)) as busy:
        clock.now += HOUR + SECOND
        sweep(mesh)
        assert is_ended(busy)


def test_what_was_remembered_for_an_open_connection_admits_nobody(
    mesh: Mesh, prod_ca: CA, clock: Clock
) -> None:
    chain = prod_ca.issue(PATH, not_after=clock.now + HOUR).chain
    peer = mesh.admit(chain)
    clock.now += HOUR + SECOND
    for _ in range(2):
        assert mesh.check(peer)
        with pytest.raises(PeerRejected) as caught:
            mesh.admit(chain)
        assert caught.value.reason is Reason.EXPIRED


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_in_it(version: ssl.TLSVersion, mesh: Mesh, prod_ca: CA, clock: Clock) -> None:
    client = stranger(prod_ca.issue(PATH, not_after=clock.now + HOUR))
    client.maximum_version = version
    context = mesh.server_context(resumption=True, minimum_version=ssl.TLSVersion.TLSv1_2)
    with SERVERS["blocking"](context) as service:
        session = knock(service.port, client).session
        assert knock(service.port, client, session=session).resumed
        clock.now += HOUR + SECOND
        assert knock(service.port, client, session=session).answer == b""


class TestEverythingElseCountsAsOfNow:
    @pytest.fixture(params=["policy", "revocations", "bundles"])
    def removal(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_what_is_removed_in_the_grace_ends_it(
        self, removal: str, mesh: Mesh, prod_ca: CA, clock: Clock
    ) -> None:
        issued = prod_ca.issue(PATH, not_after=clock.now + HOUR)
        with (
            SERVERS["asyncio"](mesh.server_context()) as service,
            line(service.port, stranger(issued)) as busy,
        ):
            clock.now += HOUR + SECOND
            sweep(mesh)
            assert goes_on(busy)
            if removal == "policy":
                mesh.publish(policy=CLOSED_POLICY)
            elif removal == "revocations":
                mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
            else:
                successor = CA("prod.example.org", not_after=clock.now + HOUR)
                own = successor.issue("/ns/pay/sa/payments", not_after=clock.now + HOUR).svid
                mesh.publish(bundles=type(mesh.snapshot.bundles)([successor.bundle()]), credentials=own)
            assert is_ended(busy)


@pytest.mark.parametrize("grace", [-1, 3601, "60"])
def test_a_grace_is_bounded(grace: float, prod_ca: CA) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 3600"):
        mesh_of(prod_ca, leaf_grace=grace)
