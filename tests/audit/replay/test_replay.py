"""A replay says what another policy would have decided, of all that a policy decided and of nothing else."""

from __future__ import annotations

import io
import json
import logging
import tracemalloc
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import (
    REQUEST_FOLLOWS,
    AuditEvent,
    BundleSet,
    Call,
    Decision,
    JsonFormatter,
    Mesh,
    PeerRejected,
    Policy,
    Reason,
    SpiffeId,
)
from meshid.audit.event import JWT_BINDING, JWT_ISSUER, JWT_PRINCIPAL
from meshid.audit.replay.log import lines_of
from meshid.audit.replay.replay import replay
from meshid.audit.replay.result import (
    MAX_EXAMPLES,
    MAX_FLIPS,
    MAX_LINE_BYTES,
    MAX_REQUESTS,
    Cause,
    Replayed,
    Requests,
)
from meshid.policy import Request, RequestLike
from meshid.policy.evidence import TokenName
from meshid.policy.requests import KEEPABLE
from meshid.testing import CA
from tests.helpers.named_world import ALIASES, document_of
from tests.helpers.named_world import policy_of as named_policy_of
from tests.helpers.world import Clock

SHOP = "spiffe://prod.example.org/ns/shop/sa/api"
UNSAFE = "GET /v1/../admin"

FORMATTER = JsonFormatter()


def rule(number: int, source: str, target: str, *http: str, observe: bool = False) -> dict[str, object]:
    conditions = {"http": list(http)} if http else {}
    return {"id": f"r{number}", "from": [source], "to": [target], "observe": observe, **conditions}


def policy_of(*allow: dict[str, object], environment: str = "prod", **more: object) -> Policy:
    environments = {
        "prod": {"trust_domains": ["prod.example.org"]},
        "dev": {"trust_domains": ["dev.example.org"]},
    }
    document = {"version": 1, "environments": environments, "allow": list(allow), **more}
    return Policy.from_json(json.dumps(document), environment)


NOBODY = policy_of()
EVERYBODY = policy_of(rule(1, "/**", "**"))


def event_of(
    decision: Decision,
    *,
    time: float = 1_800_000_000,
    environment: str | None = "prod",
    call: Call = Call.ADMIT,
) -> AuditEvent:
    return AuditEvent(
        time=time,
        call=call,
        decision=decision,
        role="client",
        leaf=b"a leaf",
        local_name=None,
        environment=environment,
        generation=1,
    )


def line_of(
    decision: Decision,
    *,
    time: float = 1_800_000_000,
    environment: str | None = "prod",
    call: Call = Call.ADMIT,
) -> bytes:
    event = event_of(decision, time=time, environment=environment, call=call)
    record = logging.LogRecord("meshid.audit", logging.INFO, __file__, 1, "%s", (event,), None)
    record.meshid = event
    return FORMATTER.format(record).encode() + b"\n"


def asked(policy: Policy, request: RequestLike = None, *, peer: str = SHOP, target: str = "pay") -> bytes:
    return line_of(policy.decide(SpiffeId.parse(peer), target, request))


def edited(line: bytes, name: str, value: object) -> bytes:
    """Return a line with another value of one field; None takes the field away."""
    event = json.loads(line) | {name: value}
    return json.dumps({name: value for name, value in event.items() if value is not None}).encode()


def causes(replayed: Replayed) -> dict[Cause, int]:
    return {each.cause: each.count for each in replayed.skipped}


