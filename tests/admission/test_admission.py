"""Admission: one snapshot, one event and one answer for each question."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import (
    REQUEST_FOLLOWS,
    AuditEvent,
    BundleSet,
    Mesh,
    Peer,
    PeerRejected,
    Reason,
    Request,
    Revocations,
)
from meshid.names.peer_pattern import PeerPattern
from meshid.testing import CA
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, Heard, mesh_of, policy, policy_that
from tests.helpers.world import HOUR, Clock


def refusal(call: Callable[[], object]) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        call()
    return caught.value


class TestAdmit:
    def test_returns_the_peer_that_a_rule_lets_in(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        issued = prod_ca.issue(PATH)
        peer = mesh.admit(issued.chain)
        assert str(peer.spiffe_id) == f"spiffe://prod.example.org{PATH}"
        event = heard.next()
        assert (event.call, event.decision.reason, event.decision.rule) == ("admit", Reason.ALLOWED, "shop")
        assert (event.decision.target, event.fingerprint) == ("payments", peer.fingerprint)
        assert (event.local_name, event.environment) == (
            "spiffe://prod.example.org/ns/pay/sa/payments",
            "prod",
        )
        assert (event.generation, event.role) == (1, "client")
        assert heard.is_quiet()

    def test_raises_the_decision_of_a_rule(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        raised = refusal(lambda: mesh.admit(prod_ca.issue("/ns/shop/sa/agent").chain))
        assert (raised.reason, raised.decision.rule) == (Reason.DENIED, "no-agents")
        assert raised.decision == heard.next().decision

    def test_raises_the_reason_of_a_chain(self, mesh: Mesh, dev_ca: CA, heard: Heard) -> None:
        raised = refusal(lambda: mesh.admit(dev_ca.issue(PATH).chain))
        assert raised.reason is Reason.UNKNOWN_TRUST_DOMAIN
        assert raised.decision.policy_hash == policy().hash
        assert raised.decision.target == "payments"
        assert heard.next().decision == raised.decision

    def test_takes_another_target(self, mesh: Mesh, prod_ca: CA) -> None:
        raised = refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain, target="ledger"))
        assert (raised.reason, raised.decision.target) == (Reason.NO_RULE, "ledger")

    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (None, Reason.NO_RULE),
            (REQUEST_FOLLOWS, Reason.REQUEST_AWAITED),
            ("GET /charges/1", Reason.ALLOWED),
            (Request("GET", "/charges/1"), Reason.ALLOWED),
            ("POST /charges/1", Reason.NO_RULE),
            ("GET /charges/..", Reason.UNSAFE_REQUEST),
        ],
    )
    def test_asks_the_policy_about_the_request(
        self, request_: str | Request | None, reason: Reason, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        chain = prod_ca.issue("/ns/support/sa/desk").chain
        if reason in {Reason.ALLOWED, Reason.REQUEST_AWAITED}:
            mesh.admit(chain, request=request_)
        else:
            assert refusal(lambda: mesh.admit(chain, request=request_)).reason is reason
        assert heard.reason() is reason

    def test_expects_a_server_by_its_name(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        chain = prod_ca.issue("/ns/db/sa/main", purposes={"server"}).chain
        peer = mesh.admit(chain, expect=[PeerPattern.parse("/ns/x/**"), PeerPattern.parse("/ns/db/**")])
        assert (peer.role, heard.reason()) == ("server", Reason.EXPECTED)
        raised = refusal(lambda: mesh.admit(chain, expect=[PeerPattern.parse("/ns/x/**")]))
        assert (raised.reason, raised.detail) == (Reason.UNEXPECTED_SERVER, "expected: /ns/x/**")

    @pytest.mark.parametrize("own", ["policy", "credentials", "neither"])
    def test_knows_what_is_its_own_trust_domain(self, own: str, prod_ca: CA) -> None:
        mesh = mesh_of(
            prod_ca,
            policy=policy() if own == "policy" else None,
            credentials=None if own != "credentials" else prod_ca.issue("/me").svid,
        )
        chain, expect = prod_ca.issue("/ns/db/sa/main").chain, [PeerPattern.parse("/ns/db/**")]
        if own == "neither":
            assert refusal(lambda: mesh.admit(chain, expect=expect)).reason is Reason.UNEXPECTED_SERVER
        else:
            assert mesh.admit(chain, expect=expect).role == "server"


class TestNobodyIsLetIn:
    """Fail closed: no code path yields a peer that was not verified and allowed."""

    def test_without_a_policy(self, prod_ca: CA) -> None:
        mesh = mesh_of(prod_ca, policy=None)
        assert refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain)).reason is Reason.NO_POLICY

    def test_without_a_bundle(self, prod_ca: CA) -> None:
        mesh = Mesh(policy=policy(), service="payments")
        assert refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain)).reason is Reason.UNKNOWN_TRUST_DOMAIN

    def test_when_the_policy_fails(self, prod_ca: CA, heard: Heard) -> None:
        def fail() -> None:
            raise RuntimeError("\n" * 1000)

        mesh = mesh_of(prod_ca, policy=policy_that(fail), audit=heard)
        raised = refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain))
        assert raised.reason is Reason.INTERNAL_ERROR is heard.reason()
        assert raised.detail.startswith("RuntimeError: ")
        assert raised.detail.isprintable()
        assert len(raised.detail) < 1200

    @pytest.mark.parametrize("call", ["admit", "check"])
    def test_when_the_sink_fails(self, call: str, prod_ca: CA, caplog: pytest.LogCaptureFixture) -> None:
        works = True

        def sink(_: AuditEvent) -> None:
            if not works:
                raise OSError(errno.ENOSPC, "disk full")

        mesh = mesh_of(prod_ca, audit=sink)
        peer = mesh.admit(prod_ca.issue(PATH).chain)
        works = False
        caplog.set_level(logging.INFO, "meshid.audit")
        if call == "admit":
            assert refusal(lambda: mesh.admit(peer.chain)).reason is Reason.INTERNAL_ERROR
        else:
            assert mesh.check(peer).reason is Reason.INTERNAL_ERROR
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "could not be recorded: OSError: '[Errno 28] disk full'" in caplog.text

    def test_when_the_clock_fails(self, prod_ca: CA, clock: Clock) -> None:
        broken = False

        def now() -> float:
            return clock() / (0 if broken else 1)

        mesh = mesh_of(prod_ca, clock=now)
        peer = mesh.admit(prod_ca.issue(PATH).chain)
        broken = True
        assert refusal(lambda: mesh.admit(peer.chain)).reason is Reason.INTERNAL_ERROR
        assert mesh.check(peer).reason is Reason.INTERNAL_ERROR

    def test_but_an_interruption_goes_through(self, prod_ca: CA) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        mesh = mesh_of(prod_ca, policy=policy_that(interrupt))
        with pytest.raises(KeyboardInterrupt):
            mesh.admit(prod_ca.issue(PATH).chain)


class TestCheck:
    """Trust that was taken away is gone, for the next call on a connection that is open."""

    @pytest.fixture
    def peer(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> Peer:
        peer = mesh.admit(prod_ca.intermediate().issue(PATH).chain)
        assert heard.reason() is Reason.ALLOWED
        return peer

    def test_says_yes_as_long_as_nothing_changes(self, mesh: Mesh, peer: Peer, heard: Heard) -> None:
        decision = mesh.check(peer)
        assert (decision.allowed, decision.rule) == (True, "shop")
        event = heard.next()
        assert (event.call, event.decision) == ("check", decision)

    def test_sees_a_new_policy(self, mesh: Mesh, peer: Peer) -> None:
        mesh.publish(policy=CLOSED_POLICY)
        assert mesh.check(peer).reason is Reason.NO_RULE

    def test_sees_new_trust(self, mesh: Mesh, peer: Peer) -> None:
        mesh.publish(bundles=BundleSet([CA("prod.example.org").bundle()]))
        assert mesh.check(peer).reason is Reason.UNKNOWN_AUTHORITY

    def test_sees_trust_that_is_back(self, mesh: Mesh, peer: Peer, prod_ca: CA) -> None:
        mesh.publish(bundles=BundleSet([CA("prod.example.org").bundle()]))
        mesh.publish(bundles=BundleSet([prod_ca.bundle()]))
        assert mesh.check(peer).allowed

    def test_sees_a_revocation(self, mesh: Mesh, peer: Peer) -> None:
        mesh.publish(revocations=Revocations(deny=[peer.spiffe_id]))
        assert mesh.check(peer).reason is Reason.DENY_LISTED

    def test_sees_the_time(self, mesh: Mesh, peer: Peer, clock: Clock) -> None:
        clock.now += 2 * HOUR
        assert mesh.check(peer).reason is Reason.EXPIRED

    def test_judges_each_request(self, mesh: Mesh, prod_ca: CA) -> None:
        peer = mesh.admit(prod_ca.issue("/ns/support/sa/desk").chain, request=REQUEST_FOLLOWS)
        assert mesh.check(peer, request="GET /charges/7")
        assert not mesh.check(peer, request="DELETE /charges/7")
        assert not mesh.check(peer, request="GET /charges/7", target="ledger")

    def test_asks_again_what_is_expected_of_a_server(self, mesh: Mesh, prod_ca: CA) -> None:
        database = [PeerPattern.parse("/ns/db/**")]
        server = mesh.admit(prod_ca.issue("/ns/db/sa/main").chain, expect=database)
        assert mesh.check(server, expect=database).reason is Reason.EXPECTED
        assert not mesh.check(server, expect="/ns/x/**")
        with pytest.raises(ValueError, match="the peer is a server: pass expect="):
            mesh.check(server)

    def test_expects_nothing_of_a_client(self, mesh: Mesh, peer: Peer) -> None:
        with pytest.raises(ValueError, match="the peer is a client"):
            mesh.check(peer, expect="/**")


def test_what_changes_while_it_is_decided_is_decided_again(prod_ca: CA, heard: Heard) -> None:
    """After publish() has returned, no decision is made under the old state."""

    def take_away() -> None:
        changing.publish(policy=CLOSED_POLICY)

    changing = mesh_of(prod_ca, policy=policy_that(take_away), audit=heard)
    raised = refusal(lambda: changing.admit(prod_ca.issue(PATH).chain))
    assert raised.reason is Reason.NO_RULE
    event = heard.next()
    assert (event.generation, event.decision) == (2, raised.decision)
    assert heard.is_quiet(), "one event for one decision, however often it was looked at"


def test_a_decision_costs_no_event_if_nobody_listens(
    prod_ca: CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[dict[str, object]] = []
    real = AuditEvent

    def make(**parts: object) -> AuditEvent:
        made.append(parts)
        return real(**parts)  # type: ignore[arg-type]

    monkeypatch.setattr("meshid.admission.recorder.AuditEvent", make)
    mesh = mesh_of(prod_ca)
    caplog.set_level(logging.WARNING, "meshid.audit")
    mesh.admit(prod_ca.issue(PATH).chain)
    assert made == []
    refusal(lambda: mesh.admit([]))
    assert len(made) == 1


@given(st.data())
def test_mutated_chains_are_admitted_or_refused_and_never_an_internal_error(data: st.DataObject) -> None:
    chain = [bytearray(der) for der in _CHAIN]
    for _ in range(data.draw(st.integers(1, 3))):
        der = chain[data.draw(st.integers(0, 1))]
        at = data.draw(st.integers(0, len(der) - 1))
        cut = data.draw(st.integers(0, 3))
        der[at : at + cut] = data.draw(st.binary(max_size=3))
    mutated = [bytes(der) for der in chain]
    try:
        peer = _MESH.admit(mutated)
    except PeerRejected as error:
        assert error.reason is not Reason.INTERNAL_ERROR, error.detail
        assert error.detail.isprintable()
    else:
        assert peer.chain[0] == mutated[0] == _CHAIN[0]


_CA = CA("prod.example.org")
_CHAIN = _CA.intermediate().issue(PATH).chain
_MESH = mesh_of(_CA)
