"""Each request of a service is judged: what the middlewares of all families share."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import cast

import pytest

from meshid import BundleSet, InvalidPattern, Mesh, Peer, Policy, Reason, Revocations
from meshid.audit.counters import DecisionKind
from meshid.certificates.leaf import Role
from meshid.decisions import Call
from meshid.http import judging
from meshid.http.judging import RequestJudge
from meshid.policy.requests import Request
from meshid.testing import CA
from tests.helpers.ending_rule import ENDING, EndingRule
from tests.helpers.tls_peers import POLICY, Heard, mesh_of
from tests.helpers.world import Clock

DESK = "/ns/support/sa/desk"
"""May ask for ``GET /charges/*`` alone."""


@pytest.fixture
def desk(mesh: Mesh, prod_ca: CA, heard: Heard) -> Peer:
    peer = mesh.admit(prod_ca.issue(DESK).chain, request="GET /charges/7")
    heard.next()
    return peer


def test_a_request_of_a_peer_is_checked_on_record(mesh: Mesh, desk: Peer, heard: Heard) -> None:
    judge = RequestJudge(mesh)
    for method, target, reason in (
        ("GET", "/charges/7?card=1", Reason.ALLOWED),
        ("POST", "/charges/7", Reason.NO_RULE),
        ("GET", "/charges/%2561", Reason.UNSAFE_REQUEST),
        ("GET", "https://payments/charges/7", Reason.UNSAFE_REQUEST),
        ("GET /charges/7", "/x", Reason.UNSAFE_REQUEST),
        ("", "", Reason.UNSAFE_REQUEST),
        ("get", "/charges/7", Reason.UNSAFE_REQUEST),
        ("GETT", "/charges/7", Reason.UNSAFE_REQUEST),
    ):
        decision = judge.judge(desk, method, target)[0]
        assert (decision.reason, decision.target) == (reason, "payments")
        assert (event := heard.next()).decision == decision
        assert event.call == "check"
    assert RequestJudge(mesh, target="other").judge(desk, "GET", "/charges/7")[0].target == "other"


def test_a_request_that_is_remembered_is_refused_once_its_rule_has_ended() -> None:
    ending = EndingRule()
    mesh = ending.mesh()
    judge, peer = RequestJudge(mesh, public=["GET /healthz"]), mesh.admit(ending.issue(ENDING).chain)
    for path in ("/x", "/x", "/healthz"):
        assert judge.judge(peer, "GET", path)[0]
    assert mesh.health().ready
    ending.at_the_end()
    for path in ("/x", "/healthz"):
        assert judge.judge(peer, "GET", path)[0].reason is Reason.NO_RULE


def test_without_a_peer_a_request_is_refused_on_record(mesh: Mesh, heard: Heard) -> None:
    for target in ("/charges/7", "/%2561"):
        decision = RequestJudge(mesh, public=["GET /healthz"]).judge(None, "GET", target)[0]
        assert (decision.allowed, decision.reason) == (False, Reason.NO_CERTIFICATE)
        assert heard.next().decision == decision


def test_a_peer_whose_trust_was_taken_away_is_refused_at_its_next_request(mesh: Mesh, desk: Peer) -> None:
    judge = RequestJudge(mesh, public=["GET /healthz"])
    assert judge.judge(desk, "GET", "/healthz")[0].reason is Reason.PUBLIC
    mesh.publish(revocations=Revocations(deny=[DESK.join(("spiffe://prod.example.org", ""))]))
    for path in ("/charges/7", "/healthz"):
        assert judge.judge(desk, "GET", path)[0].reason is Reason.DENY_LISTED


def test_what_is_routed_is_what_is_judged(mesh: Mesh, desk: Peer, caplog: pytest.LogCaptureFixture) -> None:
    judge = RequestJudge(mesh, public=["GET /open/*"])
    assert judge.judge(desk, "GET", "/charges/%C3%A9", routed="/charges/é")[0]
    for peer, target, routed in (
        (desk, "/charges/7", "/charges/8"),
        (desk, "/charges/%C3%A9", "/charges/Ã©"),
        (desk, "/charges/7", ""),
        (None, "/open/a", "/charges/7"),
    ):
        caplog.clear()
        decision = judge.judge(peer, "GET", target, routed=routed)[0]
        assert (decision.allowed, decision.reason) == (False, Reason.UNSAFE_REQUEST)
        [record] = caplog.records
        assert (record.name, record.levelno) == ("meshid.http", logging.WARNING)
        assert "which the application routes" in record.getMessage()
    caplog.clear()
    for _ in range(100):
        judge.judge(desk, "GET", "/a", routed="/b")
    assert len(caplog.records) < 20


class TestPublic:
    def test_it_needs_no_peer_and_is_said_once(
        self, mesh: Mesh, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "meshid.http")
        judge = RequestJudge(mesh, public=["GET /healthz", "* /open/*"])
        assert [each.getMessage() for each in caplog.records] == [
            "requests that need no peer: GET /healthz, * /open/*"
        ]
        for method, target in (("GET", "/healthz?full"), ("PUT", "/open/%61")):
            decision = judge.judge(None, method, target)[0]
            assert (decision.allowed, decision.reason, decision.name) == (True, Reason.PUBLIC, None)
        assert heard.is_quiet()
        for method, target in (
            ("HEAD", "/healthz"),
            ("GET", "/healthz/"),
            ("GET", "//healthz"),
            ("GET", "/open/%2e%2e/charges"),
            ("OPEN", "/open/a"),
        ):
            assert judge.judge(None, method, target)[0].reason is Reason.NO_CERTIFICATE

    def test_a_peer_that_is_there_stays_known(self, mesh: Mesh, desk: Peer) -> None:
        decision = RequestJudge(mesh, public=["GET /healthz"]).judge(desk, "GET", "/healthz")[0]
        assert decision.name == str(desk.spiffe_id)

    def test_it_does_not_hold_at_another_target(self, mesh: Mesh, desk: Peer) -> None:
        judge = RequestJudge(mesh, public=["GET /charges/*"])
        assert judge.judge(None, "GET", "/charges/7")[0].reason is Reason.PUBLIC
        decision = judge.judge_at(None, "GET", "/charges/7", "other")
        assert (decision.reason, decision.target) == (Reason.NO_CERTIFICATE, "other")
        assert judge.judge_at(desk, "GET", "/charges/7", "payments").reason is Reason.ALLOWED
        assert judge.judge_at(desk, "GET", "/charges/%2561", "payments").reason is Reason.UNSAFE_REQUEST

    @pytest.mark.parametrize(
        "public", ["* /**", "GET /**", "GET /*/**", "GET /**/*", "healthz", "get /x", "GET /%61"]
    )
    def test_what_opens_everything_or_is_no_condition_is_an_error(self, mesh: Mesh, public: str) -> None:
        with pytest.raises(InvalidPattern, match=r"^public: "):
            RequestJudge(mesh, public=[public])

    @pytest.mark.parametrize("public", ["GET /healthz", None, [b"GET /healthz"], 7], ids=str)
    def test_what_is_no_list_of_texts_is_a_type_error(self, mesh: Mesh, public: list[str]) -> None:
        with pytest.raises(TypeError, match="public"):
            RequestJudge(mesh, public=public)