class TestFlips:
    def test_a_flip_has_both_verdicts(self) -> None:
        line = asked(EVERYBODY, "GET /v1/x?secret")
        (flip,) = replay([line], NOBODY).flips
        assert (flip.was.name, flip.was.target, flip.was.request) == (SHOP, "pay", "GET /v1/x")
        assert (flip.was.allowed, flip.was.reason, flip.was.rule) == (True, Reason.ALLOWED, "r1")
        assert flip.now == NOBODY.decide(SpiffeId.parse(SHOP), "pay", "GET /v1/x")

    @pytest.mark.parametrize("call", Call)
    def test_every_call_is_replayed(self, call: Call) -> None:
        ended = line_of(NOBODY.decide(SpiffeId.parse(SHOP), "pay"), call=call)
        (flip,) = replay([ended], EVERYBODY).flips
        assert (flip.was.allowed, flip.now.allowed) == (False, True)

    def test_the_other_way_round_as_well(self) -> None:
        (flip,) = replay([asked(NOBODY)], EVERYBODY).flips
        assert (flip.was.reason, flip.now.reason, flip.now.rule) == (Reason.NO_RULE, Reason.ALLOWED, "r1")

    @pytest.mark.parametrize("request_", ["GET /caf%C3%A9/a%20b", "GET /a%22b'c", "GET /%E2%82%AC"])
    def test_a_request_is_replayed_whatever_had_to_be_encoded_in_it(self, request_: str) -> None:
        line = asked(EVERYBODY, request_)
        (flip,) = replay([line], NOBODY).flips
        assert flip.now == NOBODY.decide(SpiffeId.parse(SHOP), "pay", request_)
        assert replay([line], EVERYBODY).flips == ()

    def test_a_request_in_which_something_stayed_encoded_is_replayed(self) -> None:
        line = asked(EVERYBODY, Request("GET", "/a%2Fb%3B%23%252F", KEEPABLE))
        (flip,) = replay([line], NOBODY).flips
        assert flip.now.request == "GET /a%2Fb%3B%23%252F"
        assert flip.now.reason is Reason.NO_RULE

    def test_a_request_that_is_recorded_decoded_is_replayed(self) -> None:
        line = edited(asked(EVERYBODY, "GET /a"), "meshid.request", "GET /a b")
        (flip,) = replay([line], NOBODY).flips
        assert flip.now.request == "GET /a%20b"

    def test_a_method_in_lower_case_that_was_let_in_would_be_refused(self) -> None:
        line = edited(asked(EVERYBODY, "GET /a"), "meshid.request", "get /a")
        (flip,) = replay([line], EVERYBODY).flips
        assert (flip.was.request, flip.now.reason) == ("get /a", Reason.UNSAFE_REQUEST)

    @pytest.mark.parametrize("observe", [False, True])
    def test_a_method_that_only_the_other_policy_names_is_judged_by_it(self, observe: bool) -> None:  # noqa: FBT001 - a parameter of the test
        line = asked(policy_of(rule(1, "/**", "**"), observe=observe), "PURGE /a")
        naming = policy_of(rule(1, "/**", "**"), deny=[rule(2, "/**", "**", "PURGE /a")])
        assert replay([line], naming).flipped == observe
        assert replay([line], policy_of(rule(1, "/**", "**", "PURGE /a"))).flipped == (not observe)

    def test_another_rule_with_the_same_verdict_is_not_a_flip(self) -> None:
        other = policy_of(rule(7, "/ns/shop/**", "pay"))
        replayed = replay([asked(EVERYBODY)], other)
        assert (replayed.replayed, replayed.flipped, replayed.flips) == (1, 0, ())

    def test_the_log_of_an_observing_policy_shows_which_peers_it_would_refuse(self) -> None:
        observing = policy_of(observe=True)
        (flip,) = replay([asked(observing)], NOBODY).flips
        assert (flip.was.reason, flip.now.reason) == (Reason.OBSERVED, Reason.NO_RULE)

    def test_a_policy_that_only_observes_lets_everybody_in(self) -> None:
        replayed = replay([asked(NOBODY), asked(NOBODY, UNSAFE)], policy_of(observe=True))
        assert [flip.now.reason for flip in replayed.flips] == [Reason.OBSERVED] * 2

    def test_flips_of_one_peer_from_one_cause_are_one_with_their_count_and_times(self) -> None:
        decision = EVERYBODY.decide(SpiffeId.parse(SHOP), "pay", "GET /a")
        lines = [line_of(decision, time=1_800_000_000 + each) for each in (5, 3, 9)]
        (flip,) = replay(lines, NOBODY).flips
        times = [flip.first.timestamp() - 1_800_000_000, flip.last.timestamp() - 1_800_000_000]
        assert (flip.count, times, flip.requests) == (3, [3, 9], (Requests("GET /a", 3),))

    def test_the_most_frequent_comes_first(self) -> None:
        lines = [asked(EVERYBODY, target="a"), *[asked(EVERYBODY, target="b")] * 2]
        assert [flip.was.target for flip in replay(lines, NOBODY).flips] == ["b", "a"]

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(asked(EVERYBODY, peer=f"{SHOP}2"), id="peer"),
            pytest.param(asked(EVERYBODY, target="refunds"), id="target"),
            pytest.param(asked(policy_of(rule(2, "/**", "**"))), id="rule"),
            pytest.param(asked(policy_of(observe=True)), id="reason"),
        ],
    )
    def test_flips_of_different_kinds_are_listed_apart(self, other: bytes) -> None:
        assert len(replay([asked(EVERYBODY), other], NOBODY).flips) == 2

    def test_requests_are_listed_up_to_a_limit(self) -> None:
        lines = [asked(EVERYBODY, f"GET /charges/{number}") for number in range(MAX_REQUESTS + 2)]
        lines += [asked(EVERYBODY, "GET /charges/0"), asked(EVERYBODY)]
        (flip,) = replay(lines, NOBODY).flips
        assert flip.count == MAX_REQUESTS + 4
        assert len(flip.requests) == MAX_REQUESTS
        assert flip.requests[0] == Requests("GET /charges/0", 2)

    def test_a_flip_too_many_is_only_counted(self) -> None:
        lines = [asked(EVERYBODY, peer=f"{SHOP}{number}") for number in range(MAX_FLIPS + 3)]
        replayed = replay([*lines, lines[0]], NOBODY)
        assert (len(replayed.flips), replayed.unlisted, replayed.flipped) == (MAX_FLIPS, 3, MAX_FLIPS + 4)


