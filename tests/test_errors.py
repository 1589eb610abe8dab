"""What meshid raises: whose fault it is, and how much of it the other end learns."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re
import ssl
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshid import errors
from meshid.decisions import Decision
from meshid.errors import (
    MAX_SHOWN_PROBLEMS,
    ConnectionEnded,
    InvalidInput,
    InvalidIstioPolicy,
    InvalidPolicy,
    InvalidSettings,
    MeshidError,
    MissingExtra,
    NoPeer,
    PeerRejected,
    Problem,
    Refused,
)
from meshid.reasons import Reason

DETAIL = "the deny list has spiffe://prod.example.org/ns/ci"


def rejection(reason: Reason) -> PeerRejected:
    return PeerRejected(Decision(allowed=False, reason=reason, detail=DETAIL))


REJECTIONS = [rejection(reason) for reason in Reason]


# -- The tree -----------------------------------------------------------------


def drawn() -> dict[str, str]:
    """Return the tree in the docstring of errors.py: each class with the one that it hangs on."""
    parents: list[str] = []
    found: dict[str, str] = {}
    for line in re.findall(
        r"^    (?:MeshidError|[│ ]*[├└]── .*)$", inspect.getdoc(errors) or "", re.MULTILINE
    ):
        name = re.search(r"\w+", line)
        assert name
        depth = (name.start() - 4) // 4
        del parents[depth:]
        found[name[0]] = parents[-1] if parents else "Exception"
        parents.append(name[0])
    return found


def defined() -> dict[str, str]:
    """Return the public errors of errors.py, each with the one that it is derived from."""
    classes = [
        each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, MeshidError)
    ]
    public = {each.__name__: each for each in classes if not each.__name__.startswith("_")}
    return {
        name: next(base.__name__ for base in each.__mro__[1:] if base.__name__ in {*public, "Exception"})
        for name, each in public.items()
    }


def test_the_tree_in_the_docstring_is_true_and_complete() -> None:
    assert drawn() == defined()


@pytest.mark.parametrize("name", [name for name, base in defined().items() if base == "InvalidInput"])
def test_what_the_operator_got_wrong_is_invalid_input_and_a_value_error(name: str) -> None:
    error = vars(errors)[name]
    assert issubclass(error, InvalidInput)
    assert issubclass(error, MeshidError)
    assert issubclass(error, ValueError)
    assert not issubclass(error, PeerRejected)


@pytest.mark.parametrize("error", [PeerRejected, NoPeer])
def test_what_the_operator_did_not_get_wrong_is_not_invalid_input(error: type[Exception]) -> None:
    assert issubclass(error, MeshidError)
    assert not issubclass(error, InvalidInput)


def test_a_missing_extra_says_how_to_install_it() -> None:
    said = "this needs an optional dependency: pip install 'pyyaml>=6.0.3' (the extra 'yaml' of meshid)"
    assert str(MissingExtra("yaml")) == said


def test_what_an_extra_installs_is_what_the_package_declares() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
    for extra, (requirement,) in pyproject["project"]["optional-dependencies"].items():
        assert f"pip install {requirement!r} " in str(MissingExtra(extra))


# -- A refusal ----------------------------------------------------------------


@pytest.mark.parametrize("family", [MeshidError, ssl.SSLCertVerificationError, ssl.SSLError, OSError])
def test_a_framework_takes_a_refusal_for_a_failed_handshake(family: type[Exception]) -> None:
    with pytest.raises(family):
        raise rejection(Reason.EXPIRED)


@pytest.mark.parametrize("refusal", REJECTIONS, ids=lambda refusal: refusal.reason)
def test_the_text_of_a_refusal_is_the_same_for_every_cause(refusal: PeerRejected) -> None:
    shown = "".join(traceback.format_exception_only(refusal))
    assert str(refusal) == f"{refusal}" == refusal.verify_message == "peer rejected"
    for text in (shown, repr(refusal), str(refusal.args), str(refusal.strerror)):
        assert refusal.reason not in text
        assert DETAIL not in text


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"name": "spiffe://a/b", "detail": DETAIL}, f"peer rejected: revoked (spiffe://a/b): {DETAIL}"),
        ({}, f"peer rejected: revoked: {Reason.REVOKED.meaning}"),
    ],
    ids=["facts", "none"],
)
@pytest.mark.parametrize("kind", [PeerRejected, ConnectionEnded])
def test_the_refusal_of_a_server_says_why_to_its_client(
    kind: type[PeerRejected], facts: dict[str, Any], said: str
) -> None:
    refusal = kind(Decision(allowed=False, reason=Reason.REVOKED, **facts), of_server=True)
    assert str(refusal) == refusal.verify_message == refusal.args[1] == refusal.strerror == said
    assert said in "".join(traceback.format_exception_only(refusal))
    assert said in repr(refusal)


def test_a_refusal_knows_everything() -> None:
    decision = Decision(allowed=False, reason=Reason.DENIED, rule="no-ci", detail=DETAIL)
    refusal = PeerRejected(decision)
    assert refusal.decision is decision
    assert (refusal.reason, refusal.detail) == (Reason.DENIED, DETAIL)


def test_a_refusal_looks_like_one_of_openssl_by_an_application() -> None:
    refusal = rejection(Reason.EXPIRED)
    assert refusal.errno == ssl.SSLErrorNumber.SSL_ERROR_SSL
    assert refusal.verify_code == 50  # X509_V_ERR_APPLICATION_VERIFICATION
    assert refusal.library == "meshid"


def test_a_framework_takes_the_end_of_a_connection_for_a_lost_one() -> None:
    ended = ConnectionEnded(rejection(Reason.EXPIRED).decision)
    assert isinstance(ended, ConnectionAbortedError)
    assert ended.errno == ended.args[0] == errno.ECONNABORTED
    assert str(ended) == "peer rejected"


def pickled(refusal: PeerRejected) -> object:
    return pickle.loads(pickle.dumps(refusal))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("of_server", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("kind", [PeerRejected, ConnectionEnded])
@pytest.mark.parametrize("copied", [pickled, copy.copy, copy.deepcopy])
def test_a_copy_of_a_refusal_has_everything(
    copied: Callable[[PeerRejected], object], kind: type[PeerRejected], *, of_server: bool
) -> None:
    decision = Refused(Reason.EXPIRED, DETAIL).decision("spiffe://prod.example.org/a")
    refusal = kind(decision, of_server=of_server)
    arrived = copied(refusal)
    assert type(arrived) is kind
    assert arrived.errno == refusal.errno
    assert arrived.decision == refusal.decision
    assert isinstance(arrived, PeerRejected)
    assert (arrived.reason, str(arrived), arrived.args) == (Reason.EXPIRED, str(refusal), refusal.args)


@pytest.mark.parametrize("name", [None, "spiffe://prod.example.org/a"])
def test_what_was_refused_below_the_verifier_becomes_a_decision_about_the_claimed_name(
    name: str | None,
) -> None:
    expected = Decision(allowed=False, reason=Reason.EXPIRED, name=name, detail=DETAIL)
    assert Refused(Reason.EXPIRED, DETAIL).decision(name) == expected


def test_what_is_refused_below_the_verifier_is_not_an_error_that_users_catch() -> None:
    assert not issubclass(Refused, (MeshidError, OSError, ValueError))


# -- Several problems at once -------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        pytest.param(
            Problem("allow[3].from[0]", "must be a string"),
            "allow[3].from[0]: must be a string",
            id="a place",
        ),
        pytest.param(Problem("", "it is empty"), "it is empty", id="no place"),
    ],
)
def test_a_problem_says_where_it_is(problem: Problem, text: str) -> None:
    assert str(problem) == text


@pytest.mark.parametrize("kind", [InvalidPolicy, InvalidSettings])
@pytest.mark.parametrize(
    ("count", "last"),
    [
        pytest.param(1, "rule 0: bad", id="one"),
        pytest.param(MAX_SHOWN_PROBLEMS, f"rule {MAX_SHOWN_PROBLEMS - 1}: bad", id="as many as are shown"),
        pytest.param(MAX_SHOWN_PROBLEMS + 2, "... and 2 more", id="more than are shown"),
    ],
)
def test_an_error_has_all_problems_and_shows_the_first(
    kind: type[InvalidPolicy | InvalidSettings], count: int, last: str
) -> None:
    problems = tuple(Problem(f"rule {number}", "bad") for number in range(count))
    error = kind(problems)
    lines = str(error).splitlines()
    assert error.problems == problems
    assert lines[0] == "rule 0: bad"
    assert lines[-1] == last
    assert len(lines) <= MAX_SHOWN_PROBLEMS + 1
    assert pickle.loads(pickle.dumps(error)).problems == problems  # noqa: S301 - our own bytes


def test_what_cannot_be_imported_from_istio_is_listed_whole() -> None:
    problems = tuple(Problem(f"rule {number}", "bad") for number in range(2 * MAX_SHOWN_PROBLEMS))
    assert str(InvalidIstioPolicy(problems)).splitlines() == list(map(str, problems))


def test_each_line_of_an_error_names_the_file() -> None:
    error = InvalidPolicy((Problem("a", "bad"), Problem("", "worse")), "p.toml")
    assert str(error) == "p.toml: a: bad\np.toml: worse"


# -- A decision ---------------------------------------------------------------


@pytest.mark.parametrize("allowed", [True, False])
def test_a_decision_is_true_exactly_when_it_admits(*, allowed: bool) -> None:
    assert bool(Decision(allowed=allowed, reason=Reason.OBSERVED)) is allowed


@pytest.mark.parametrize(
    ("detail", "sentence"),
    [
        ("", "No allow rule matches. (meshid policy: no matching allow is a refusal)"),
        ("a is near.", "No allow rule matches. a is near. (meshid policy: no matching allow is a refusal)"),
    ],
    ids=["no detail", "a detail"],
)
def test_a_decision_explains_itself_in_a_sentence(detail: str, sentence: str) -> None:
    assert Decision(allowed=False, reason=Reason.NO_RULE, detail=detail).sentence == sentence
