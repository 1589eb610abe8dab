"""A line of an audit log, read back: what was asked, and what a policy decided.

The inverse of `AuditEvent.as_dict`, as far as there is one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, TypeVar

import attrs

from meshid.audit.event import (
    ENVIRONMENT,
    EVENT_NAME,
    EVENT_NAMES,
    JWT_BINDING,
    JWT_ISSUER,
    JWT_PRINCIPAL,
    OBSERVED,
    PEER,
    POLICY_HASH,
    REASON,
    REQUEST,
    RULE,
    TARGET,
    TIME,
    VERDICT,
    VERDICTS,
)
from meshid.audit.replay.result import MAX_LINE_BYTES, Cause
from meshid.decisions import Decision
from meshid.errors import InvalidRequest, InvalidSpiffeId
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.evidence import Binding, TokenName
from meshid.policy.requests import KEEPABLE, as_sent
from meshid.policy.target_form import check_target
from meshid.reasons import Reason
from meshid.support.quoting import MAX_QUOTED, quote

_EVENTS = frozenset(EVENT_NAMES.values())
_ALLOWED = {word: allowed for allowed, word in VERDICTS.items()}
_BINDINGS = {str(each): each for each in Binding}
_REASONS = {str(reason): reason for reason in Reason}
_BY_POLICY = frozenset(
    {
        Reason.ALLOWED,
        Reason.REQUEST_AWAITED,
        Reason.OBSERVED,
        Reason.DENIED,
        Reason.NO_RULE,
        Reason.UNSAFE_REQUEST,
    }
)
_NOT_BY_POLICY = {
    Reason.EXPECTED: Cause.OF_A_SERVER,
    Reason.UNEXPECTED_SERVER: Cause.OF_A_SERVER,
    Reason.NO_POLICY: Cause.NO_POLICY,
}

# The log has an unsafe request only in quotes. This one stands for it: every policy refuses it as unsafe.
_UNSAFE = ""

_Fields = dict[str, object]
_Value = TypeVar("_Value")


class SkipError(Exception):
    """A line cannot be replayed.

    Args:
        cause: Why.
        what: What is wrong with this line, in a few words.
    """

    def __init__(self, cause: Cause, what: str = "") -> None:
        super().__init__(cause, what)
        self.cause = cause
        self.what = what


@attrs.frozen
class Recorded:
    """What was asked, and what a policy decided.

    Attributes:
        time: When the decision was made.
        spiffe_id: The peer.
        target: What it wanted to reach.
        request: What it requested; None if the log does not say whether requests were to follow.
        decision: The decision, as far as it is in the log.
        token: Whom its token named; None without one.
    """

    time: datetime
    spiffe_id: SpiffeId
    target: str
    request: RequestLike
    decision: Decision
    token: TokenName | None = None


def recorded(line: bytes, environment: str) -> Recorded:
    """Read a *line* with a decision of a policy for *environment*.

    Raises:
        SkipError: If it has anything else.
    """
    fields = _event(line)
    reason = _one_of(_REASONS, fields, REASON)
    # What a token and a certificate name together is a question to the policy, if the log has both.
    is_of_names = reason is Reason.TOKEN_DISAGREES and JWT_ISSUER in fields and TARGET in fields
    if reason not in _BY_POLICY and not is_of_names:
        raise SkipError(_NOT_BY_POLICY.get(reason, Cause.REFUSED_BEFORE), reason)
    if (where := _text(fields, ENVIRONMENT)) != environment:
        raise SkipError(Cause.OTHER_ENVIRONMENT, quote(where))
    name, target = _whole(fields, PEER), _whole(fields, TARGET)
    decision = Decision(
        allowed=_one_of(_ALLOWED, fields, VERDICT),
        reason=reason,
        rule=_text(fields, RULE) if RULE in fields else None,
        policy_hash=_text(fields, POLICY_HASH),
        name=name,
        target=target,
        request=_whole(fields, REQUEST) if REQUEST in fields else None,
    )
    token = _token(fields) if JWT_ISSUER in fields else None
    try:
        check_target(target)
    except ValueError as error:
        raise SkipError(Cause.WRONG_EVENT, f"{TARGET}: {error}") from error
    return Recorded(_time(fields), _spiffe_id(name), target, _request(decision, fields), decision, token)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of *file*; a line that is longer than any event is cut."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES + 1)


def _event(line: bytes) -> _Fields:
    if len(line) > MAX_LINE_BYTES:
        raise SkipError(Cause.TOO_LONG)
    if not line.strip():
        raise SkipError(Cause.EMPTY)
    try:
        fields = json.loads(line)
    # Deep nesting is a RecursionError, and bytes that are not UTF-8 are a ValueError.
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise SkipError(Cause.NOT_JSON, _what_else(line))
    event = fields.get(EVENT_NAME)
    if not isinstance(event, str) or event not in _EVENTS:
        raise SkipError(Cause.OTHER_RECORD)
    return fields


def _what_else(line: bytes) -> str:
    if line.startswith(b"\x1f\x8b"):
        return "it is gzip; unpack it first"
    if not line.endswith(b"\n"):
        return "it is the last one, and is cut off"
    return ""


def _text(fields: _Fields, name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str):
        return value
    wrong = "is not a string" if name in fields else "is missing"
    raise SkipError(Cause.WRONG_EVENT, f"{name} {wrong}")


def _whole(fields: _Fields, name: str) -> str:
    text = _text(fields, name)
    # A string that has been cut is always longer than one that has not.
    if len(text) > MAX_QUOTED:
        raise SkipError(Cause.CUT, name)
    return text


def _one_of(known: dict[str, _Value], fields: _Fields, name: str) -> _Value:
    text = _text(fields, name)
    if text not in known:
        raise SkipError(Cause.WRONG_EVENT, f"{name} is {quote(text)}")
    return known[text]


def _time(fields: _Fields) -> datetime:
    text = _text(fields, TIME)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    # A time without an offset from UTC cannot be compared with others.
    if time is None or time.tzinfo is None:
        raise SkipError(Cause.WRONG_EVENT, f"{TIME} is {quote(text)}")
    return time


def _spiffe_id(name: str) -> SpiffeId:
    try:
        return SpiffeId.parse(name)
    except InvalidSpiffeId as error:
        raise SkipError(Cause.WRONG_EVENT, f"{PEER}: {error}") from error


def _token(fields: _Fields) -> TokenName:
    binding = _one_of(_BINDINGS, fields, JWT_BINDING)
    principal = _whole(fields, JWT_PRINCIPAL)
    if "\\" in principal:
        raise SkipError(Cause.WRONG_EVENT, f"{JWT_PRINCIPAL} has characters that are escaped in the log")
    return TokenName(_text(fields, JWT_ISSUER), principal, is_bound=binding is not Binding.NONE)


def _request(decision: Decision, fields: _Fields) -> RequestLike:
    """Return what was asked about; None if the log does not say whether requests were to follow."""
    if decision.request is None:
        return REQUEST_FOLLOWS if decision.reason is Reason.REQUEST_AWAITED else None
    # Where the reason is `observed`, this is what an observing policy would have said.
    # Without quotes, only its method was unsafe, which another policy may name.
    is_quoted = decision.request.startswith(("'", '"'))
    if is_quoted and Reason.UNSAFE_REQUEST in (decision.reason, fields.get(OBSERVED)):
        return _UNSAFE
    method, _, path = decision.request.partition(" ")
    try:
        # Older logs have the path decoded, and methods in lower case. What is encoded has stayed so.
        asked = Request(method.upper(), as_sent(path), KEEPABLE)
    except InvalidRequest as error:
        raise SkipError(Cause.WRONG_EVENT, f"{REQUEST}: {error}") from error
    return asked if asked.method == method else _UNSAFE