class TestHandshakes:
    """Of a handshake, the log does not tell whether requests were to follow."""

    SOME = policy_of(rule(1, "/**", "**", "GET /v1/**"))

    def test_one_that_was_let_through_to_await_requests_is_asked_about_so(self) -> None:
        replayed = replay([asked(self.SOME, REQUEST_FOLLOWS)], policy_of(rule(1, "/**", "**", "PUT /x")))
        assert (replayed.replayed, replayed.flipped) == (1, 0)

    def test_one_that_hangs_on_it_is_not_replayed(self) -> None:
        replayed = replay([asked(EVERYBODY), asked(EVERYBODY, REQUEST_FOLLOWS)], self.SOME)
        assert (replayed.replayed, causes(replayed)) == (0, {Cause.REQUESTS_UNKNOWN: 2})
        assert replayed.skipped[0].examples[0].what == f"{SHOP} at 'pay'"

    @pytest.mark.parametrize("request_", [None, REQUEST_FOLLOWS], ids=["none", "to follow"])
    def test_the_policy_that_decided_knew(self, request_: RequestLike) -> None:
        some = policy_of(rule(1, "/**", "**"), deny=[rule(2, "/**", "**", "GET /v1/**")])
        replayed = replay([asked(some, request_)], some)
        assert (replayed.replayed, replayed.flipped) == (1, 0)


class TestRulesThatEnd:
    """All of it is decided again as of one instant, whenever it was decided first."""

    DURING, AFTER = (datetime(2027, month, 1, tzinfo=UTC).timestamp() for month in (1, 2))

    @pytest.mark.parametrize(
        ("now", "flipped"), [(DURING, 0), (AFTER, 1), (None, 1)], ids=["during", "after", "now"]
    )
    def test_it_is_the_instant_of_the_replay_that_counts(self, now: float | None, flipped: int) -> None:
        until = "2027-01-31" if now else "2020-01-01"
        ending = policy_of(rule(1, "/**", "**") | {"until": until})
        assert replay([asked(EVERYBODY, "GET /a")], ending, now).flipped == flipped

    @pytest.mark.parametrize("request_", [None, REQUEST_FOLLOWS], ids=["none", "to follow"])
    def test_the_policy_that_decided_knew_only_what_counted_then(self, request_: RequestLike) -> None:
        """Then, it let in all; now, it lets in those that are asked about."""
        ending = policy_of(rule(1, "/**", "**") | {"until": "2027-01-31"}, rule(2, "/**", "**", "GET /v1/**"))
        decided = ending.decide(SpiffeId.parse(SHOP), "pay", request_, now=self.DURING)
        replayed = replay([line_of(decided, time=self.DURING)], ending, self.AFTER)
        assert causes(replayed) == {Cause.REQUESTS_UNKNOWN: 1}
        assert replay([line_of(decided, time=self.DURING)], ending, self.DURING).replayed == 1


