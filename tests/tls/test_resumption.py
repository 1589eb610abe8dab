"""A resumed session is decided about again, from what it carries: the leaf."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta

import attrs
import pytest

from meshid import BundleSet, Mesh, Reason, Revocations
from meshid.certificates.reading import fingerprint
from meshid.testing import CA, Issued
from meshid.verification.cache import MAX_AGE
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    PATH,
    SERVERS,
    Heard,
    Service,
    Serving,
    Visit,
    credentials,
    knock,
    policy,
    presenting_server,
    stranger,
    tls12,
)
from tests.helpers.world import HOUR, Clock

ANSWER = f"spiffe://prod.example.org{PATH}\n".encode()
EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)


@attrs.frozen
class Site:
    """What the changes below can change."""

    mesh: Mesh
    clock: Clock
    prod_ca: CA
    issuing: CA
    client: Issued


class Returning:
    """A client that offers its session again, with one version of TLS."""

    def __init__(self, client: Issued, version: str) -> None:
        self._context = stranger(client) if version == "TLSv1.3" else tls12(stranger(client))
        self._session: ssl.SSLSession | None = None

    def visit(self, service: Service) -> Visit:
        visit = knock(service.port, self._context, session=self._session)
        self._session = visit.session
        return visit


@pytest.fixture(params=["TLSv1.3", "TLSv1.2"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(mesh: Mesh, clock: Clock, prod_ca: CA) -> Site:
    # A ticket carries the leaf alone, which is not enough to decide about this peer.
    issuing = prod_ca.intermediate()
    return Site(mesh, clock, prod_ca, issuing, issuing.issue(PATH))


@pytest.fixture(params=SERVERS.values(), ids=list(SERVERS))
def service(site: Site, request: pytest.FixtureRequest) -> Iterator[Service]:
    serve: Serving = request.param
    context = site.mesh.server_context(resumption=True, minimum_version=ssl.TLSVersion.TLSv1_2)
    with serve(context) as service:
        yield service


@pytest.fixture
def client(site: Site, service: Service, version: str, heard: Heard) -> Returning:
    """A client whose session the server accepts."""
    client = Returning(site.client, version)
    for resumed in (False, True):
        visit = client.visit(service)
        assert (visit.answer, visit.resumed) == (ANSWER, resumed)
        assert heard.reason() is Reason.ALLOWED
    return client


def _expire(site: Site) -> None:
    site.clock.now += 2 * HOUR


def _outlive_the_memory(site: Site) -> None:
    site.clock.now += timedelta(seconds=MAX_AGE + 1)


def _distrust(site: Site) -> None:
    site.mesh.publish(bundles=BundleSet([CA("prod.example.org", subject="CN=the next root").bundle()]))


CHANGES: dict[str, tuple[Callable[[Site], object], Reason, bool]] = {
    "nothing": (lambda _: None, Reason.ALLOWED, True),
    "the same trust, published again": (
        lambda site: site.mesh.publish(bundles=BundleSet([site.prod_ca.bundle()])),
        Reason.ALLOWED,
        True,
    ),
    "its verdict is forgotten": (_outlive_the_memory, Reason.ALLOWED, True),
    "its certificate expires": (_expire, Reason.EXPIRED, True),
    "the policy is closed": (lambda site: site.mesh.publish(policy=CLOSED_POLICY), Reason.NO_RULE, True),
    "its name is denied": (
        lambda site: site.mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"])),
        Reason.DENY_LISTED,
        True,
    ),
    "its certificate is denied": (
        lambda site: site.mesh.publish(revocations=Revocations(deny=[fingerprint(site.client.chain[0])])),
        Reason.DENY_LISTED,
        True,
    ),
    "its certificate is revoked": (
        lambda site: site.mesh.publish(revocations=Revocations(crls=[site.issuing.crl(site.client)])),
        Reason.REVOKED,
        True,
    ),
    "its intermediate is revoked": (
        lambda site: site.mesh.publish(revocations=Revocations(crls=[site.prod_ca.crl(site.issuing)])),
        Reason.REVOKED,
        True,
    ),
    "somebody else is denied": (
        lambda site: site.mesh.publish(revocations=Revocations(deny=["spiffe://prod.example.org/x"])),
        Reason.ALLOWED,
        True,
    ),
    "its authority is removed": (_distrust, Reason.UNKNOWN_AUTHORITY, False),
    "its trust domain is removed": (
        lambda site: site.mesh.publish(bundles=BundleSet()),
        Reason.UNKNOWN_TRUST_DOMAIN,
        False,
    ),
    "our certificate is new": (
        lambda site: site.mesh.publish(credentials=credentials(site.prod_ca)),
        Reason.ALLOWED,
        False,
    ),
}


@pytest.mark.parametrize(("change", "reason", "resumes"), CHANGES.values(), ids=CHANGES)
def test_a_session_is_worth_what_its_leaf_is_worth_now(  # noqa: PLR0913  # fixtures
    *,
    change: Callable[[Site], object],
    reason: Reason,
    resumes: bool,
    client: Returning,
    site: Site,
    service: Service,
    heard: Heard,
) -> None:
    served = len(service.seen)
    change(site)
    visit = client.visit(service)
    event = heard.next()
    assert event.decision.reason is reason
    assert event.fingerprint == fingerprint(site.client.chain[0])
    assert visit.answer == (ANSWER if reason is Reason.ALLOWED else b"")
    assert service.seen[served:] == ([HELLO] if reason is Reason.ALLOWED else [])
    # A TLS 1.2 client sees the refusal before it learns whether its session was accepted.
    if visit.presented is not None:
        assert visit.resumed is resumes


@EACH_SERVER
def test_a_refused_session_is_refused_until_the_reason_is_gone(
    serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    client = Returning(prod_ca.issue(PATH), "TLSv1.3")
    with serve(mesh.server_context(resumption=True)) as service:
        assert client.visit(service).answer == ANSWER
        mesh.publish(policy=CLOSED_POLICY)
        for _ in range(3):
            assert client.visit(service).answer == b""
        mesh.publish(policy=policy())
        assert client.visit(service).answer == ANSWER
    assert heard.of_handshakes() == [Reason.ALLOWED, *[Reason.NO_RULE] * 3, Reason.ALLOWED]


@EACH_SERVER
def test_by_default_there_is_no_session(serve: Serving, mesh: Mesh, prod_ca: CA) -> None:
    client = stranger(prod_ca.issue(PATH))
    with serve(mesh.server_context()) as service:
        first = knock(service.port, client)
        assert first.answer == ANSWER
        assert first.session is None or not first.session.has_ticket
        assert knock(service.port, client, session=first.session).resumed is False


@EACH_SERVER
def test_by_default_a_tls_1_2_session_is_decided_about_again_all_the_same(
    serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
) -> None:
    """OpenSSL keeps TLS 1.2 sessions by their ids, and Python cannot switch that off."""
    context = mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2)
    client = Returning(prod_ca.issue(PATH), "TLSv1.2")
    with serve(context) as service:
        assert client.visit(service).answer == ANSWER
        mesh.publish(policy=CLOSED_POLICY)
        assert client.visit(service).answer == b""
    assert heard.of_handshakes() == [Reason.ALLOWED, Reason.NO_RULE]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_our_client_offers_no_session(version: str, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
    """Each of our handshakes is a full one, in which the server proves again who it is."""
    context = mesh.client_context([PATH], minimum_version=ssl.TLSVersion.TLSv1_2)
    newest = ssl.TLSVersion.TLSv1_2 if version == "TLSv1.2" else ssl.TLSVersion.MAXIMUM_SUPPORTED
    with presenting_server(prod_ca.issue(PATH), newest=newest) as port:
        first = knock(port, context, hello=b"")
        assert first.session is not None
        again = knock(port, context, session=first.session, hello=b"")
    assert (first.answer, again.answer, again.resumed) == (HELLO, HELLO, False)
    assert [heard.reason(), heard.reason()] == [Reason.EXPECTED, Reason.EXPECTED]
