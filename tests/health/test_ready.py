"""Ready means: the next peer that ought to be admitted would be. Real handshakes are asked."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime

import attrs
import pytest
from cryptography import x509

from meshid import BundleSet, InvalidCredentials, Mesh, Policy, Revocations, TrustBundle
from meshid.health.health import alarms_about
from meshid.testing import CA
from meshid.trust.crl import Undetermined
from tests.helpers.tls_peers import HELLO, PATH, admission_of, arriving
from tests.helpers.world import HOUR, Clock

OWN = "/ns/pay/sa/payments"
HEAD = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]
"""
ALLOW = '[[allow]]\nid = "shop"\nfrom = ["/ns/shop/**"]\nto = ["payments"]\n'
DENY_ALL = '[[deny]]\nid = "stop"\nfrom = ["/**"]\nto = ["**"]\n'
DENY_ONE = '[[deny]]\nid = "agents"\nfrom = ["/ns/shop/sa/agent"]\nto = ["**"]\n'
PARTNERS = '[[allow]]\nid = "partner"\nfrom = ["spiffe://partner.example/**"]\nto = ["payments"]\n'
HTTP = 'http = ["GET /**"]\n'


class World:
    """The service ``payments``, and a peer of it for which all is well."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.ca = CA("prod.example.org", not_before=clock.now - 2 * HOUR, not_after=clock.now + 10 * HOUR)
        self.other = CA("prod.example.org")
        self.old = CA("old.example.org")
        self.partner = CA("partner.example")
        self.issuing = self.ca.intermediate(not_after=clock.now + 5 * HOUR)
        self.mesh = Mesh(
            credentials=self.ca.issue(OWN, not_after=clock.now + 8 * HOUR).svid,
            bundles=BundleSet([self.ca.bundle()]),
            policy=policy(ALLOW),
            service="payments",
            clock=clock,
        )
        self.peer = Mesh(
            credentials=self.ca.issue(
                PATH, not_before=clock.now - 2 * HOUR, not_after=clock.now + 9 * HOUR
            ).svid,
            bundles=BundleSet([self.ca.bundle()]),
            clock=clock,
        )

    def publish_credentials(self, ca: CA, **shape: object) -> None:
        own = ca.issue(OWN, not_after=self.clock.now + 8 * HOUR, **shape)  # type: ignore[arg-type]
        self.mesh.publish(credentials=own.svid)


def policy(*rules: str) -> Policy:
    return Policy.from_toml(HEAD + "".join(rules), environment="prod")


def is_heard(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Connect the two, and return whether each has heard the other."""
    with arriving(client) as (plain, visit):
        try:
            with server.wrap_socket(plain, server_side=True) as tls:
                if tls.recv(len(HELLO)) == HELLO:
                    tls.sendall(HELLO)
        # The second, if we have no certificate any more.
        except (OSError, InvalidCredentials):
            plain.close()
        return visit.result().answer == HELLO


@attrs.frozen
class Case:
    """A state of a mesh.

    Attributes:
        change: What happens to the mesh of a service for which all was well.
        says: What the alarm that makes it not ready says; empty if it stays ready.
        http: Whether its server's context promises to ask about each request.
    """

    change: Callable[[World], object]
    says: str = ""
    http: bool = False


def later(hours: float) -> Callable[[World], object]:
    return lambda world: setattr(world.clock, "now", world.clock.now + hours * HOUR)


def revoke(*, due: float, grace: float = 0) -> Callable[[World], object]:
    def change(world: World) -> None:
        now: datetime = world.clock.now
        crl = world.ca.crl(next_update=now + due * HOUR)
        world.mesh.publish(revocations=Revocations(crls=[crl], grace=grace))
        world.clock.now = now + HOUR

    return change


def overdue_for_authorities(world: World) -> None:
    """Publish a list that says nothing about leafs, and is overdue."""
    scope = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=True,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    crl = world.ca.crl(next_update=world.clock.now + 0.5 * HOUR, extra=[(scope, True)])
    world.mesh.publish(revocations=Revocations(crls=[crl]))
    world.clock.now += HOUR


def overdue_for_ours(world: World) -> None:
    under_an_intermediate(world)
    overdue_for_authorities(world)