GOOD = asked(EVERYBODY, "GET /a")
REFUSED = line_of(Decision(allowed=False, reason=Reason.EXPIRED, name=SHOP))
LONG = "x" * 300

SKIPPED = [
    pytest.param(b"", Cause.EMPTY, "", id="empty"),
    pytest.param(b" \r\n", Cause.EMPTY, "", id="blank"),
    pytest.param(b"junk\n", Cause.NOT_JSON, "", id="junk"),
    pytest.param(b"\xff\xfe\n", Cause.NOT_JSON, "", id="no UTF-8"),
    pytest.param(b"[]\n", Cause.NOT_JSON, "", id="a list"),
    pytest.param(b"[" * 60_000 + b"\n", Cause.NOT_JSON, "", id="deep nesting"),
    pytest.param(b'{"a":' + b"9" * 6000 + b"}\n", Cause.NOT_JSON, "", id="a huge number"),
    pytest.param(GOOD[:-20], Cause.NOT_JSON, "is cut off", id="torn"),
    pytest.param(b"\x1f\x8b\x08\x00\n", Cause.NOT_JSON, "gzip", id="gzip"),
    pytest.param(b" " * MAX_LINE_BYTES + b"{", Cause.TOO_LONG, "", id="too long"),
    pytest.param(b'{"level": "INFO", "message": "x"}\n', Cause.OTHER_RECORD, "", id="a log record"),
    pytest.param(
        edited(GOOD, "event.name", ["x"]), Cause.OTHER_RECORD, "", id="an event name that is a list"
    ),
    pytest.param(edited(GOOD, "event.name", "x"), Cause.OTHER_RECORD, "", id="another event"),
    pytest.param(REFUSED, Cause.REFUSED_BEFORE, "expired", id="a refused chain"),
    pytest.param(
        line_of(Decision(allowed=False, reason=Reason.INTERNAL_ERROR)),
        Cause.REFUSED_BEFORE,
        "internal_error",
        id="an internal error",
    ),
    pytest.param(
        line_of(Decision(allowed=True, reason=Reason.EXPECTED, name=SHOP)),
        Cause.OF_A_SERVER,
        "expected",
        id="a server",
    ),
    pytest.param(
        line_of(Decision(allowed=False, reason=Reason.UNEXPECTED_SERVER, name=SHOP)),
        Cause.OF_A_SERVER,
        "unexpected_server",
        id="another server",
    ),
    pytest.param(
        line_of(Decision(allowed=False, reason=Reason.NO_POLICY, name=SHOP, target="pay"), environment=None),
        Cause.NO_POLICY,
        "no_policy",
        id="no policy",
    ),
    pytest.param(
        line_of(EVERYBODY.decide(SpiffeId.parse(SHOP), "pay"), environment="dev"),
        Cause.OTHER_ENVIRONMENT,
        "'dev'",
        id="another environment",
    ),
    pytest.param(asked(EVERYBODY, peer=f"{SHOP}{LONG}"), Cause.CUT, "spiffe_id", id="a long name"),
    pytest.param(asked(EVERYBODY, target=LONG), Cause.CUT, "meshid.target", id="a long target"),
    pytest.param(asked(EVERYBODY, f"GET /{LONG}"), Cause.CUT, "meshid.request", id="a long request"),
    pytest.param(
        edited(GOOD, "meshid.target", None), Cause.WRONG_EVENT, "meshid.target is missing", id="no target"
    ),
    pytest.param(
        edited(GOOD, "meshid.target", "/pay"), Cause.WRONG_EVENT, "not '/pay'", id="a target that is none"
    ),
    pytest.param(
        edited(GOOD, "time", 3), Cause.WRONG_EVENT, "time is not a string", id="a time that is a number"
    ),
    pytest.param(edited(GOOD, "time", "noon"), Cause.WRONG_EVENT, "time is 'noon'", id="a time that is none"),
    pytest.param(
        edited(GOOD, "time", "2027-01-15T08:00:00"),
        Cause.WRONG_EVENT,
        "time is '2027-01-15T08:00:00'",
        id="a time of nowhere",
    ),
    pytest.param(edited(GOOD, "meshid.reason", "luck"), Cause.WRONG_EVENT, "'luck'", id="an unknown reason"),
    pytest.param(
        edited(GOOD, "meshid.decision", True), Cause.WRONG_EVENT, "meshid.decision", id="a bare verdict"
    ),
    pytest.param(
        edited(GOOD, "deployment.environment.name", None),
        Cause.WRONG_EVENT,
        "is missing",
        id="no environment",
    ),
    pytest.param(
        edited(GOOD, "security_rule.version", None),
        Cause.WRONG_EVENT,
        "version is missing",
        id="no policy hash",
    ),
    pytest.param(
        edited(GOOD, "security_rule.name", 1), Cause.WRONG_EVENT, "not a string", id="a rule of no name"
    ),
    pytest.param(edited(GOOD, "meshid.request", ["GET /"]), Cause.WRONG_EVENT, "meshid.request", id="a list"),
    pytest.param(
        edited(GOOD, "meshid.request", "GET /a/.."), Cause.WRONG_EVENT, "dot segment", id="no request"
    ),
]


