"""What meshid raises: whose fault it is, and how much of it a stranger learns."""

from __future__ import annotations

import copy
import pickle
import ssl
import traceback

import pytest

from meshid.decisions import Decision
from meshid.errors import (
    MAX_SHOWN_PROBLEMS,
    InvalidBundle,
    InvalidCredentials,
    InvalidInput,
    InvalidPattern,
    InvalidPolicy,
    InvalidRequest,
    InvalidRevocations,
    InvalidSpiffeId,
    MeshidError,
    NoPeer,
    PeerRejected,
    Problem,
    rejected,
)
from meshid.reasons import Reason

TOLD_TO_NOBODY = "the deny list has spiffe://prod.example.org/ns/ci"
REFUSALS = [rejected(reason, TOLD_TO_NOBODY) for reason in Reason]


@pytest.mark.parametrize(
    "error",
    [
        InvalidBundle,
        InvalidCredentials,
        InvalidPattern,
        InvalidPolicy,
        InvalidRequest,
        InvalidRevocations,
        InvalidSpiffeId,
    ],
)
def test_what_the_operator_got_wrong_is_invalid_input_and_a_value_error(error: type[Exception]) -> None:
    assert issubclass(error, InvalidInput)
    assert issubclass(error, MeshidError)
    assert issubclass(error, ValueError)
    assert not issubclass(error, PeerRejected)


@pytest.mark.parametrize("error", [PeerRejected, NoPeer])
def test_what_the_operator_did_not_get_wrong_is_no_invalid_input(error: type[Exception]) -> None:
    assert issubclass(error, MeshidError)
    assert not issubclass(error, InvalidInput)


@pytest.mark.parametrize("family", [MeshidError, ssl.SSLCertVerificationError, ssl.SSLError, OSError])
def test_a_framework_takes_a_refusal_for_a_failed_handshake(family: type[Exception]) -> None:
    with pytest.raises(family):
        raise rejected(Reason.EXPIRED, TOLD_TO_NOBODY)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.reason)
def test_the_text_of_a_refusal_is_the_same_for_every_cause(refusal: PeerRejected) -> None:
    shown = "".join(traceback.format_exception_only(refusal))
    assert str(refusal) == f"{refusal}" == refusal.verify_message == "peer rejected"
    for text in (shown, repr(refusal), str(refusal.args), str(refusal.strerror)):
        assert refusal.reason not in text
        assert TOLD_TO_NOBODY not in text


def test_a_refusal_knows_everything() -> None:
    decision = Decision(allowed=False, reason=Reason.DENIED, rule="no-ci", detail=TOLD_TO_NOBODY)
    refusal = PeerRejected(decision)
    assert refusal.decision is decision
    assert (refusal.reason, refusal.detail) == (Reason.DENIED, TOLD_TO_NOBODY)


def test_a_refusal_looks_like_one_of_openssl_by_an_application() -> None:
    refusal = rejected(Reason.EXPIRED, TOLD_TO_NOBODY)
    assert refusal.errno == ssl.SSLErrorNumber.SSL_ERROR_SSL
    assert refusal.verify_code == 50  # X509_V_ERR_APPLICATION_VERIFICATION
    assert refusal.library == "meshid"


@pytest.mark.parametrize("travelled", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])  # noqa: S301 - our own bytes
def test_a_refusal_travels_whole(travelled: object) -> None:
    refusal = rejected(Reason.EXPIRED, TOLD_TO_NOBODY).claiming("spiffe://prod.example.org/a")
    assert callable(travelled)
    arrived = travelled(refusal)
    assert type(arrived) is PeerRejected
    assert arrived.decision == refusal.decision
    assert (arrived.reason, str(arrived)) == (Reason.EXPIRED, "peer rejected")


def test_a_refusal_is_told_for_a_claimed_name_and_stays_the_same() -> None:
    refusal = rejected(Reason.EXPIRED, TOLD_TO_NOBODY)
    named = refusal.claiming("spiffe://prod.example.org/a")
    assert refusal.decision.name is None
    assert named.decision.name == "spiffe://prod.example.org/a"
    assert (named.reason, named.detail) == (refusal.reason, refusal.detail)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        pytest.param(Problem("allow[3].from[0]", "is no text"), "allow[3].from[0]: is no text", id="a place"),
        pytest.param(Problem("", "it is no TOML"), "it is no TOML", id="no place"),
    ],
)
def test_a_problem_says_where_it_is(problem: Problem, text: str) -> None:
    assert str(problem) == text


@pytest.mark.parametrize(
    ("count", "last"),
    [
        pytest.param(1, "rule 0: bad", id="one"),
        pytest.param(MAX_SHOWN_PROBLEMS, f"rule {MAX_SHOWN_PROBLEMS - 1}: bad", id="as many as are shown"),
        pytest.param(MAX_SHOWN_PROBLEMS + 2, "... and 2 more", id="more than are shown"),
    ],
)
def test_an_invalid_policy_has_all_problems_and_shows_the_first(count: int, last: str) -> None:
    problems = tuple(Problem(f"rule {number}", "bad") for number in range(count))
    error = InvalidPolicy(problems)
    lines = str(error).splitlines()
    assert error.problems == problems
    assert lines[0] == "rule 0: bad"
    assert lines[-1] == last
    assert len(lines) <= MAX_SHOWN_PROBLEMS + 1
    assert pickle.loads(pickle.dumps(error)).problems == problems  # noqa: S301 - our own bytes


@pytest.mark.parametrize("allowed", [True, False])
def test_a_decision_is_true_exactly_when_it_admits(*, allowed: bool) -> None:
    assert bool(Decision(allowed=allowed, reason=Reason.OBSERVED)) is allowed