def unusable(issuer: Callable[[World], x509.Name | None]) -> Callable[[World], object]:
    def change(world: World) -> None:
        undetermined = Undetermined(text="the list in 'x.crl' cannot be read", issuer=issuer(world))
        world.mesh.publish(revocations=Revocations(undetermined=[undetermined]))

    return change


def deny(*entries: str) -> Callable[[World], object]:
    return lambda world: world.mesh.publish(revocations=Revocations(deny=entries))


def rules(*text: str) -> Callable[[World], object]:
    return lambda world: world.mesh.publish(policy=policy(*text))


def bundles(*names: str) -> Callable[[World], object]:
    return lambda world: world.mesh.publish(
        bundles=BundleSet(getattr(world, name).bundle() for name in names)
    )


def replaced_authority(world: World) -> None:
    both = TrustBundle.from_pem("prod.example.org", world.ca.pem + world.other.pem)
    world.mesh.publish(bundles=BundleSet([both]))


def under_an_intermediate(world: World) -> None:
    world.publish_credentials(world.issuing)


def intermediate_ended(world: World) -> None:
    under_an_intermediate(world)
    world.clock.now += 6 * HOUR


def withdrawn(world: World) -> None:
    empty = TrustBundle.from_spiffe_json("prod.example.org", b'{"keys": []}')
    world.mesh.publish(bundles=BundleSet([empty, world.partner.bundle()]))