class TestSkipped:
    @pytest.mark.parametrize(("line", "cause", "what"), SKIPPED)
    def test_a_line_that_cannot_be_replayed_is_counted_with_its_cause(
        self, line: bytes, cause: Cause, what: str
    ) -> None:
        replayed = replay([GOOD, line, GOOD], EVERYBODY)
        assert (replayed.lines, replayed.replayed) == (3, 2)
        assert causes(replayed) == {cause: 1}
        (example,) = replayed.skipped[0].examples
        assert example.line == 2
        assert what in example.what

    def test_a_name_that_is_not_a_spiffe_id_is_a_wrong_event(self) -> None:
        line = edited(GOOD, "meshid.peer.spiffe_id", "shop")
        assert causes(replay([line], EVERYBODY)) == {Cause.WRONG_EVENT: 1}

    def test_only_the_first_few_are_shown_and_the_most_frequent_cause_first(self) -> None:
        replayed = replay([b"", *[b"junk\n"] * (MAX_EXAMPLES + 2)], EVERYBODY)
        assert list(causes(replayed).items()) == [(Cause.NOT_JSON, MAX_EXAMPLES + 2), (Cause.EMPTY, 1)]
        assert [each.line for each in replayed.skipped[0].examples] == [2, 3, 4]

    @given(lines=st.lists(st.binary(max_size=80)))
    def test_whatever_is_in_a_log_each_line_is_counted_once(self, lines: list[bytes]) -> None:
        replayed = replay(lines, EVERYBODY)
        assert replayed.lines == len(lines)
        assert replayed.replayed + sum(causes(replayed).values()) == len(lines)

    @given(
        field=st.sampled_from(sorted(json.loads(GOOD))),
        value=st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=3
        ),
    )
    def test_whatever_is_in_a_field_the_line_is_counted_once(self, field: str, value: object) -> None:
        replayed = replay([json.dumps(json.loads(GOOD) | {field: value}).encode()], EVERYBODY)
        assert replayed.replayed + sum(causes(replayed).values()) == 1


SOURCES = st.sampled_from(["/**", "/ns/shop/**", "/ns/ci/*"])
TARGETS = st.sampled_from(["**", "pay", "p*"])
CONDITIONS = st.sampled_from([(), (), ("GET /a",), ("* /a/**", "PUT /b")])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    def rules(kind: str) -> list[dict[str, object]]:
        numbers = range(draw(st.integers(0, 2)))
        made = [
            rule(each, draw(SOURCES), draw(TARGETS), *draw(CONDITIONS), observe=draw(st.booleans()))
            for each in numbers
        ]
        return [each | {"id": f"{kind}{each['id']}"} for each in made]

    return policy_of(*rules("a"), deny=rules("d"), observe=draw(st.booleans()))