def test_it_must_be_given_a_mesh_and_a_target(prod_ca: CA) -> None:
    with pytest.raises(TypeError, match="mesh must be a Mesh, not function"):
        RequestJudge(lambda: None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no target"):
        RequestJudge(mesh_of(prod_ca, service=None))


def test_what_is_remembered_of_a_request_is_never_the_answer(mesh: Mesh, desk: Peer, heard: Heard) -> None:
    judge, path = RequestJudge(mesh, public=["GET /healthz"]), "/charges/7"
    for _ in range(3):
        decision = judge.judge(desk, "GET", path, routed=path)[0]
        assert decision.allowed
        assert heard.next().decision == decision
    kind = DecisionKind(Call.CHECK, Role.CLIENT, allowed=True, reason=Reason.ALLOWED)
    assert mesh.counts()[kind] == 3
    assert judge.judge(desk, "POST", path, routed=path)[0].reason is Reason.NO_RULE
    assert judge.judge(desk, "GET", path, routed="/charges/8")[0].reason is Reason.UNSAFE_REQUEST
    assert judge.judge(None, "GET", path, routed=path)[0].reason is Reason.NO_CERTIFICATE
    server = mesh.admit(desk.chain, expect=DESK)
    with pytest.raises(ValueError, match="pass expect="):
        judge.judge(server, "GET", path, routed=path)
    with pytest.raises(TypeError, match="peer must be a Peer"):
        judge.judge(cast("Peer", "desk"), "GET", path, routed=path)


def test_a_remembered_request_is_decided_under_what_is_in_force(
    mesh: Mesh, desk: Peer, prod_ca: CA, clock: Clock
) -> None:
    judge, asked = RequestJudge(mesh), (desk, "GET", "/charges/7")
    assert judge.judge(*asked)[0]
    mesh.publish(policy=Policy.from_toml(POLICY.replace("/charges/*", "/refunds/*"), "prod"))
    assert judge.judge(*asked)[0].reason is Reason.NO_RULE
    mesh.publish(policy=Policy.from_toml(POLICY, "prod"))
    assert judge.judge(*asked)[0]
    mesh.publish(revocations=Revocations(deny=[str(desk.spiffe_id)]))
    assert judge.judge(*asked)[0].reason is Reason.DENY_LISTED
    mesh.publish(revocations=Revocations())
    assert judge.judge(*asked)[0]
    mesh.publish(bundles=BundleSet([CA("prod.example.org").bundle()]))
    assert judge.judge(*asked)[0].reason is Reason.UNKNOWN_AUTHORITY
    mesh.publish(bundles=BundleSet([prod_ca.bundle()]))
    assert judge.judge(*asked)[0]
    clock.now = desk.not_after + timedelta(hours=1)
    assert judge.judge(*asked)[0].reason is Reason.EXPIRED


def test_only_what_was_allowed_and_is_short_is_remembered(
    mesh: Mesh, desk: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, made = RequestJudge(mesh), list[str]()

    def make(method: str, target: str, keep: tuple[str, ...]) -> Request:
        made.append(target)
        return Request(method, target, keep)

    monkeypatch.setattr(judging, "Request", make)
    long = f"/charges/{'7' * judging.LONGEST_REMEMBERED}"
    for path, times in (("/charges/7", 1), ("/refunds/7", 2), (long, 2)):
        judge.judge(desk, "GET", path)
        judge.judge(desk, "GET", path)
        assert made.count(path) == times