CASES = {
    "all is well": Case(lambda _: None),
    "no policy": Case(lambda world: world.mesh.publish(policy=None), "policy: there is none"),
    "no rule": Case(rules(), "target 'payments': no allow rule is about it"),
    "no rule about the service": Case(
        rules(ALLOW.replace("payments", "paymets")), "use a name that the rules have: 'paymets'"
    ),
    "a rule that only observes": Case(rules(ALLOW, "observe = true\n"), "no allow rule is about it"),
    "a policy that only observes": Case(
        lambda world: world.mesh.publish(
            policy=Policy.from_toml("observe = true\n" + HEAD, environment="prod")
        )
    ),
    "requests that nobody asks about": Case(rules(ALLOW, HTTP), "server_context(http=True)"),
    "requests that are asked about": Case(rules(ALLOW, HTTP), http=True),
    "everybody is denied": Case(rules(ALLOW, DENY_ALL), "deny rules match every peer"),
    "one is denied": Case(rules(ALLOW, DENY_ONE)),
    "all requests are denied": Case(rules(ALLOW, DENY_ALL, HTTP), "deny rules match every peer"),
    "requests are denied that are asked about": Case(rules(ALLOW, DENY_ALL, HTTP), http=True),
    "partners only, and their bundle is not there": Case(
        rules(PARTNERS), "lets in peers of partner.example only"
    ),
    "no bundle": Case(bundles(), "bundle of prod.example.org: there is none"),
    "no bundle of our own": Case(bundles("partner"), "bundle of prod.example.org: there is none"),
    "no bundle of our other trust domain": Case(bundles("ca", "partner")),
    "our bundle is withdrawn": Case(
        withdrawn,
        "bundle of prod.example.org: no peer of this trust domain is admitted: there is no authority in it",
    ),
    "the wrong bundle": Case(bundles("other"), "leads to no authority of the bundle of prod.example.org"),
    "the next authority beside ours": Case(replaced_authority),
    "no certificate any more": Case(
        lambda world: world.mesh.publish(credentials=None), "own certificate: there is none any more"
    ),
    "for clients only": Case(
        lambda world: world.publish_credentials(world.ca, purposes={"client"}),
        "own certificate: clients refuse us: its extended key usage lacks serverAuth",
    ),
    "for servers only": Case(lambda world: world.publish_credentials(world.ca, purposes={"server"})),
    "under an intermediate": Case(under_an_intermediate),
    "the intermediate has ended": Case(
        intermediate_ended, "own certificate: clients refuse us: an authority or intermediate"
    ),
    "our certificate has ended": Case(later(8.5), "own certificate: ended at"),
    "the clock is behind": Case(later(-1), "own certificate: begins at"),
    "our authority has ended": Case(later(11), "admitted: its last authority ended at"),
    "a list": Case(revoke(due=2)),
    "a list that is overdue": Case(
        revoke(due=0.5), "bundle of prod.example.org: no peer of this trust domain is admitted: the list of"
    ),
    "a list that is overdue and in its grace": Case(revoke(due=0.5, grace=7200)),
    "a list for authorities only that is overdue": Case(overdue_for_authorities),
    "a list for our intermediate that is overdue": Case(
        overdue_for_ours, "own certificate: clients refuse us: the list of"
    ),
    "anybody's list that cannot be used": Case(
        unusable(lambda _: None), "own certificate: clients refuse us: the list in 'x.crl' cannot be read"
    ),
    "a list of our authority that cannot be used": Case(
        unusable(lambda world: world.ca.certificate.subject), "the list in 'x.crl' cannot be read"
    ),
    "a list of another authority that cannot be used": Case(
        unusable(lambda world: world.partner.certificate.subject)
    ),
    "the deny list has everybody": Case(deny("spiffe://prod.example.org/**"), "the deny list has"),
    "the deny list has somebody": Case(deny("spiffe://prod.example.org/ns/shop/sa/agent")),
    "the deny list has us": Case(
        deny(f"spiffe://prod.example.org{OWN}"), "own certificate: clients refuse us: the deny list has"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_service_is_ready_if_a_good_client_gets_in(clock: Clock, case: Case) -> None:
    world = World(clock)
    context = world.mesh.server_context(http=case.http)
    case.change(world)
    # The deny list and the revocation lists are everybody's.
    world.peer.publish(revocations=world.mesh.snapshot.revocations)
    client = world.peer.client_context("spiffe://prod.example.org/**")
    health = world.mesh.health()
    outages = [str(alarm) for alarm in health.alarms if alarm.is_outage]
    assert health.ready is not bool(case.says)
    assert any(case.says in each for each in outages) is bool(case.says)
    assert is_heard(context, client) is health.ready


CLIENT_CASES = {
    "all is well": Case(lambda _: None),
    "no policy": Case(lambda world: world.mesh.publish(policy=None)),
    "no rule": Case(rules()),
    "no bundle": Case(bundles(), "trust bundles: there are none"),
    "the wrong bundle": Case(bundles("other"), "leads to no authority of the bundle of prod.example.org"),
    "for clients only": Case(lambda world: world.publish_credentials(world.ca, purposes={"client"})),
    "for servers only": Case(
        lambda world: world.publish_credentials(world.ca, purposes={"server"}),
        "own certificate: servers refuse us: its extended key usage lacks clientAuth",
    ),
    "the intermediate has ended": Case(
        intermediate_ended, "own certificate: servers refuse us: an authority or intermediate"
    ),
    "our authority has ended": Case(later(11), "admitted: its last authority ended at"),
    "a list that is overdue": Case(
        revoke(due=0.5), "bundle of prod.example.org: no peer of this trust domain is admitted: the list of"
    ),
    "the deny list has us": Case(
        deny(f"spiffe://prod.example.org{OWN}"), "own certificate: servers refuse us: the deny list has"
    ),
}


@pytest.mark.parametrize("case", CLIENT_CASES.values(), ids=CLIENT_CASES.keys())
def test_a_client_is_ready_if_a_good_server_accepts_it(clock: Clock, case: Case) -> None:
    """A pure client: without a service, a policy counts for nothing."""
    world = World(clock)
    world.peer.publish(policy=policy(ALLOW.replace("/ns/shop/**", OWN)))
    server = world.peer.server_context(target="payments")
    snapshot = world.mesh.snapshot
    world.mesh = Mesh(
        credentials=snapshot.credentials, bundles=snapshot.bundles, policy=snapshot.policy, clock=clock
    )
    context = world.mesh.client_context("spiffe://prod.example.org/**")
    case.change(world)
    world.peer.publish(revocations=world.mesh.snapshot.revocations)
    health = world.mesh.health()
    outages = [str(alarm) for alarm in health.alarms if alarm.is_outage]
    assert health.ready is not bool(case.says)
    assert any(case.says in each for each in outages) is bool(case.says)
    assert is_heard(server, context) is health.ready


def test_a_client_of_a_partner_needs_no_bundle_of_its_own(clock: Clock) -> None:
    world = World(clock)
    mesh = Mesh(credentials=world.ca.issue(OWN).svid, bundles=BundleSet([world.partner.bundle()]))
    context = mesh.client_context("spiffe://partner.example/**")
    assert (mesh.health().ready, mesh.health().alarms) == (True, ())
    partner = Mesh(
        credentials=world.partner.issue("/api").svid,
        bundles=BundleSet([world.ca.bundle(), world.partner.bundle()]),
        policy=Policy.from_toml(
            'version = 1\n[environments.prod]\ntrust_domains = ["partner.example"]\n'
            'federates_with = ["prod.example.org"]\n'
            '[[allow]]\nid = "a"\nfrom = ["spiffe://prod.example.org/**"]\nto = ["api"]\n',
            environment="prod",
        ),
    )
    assert is_heard(partner.server_context(target="api"), context)


class TestTargets:
    def test_one_listener_that_nobody_reaches_does_not_close_the_other(self, clock: Clock) -> None:
        world = World(clock)
        world.mesh.server_context()
        world.mesh.server_context(target="admin")
        (alarm,) = [each for each in world.mesh.health().alarms if each.about.startswith("target")]
        assert (alarm.about, alarm.level, alarm.is_outage) == ("target 'admin'", "error", False)
        assert world.mesh.health().ready
        world.mesh.publish(policy=policy())
        outages = {each.about for each in world.mesh.health().alarms if each.is_outage}
        assert outages == {"target 'admin'", "target 'payments'"}

    def test_without_a_context_the_service_may_ask_about_each_request(self, clock: Clock) -> None:
        world = World(clock)
        world.mesh.publish(policy=policy(ALLOW, HTTP))
        assert world.mesh.health().ready
        world.mesh.publish(policy=policy())
        assert not world.mesh.health().ready

    def test_a_mesh_that_only_verifies_needs_no_policy_and_no_certificate(self, clock: Clock) -> None:
        world = World(clock)
        mesh = Mesh(bundles=BundleSet([world.ca.bundle()]), clock=clock)
        assert (mesh.health().ready, mesh.health().alarms) == (True, ())


class TestOwnPath:
    def test_the_alarm_goes_by_what_ends_first(self, clock: Clock) -> None:
        world = World(clock)
        under_an_intermediate(world)
        assert not any("ends at" in each.text for each in world.mesh.health().alarms)
        clock.now += 4.5 * HOUR
        (alarm,) = [each for each in world.mesh.health().alarms if each.about == "own certificate"]
        subject, end = world.issuing.certificate.subject.rfc4514_string(), clock.now + 0.5 * HOUR
        assert alarm.level == "error"
        assert alarm.text == (
            f"the authority above it, '{subject}', ends at {end}, before it: renew it, with its intermediates"
        )
        assert world.mesh.health().ready

    def test_a_clock_that_fails_is_an_outage(self, clock: Clock) -> None:
        world = World(clock)
        now = clock.now
        del clock.now
        (outage,) = [each for each in alarms_about(admission_of(world.mesh), now) if each.is_outage]
        assert str(outage).startswith("own certificate: clients refuse us: AttributeError: ")

    def test_one_purpose_is_enough_until_it_is_known_what_we_are(self, clock: Clock) -> None:
        world = World(clock)
        own = world.ca.issue(OWN, purposes={"client"})
        mesh = Mesh(credentials=own.svid, bundles=BundleSet([world.ca.bundle()]), clock=clock)
        assert mesh.health().ready
        mesh.client_context("/**")
        assert mesh.health().ready
        mesh.server_context(target="payments")
        assert "clients refuse us" in str(next(each for each in mesh.health().alarms if each.is_outage))

    def test_a_serial_number_that_the_authority_shares_with_one_it_revoked(self) -> None:
        """Small authorities count from 1, for themselves too."""
        ca = CA("prod.example.org", serial=1)
        mesh = Mesh(
            bundles=BundleSet([ca.bundle()]),
            revocations=Revocations(crls=[ca.crl(ca.intermediate(serial=1))]),
        )
        assert mesh.health().ready

    def test_without_a_certificate_a_list_that_is_overdue_closes_its_authority(self, clock: Clock) -> None:
        world = World(clock)
        crl = world.ca.crl(next_update=clock.now + HOUR)
        mesh = Mesh(bundles=BundleSet([world.ca.bundle()]), revocations=Revocations(crls=[crl]), clock=clock)
        assert mesh.health().ready
        clock.now += 2 * HOUR
        (outage,) = [each for each in mesh.health().alarms if each.is_outage]
        assert outage.about == "bundle of prod.example.org"