QUESTIONS = st.tuples(
    st.sampled_from([SHOP, "spiffe://prod.example.org/ns/ci/x", "spiffe://dev.example.org/ns/shop/sa/api"]),
    st.sampled_from(["pay", "other"]),
    st.sampled_from([None, REQUEST_FOLLOWS, "GET /a", "PUT /b", "GET /a/%62", UNSAFE, " /a", "GET /a/."]),
)


class TestTruth:
    @given(old=policies(), new=policies(), question=QUESTIONS)
    def test_a_flip_has_what_the_policy_says_when_it_is_asked_the_same(
        self, old: Policy, new: Policy, question: tuple[str, str, RequestLike]
    ) -> None:
        name, target, request = question
        peer = SpiffeId.parse(name)
        replayed = replay([asked(old, request, peer=name, target=target)], new)
        flips = old.decide(peer, target, request).allowed != new.decide(peer, target, request).allowed
        if replayed.replayed:
            assert replayed.flipped == flips
        else:
            assert request is None or request is REQUEST_FOLLOWS
            alone, before = new.decide(peer, target), new.decide(peer, target, REQUEST_FOLLOWS)
            assert alone.allowed != before.allowed

    @given(policy=policies(), questions=st.lists(QUESTIONS))
    def test_the_policy_that_decided_flips_nothing_and_skips_nothing(
        self, policy: Policy, questions: list[tuple[str, str, RequestLike]]
    ) -> None:
        lines = [asked(policy, request, peer=peer, target=target) for peer, target, request in questions]
        replayed = replay(lines, policy)
        assert (replayed.replayed, replayed.flipped, replayed.skipped) == (len(lines), 0, ())


class TestTokens:
    """Whom a token named is in the log; that it was valid is believed."""

    RULE: ClassVar[dict[str, Any]] = {
        "effect": "allow",
        "from": ["@both"],
        "to": ["pay"],
        "needs_token": True,
    }
    PEER = "spiffe://prod.example.org/a"

    def policy(self, *names: str) -> Policy:
        peers = [peer for peer in ALIASES if peer["name"] in names]
        rules = [self.RULE] if "both" in names else []
        return named_policy_of(document_of(rules, peers, ["cluster"]))

    def line(self, policy: Policy, principal: str = "ns/a", binding: str = "none") -> bytes:
        token = TokenName("cluster", principal, is_bound=binding != "none")
        line = line_of(policy.decide(SpiffeId.parse(self.PEER), "pay", "GET /r", token=token))
        fields = {JWT_ISSUER: "cluster", JWT_PRINCIPAL: principal, JWT_BINDING: binding}
        return json.dumps(json.loads(line) | fields).encode()

    def test_a_peer_is_asked_about_with_its_token(self) -> None:
        policy = self.policy("both")
        replayed = replay([self.line(policy), self.line(policy, binding="tls-key")], policy)
        assert (replayed.replayed, replayed.flipped) == (2, 0)
        (flip,) = replay([self.line(policy)], self.policy("token")).flips
        assert flip.now.reason is Reason.TOKEN_DISAGREES

    def test_a_disagreement_may_end(self) -> None:
        policy = self.policy("token")
        (flip,) = replay([self.line(policy)], self.policy("both")).flips
        assert (flip.was.reason, flip.now.reason) == (Reason.TOKEN_DISAGREES, Reason.ALLOWED)
        without = edited(self.line(policy), JWT_ISSUER, None)
        assert causes(replay([without], self.policy("both"))) == {Cause.REFUSED_BEFORE: 1}

    @pytest.mark.parametrize(
        ("field", "value", "cause"),
        [
            pytest.param(JWT_BINDING, "glue", Cause.WRONG_EVENT, id="binding"),
            pytest.param(JWT_PRINCIPAL, None, Cause.WRONG_EVENT, id="no principal"),
            pytest.param(JWT_PRINCIPAL, "x" * 300, Cause.CUT, id="cut"),
            pytest.param(JWT_PRINCIPAL, "\\xe4", Cause.WRONG_EVENT, id="escaped"),
        ],
    )
    def test_a_token_that_cannot_be_read_back(self, field: str, value: object, cause: Cause) -> None:
        policy = self.policy("both")
        assert causes(replay([edited(self.line(policy), field, value)], policy)) == {cause: 1}


def test_memory_does_not_grow_with_the_log() -> None:
    line = asked(EVERYBODY, "GET /v1/x")

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert replay((bytes(bytearray(line)) for _ in range(count)), NOBODY).flipped == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(5_000) < peak(500) + 100 * len(line)


class TestLines:
    def test_lines_are_those_of_the_file(self) -> None:
        assert list(lines_of(io.BytesIO(b"a\n\nb\r\nc"))) == [b"a\n", b"\n", b"b\r\n", b"c"]

    @pytest.mark.parametrize("extra", [1, 2, MAX_LINE_BYTES, 3 * MAX_LINE_BYTES + 7])
    @pytest.mark.parametrize("end", [b"\nnext\n", b""], ids=["in the middle", "at the end"])
    def test_of_a_line_that_is_too_long_only_the_beginning_is_kept(self, extra: int, end: bytes) -> None:
        long = b"x" * (MAX_LINE_BYTES + extra)
        first, *rest = lines_of(io.BytesIO(long + end))
        assert len(first) == MAX_LINE_BYTES + 1
        assert rest == ([b"next\n"] if end else [])
        assert causes(replay([first], EVERYBODY)) == {Cause.TOO_LONG: 1}

    def test_the_longest_line_is_kept(self) -> None:
        longest = b"x" * (MAX_LINE_BYTES - 1) + b"\n"
        assert list(lines_of(io.BytesIO(longest + b"y\n"))) == [longest, b"y\n"]

    def test_no_event_is_too_long(self) -> None:
        hostile = "\U0001f600" * 10_000
        decision = Decision(
            allowed=False,
            reason=Reason.NO_RULE,
            rule=hostile,
            policy_hash=hostile,
            name=hostile,
            target=hostile,
            request=hostile[:256],
            observed=(hostile,),
            detail=hostile[:256],
        )
        assert len(line_of(decision, environment=hostile)) < MAX_LINE_BYTES


def test_what_a_mesh_logs_can_be_replayed(prod_ca: CA, clock: Clock) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("meshid.audit")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        mesh = Mesh(bundles=BundleSet([prod_ca.bundle()]), policy=EVERYBODY, service="pay", clock=clock)
        peer = mesh.admit(prod_ca.issue("/ns/shop/sa/api").chain)
        mesh.check(peer, request="GET /a")
        mesh.check(peer, request=UNSAFE)
        with pytest.raises(PeerRejected):
            mesh.admit(CA("prod.example.org").issue("/ns/shop/sa/api").chain)
        logger.warning("something else")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    replayed = replay(stream.getvalue().encode().splitlines(keepends=True), NOBODY)
    assert (replayed.lines, replayed.replayed, replayed.flipped) == (5, 3, 2)
    assert causes(replayed) == {Cause.REFUSED_BEFORE: 1, Cause.OTHER_RECORD: 1}


def test_a_replay_as_plain_data() -> None:
    lines = [asked(EVERYBODY, "GET /v1/x"), asked(EVERYBODY, "GET /v1/y"), b"nothing"]
    replayed = replay(lines, NOBODY)
    (flip,) = replayed.flips
    assert json.loads(json.dumps(replayed.as_dict())) == {
        "enough": True,
        "lines": 3,
        "replayed": 2,
        "flipped": 2,
        "flips": [
            {
                "spiffe_id": SHOP,
                "target": "pay",
                "was": {"verdict": "admitted", "reason": "allowed", "rule": "r1", "detail": ""},
                "now": {"verdict": "refused", "reason": "no_rule", "rule": None, "detail": flip.now.detail},
                "count": 2,
                "first": "2027-01-15 08:00:00+00:00",
                "last": "2027-01-15 08:00:00+00:00",
                "requests": [{"request": "GET /v1/x", "count": 1}, {"request": "GET /v1/y", "count": 1}],
            }
        ],
        "unlisted": 0,
        "skipped": [
            {
                "cause": "not_json",
                "meaning": Cause.NOT_JSON.meaning,
                "count": 1,
                "examples": [{"line": 3, "what": "it is the last one, and is cut off"}],
            }
        ],
        "environment": "prod",
        "policy_hash": NOBODY.hash,
    }
