"""Each verdict is what `decide` says of all peers at all targets of its cell: a small world is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import combinations, product
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.errors import PolicyTooComplex
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Policy, Request
from meshid.policy.analysis import budget
from meshid.policy.evidence import TokenName
from meshid.policy.report import contents
from meshid.policy.report.contents import Occasion, Report
from meshid.policy.report.verdicts import Verdict
from meshid.policy.rules import Rule, RuleSet
from meshid.reasons import Reason
from tests.helpers import named_world
from tests.helpers.small_world import OLD, PARTNER, PROD, policy_of

SEGMENTS = ["a", "b", "*", "a*"]
PATHS = [
    *(f"/{one}" for one in [*SEGMENTS, "**"]),
    *(f"/{one}/{two}" for one, two in product([*SEGMENTS, "**"], repeat=2)),
]
"""Of at most two segments, so that names of three are enough to tell any of them apart."""

WORDS = ["/" + "/".join(word) for n in (1, 2) for word in product(["a", "b", "ab", "c"], repeat=n)]
WORDS += [f"/{one}/c/{two}" for one, two in product(["a", "b", "ab", "c"], repeat=2)]
PEERS = [SpiffeId.parse(f"spiffe://{domain}{word}") for domain in (PROD, OLD, PARTNER) for word in WORDS]
PLACES = ["a", "b", "ab", "a/b", "b/b", "a/b/b", "b/b/b"]
BY_NAME = [
    *named_world.IDS,
    # One that no exception names.
    *(SpiffeId.parse(f"spiffe://{domain}/b/y") for domain in (PROD, OLD, PARTNER)),
]
REQUESTS = [
    None,
    *(
        Request.parse(f"{method} {path}")
        for method in ("GET", "PUT", "DELETE", "POST")
        for path in ("/", "/a", "/b", "/a/b", "/b/b")
    ),
]


def only(policy: Policy, effect: str) -> Policy:
    """Return a policy with the rules of one effect only."""
    return Policy(attrs.evolve(policy.rule_set, rules=tuple(r for r in policy.rules if r.effect == effect)))


def enforced(policy: Policy) -> Policy:
    """Return a policy whose observing rules decide."""
    rules = tuple(attrs.evolve(rule, observe=False) for rule in policy.rules)
    return Policy(attrs.evolve(policy.rule_set, rules=rules))


def verdict_of(answers: Collection[Collection[Reason]], could: Iterable[bool]) -> Verdict:
    """Return what is true, given what is decided of each peer at each target with each request.

    Args:
        answers: The reasons, for each peer at each target.
        could: Whether an allow rule would let in, of each access.
    """
    every = [reason for each in answers for reason in each]
    if Reason.ALLOWED not in every:
        is_denied = any(could) or (bool(every) and set(every) == {Reason.DENIED})
        return Verdict.DENIED if is_denied else Verdict.NO_RULE
    if set(every) == {Reason.ALLOWED}:
        return Verdict.ALLOWED
    return Verdict.REQUESTS if all(Reason.ALLOWED in each for each in answers) else Verdict.PARTLY


def expected(policy: Policy, row: str, column: str, peers: list[SpiffeId]) -> Verdict:
    """Ask for everything of a cell."""
    who, what = PeerPattern.parse(row), Pattern.parse(column)
    members = [peer for peer in peers if who.matches(peer, policy.environment.trust_domains)]
    pairs = list(product(members, filter(what.matches, PLACES)))
    answers = [[policy.decide(*pair, request).reason for request in REQUESTS] for pair in pairs]
    allowing = only(policy, "allow")
    return verdict_of(answers, (bool(allowing.decide(*p, request)) for p in pairs for request in REQUESTS))


def check(policy: Policy, peers: list[SpiffeId] = PEERS) -> None:
    """Compare each cell of a small policy, and each pair without a cell, with what is decided."""
    (made,) = Report.of([policy], Occasion(now=0.0)).matrices
    assert made.is_small
    for row, column in product(made.peers, made.targets):
        cell = made.cells.get((row, column))
        found = Verdict.NO_RULE if cell is None else cell.verdict
        assert found is expected(policy, row, column, peers), (row, column)
        if cell is not None:
            observes = any(each.observe for each in cell.behind)
            assert observes == (cell.if_enforced is not None)
        if cell is not None and cell.if_enforced is not None:
            assert cell.if_enforced is expected(enforced(policy), row, column, peers)


CONDITIONS: list[dict[str, list[str]]] = [
    {},
    {"http": ["DELETE /**"]},
    {"http": ["GET /**"]},
    {"http": ["* /a"]},
    {"http": ["* /**"]},
    {"not_http": ["GET /**"]},
    {"http": ["GET /a", "PUT /**"], "not_http": ["* /a"]},
]
FEW = [SpiffeId.parse(f"spiffe://{domain}/{name}") for domain in (PROD, OLD) for name in ("a", "b")]

SOME = [
    SpiffeId.parse(f"spiffe://{PROD}{path}")
    for path in ("/a", "/c", "/a/b", "/a/c", "/b/b", "/c/c", "/a/b/c")
]


def rules_of(effect: str, sources: list[str], target: str) -> list[dict[str, Any]]:
    return [
        {"effect": effect, "from": [source], "to": [target], **conditions}
        for source, conditions in product(sources, CONDITIONS)
    ]


class TestSmallWorlds:
    @pytest.mark.parametrize("source", ["/a", "/*", f"spiffe://{OLD}/a"])
    def test_each_pair_of_an_allow_and_a_deny(self, source: str) -> None:
        allows = rules_of("allow", [source], "a")
        for allow, deny in product(allows, rules_of("deny", ["/a", f"spiffe://{OLD}/*"], "*")):
            check(policy_of([allow, deny]), FEW)

    def test_two_denies_that_shut_out_only_together(self) -> None:
        """Each leaves a request; where both are in force, no request is left."""
        allow = {"effect": "allow", "from": ["/**"], "to": ["**"], "http": ["GET /**", "PUT /**"]}
        conditions = [{"http": [one]} for one in ("GET /**", "PUT /**", "PUT /a", "* /b")]
        for one, two in combinations(conditions, 2):
            for sources in (("/a/*", "/*/b"), ("/**", "/a/*"), ("/a/*", "/a/*")):
                denies = [
                    {"effect": "deny", "from": [source], "to": ["*"], **each}
                    for source, each in zip(sources, (one, two), strict=True)
                ]
                check(policy_of([allow, *denies]), SOME)

    @pytest.mark.slow
    @settings(max_examples=12)
    @given(st.data())
    def test_whatever_rules_there_are(self, data: st.DataObject) -> None:
        sources = st.builds(
            "{}{}".format,
            st.sampled_from(["", "", f"spiffe://{PARTNER}", f"spiffe://{PROD}"]),
            st.sampled_from(PATHS),
        )
        conditions = st.lists(
            st.sampled_from(["GET /a", "PUT /**", "GET /**", "* /a", "* /**", "* /*", "GET /a/b", "PUT /b"]),
            max_size=2,
            unique=True,
        )
        rule = st.fixed_dictionaries(
            {
                "effect": st.sampled_from(["allow", "allow", "deny"]),
                "from": st.lists(sources, min_size=1, max_size=2, unique=True),
                "not_from": st.lists(sources, max_size=2, unique=True),
                "to": st.lists(
                    st.sampled_from(["a", "b", "*", "a*", "**", "a/*"]), min_size=1, max_size=2, unique=True
                ),
                "http": conditions,
                "not_http": st.one_of(st.just([]), conditions),
                "observe": st.sampled_from([False, False, False, True]),
            }
        )
        check(policy_of(data.draw(st.lists(rule, min_size=1, max_size=4))))


class TestPeersByName:
    """Rows of certificates are about peers without a token; for "partly", with any that they may show."""

    @pytest.mark.slow
    @settings(max_examples=25)
    @given(named_world.documents())
    def test_each_cell(self, document: dict[str, Any]) -> None:
        policy = named_world.policy_of(document)
        reading = named_world.Reading(document)
        (made,) = Report.of([policy], Occasion(now=0.0)).matrices
        for row, column in product(made.peers, made.targets):
            cell = made.cells.get((row, column))
            found = Verdict.NO_RULE if cell is None else cell.verdict
            assert found is self.expected(policy, reading, row, column), (row, column)

    def expected(self, policy: Policy, reading: named_world.Reading, row: str, column: str) -> Verdict:
        own = policy.environment.trust_domains
        places = [
            each
            for each in (*named_world.PLACES, "other", "other/one")
            if Pattern.parse(column).matches(each)
        ]
        by_name = row.startswith("@")
        who = [
            (peer, token)
            for peer in BY_NAME
            for token in named_world.TOKENS
            if reading.refuses(peer, token) is None
            and (
                f"@{reading.name(peer, token)}" == row
                if by_name
                else PeerPattern.parse(row).matches(peer, own)
            )
        ]
        accesses = list(product(who, places, named_world.REQUESTS))
        lets_in = only(policy, "allow") if by_name else None

        def could(who: tuple[SpiffeId, TokenName | None], place: str, request: str | None) -> bool:
            peer, token = who
            if lets_in is not None:
                return bool(lets_in.decide(peer, place, request, token=token))
            return any(by_certificate(rule, policy, peer, token, place, request) for rule in policy.rules)

        answers = [
            [policy.decide(peer, place, each, token=token).reason for each in named_world.REQUESTS]
            for (peer, token), place in product(who, places)
            if by_name or token is None
        ]
        found = verdict_of(answers, (could(*each) for each in accesses))
        if found in {Verdict.DENIED, Verdict.NO_RULE} and any(
            could(*each) and policy.decide(each[0][0], *each[1:], token=each[0][1]) for each in accesses
        ):
            return Verdict.PARTLY
        return found


def by_certificate(  # noqa: PLR0913, PLR0917 - an access has so many parts
    rule: Rule, policy: Policy, peer: SpiffeId, token: TokenName | None, place: str, request: str | None
) -> bool:
    """Tell whether an allow rule lets a peer in because of its certificate, whatever name a token gives."""
    own = policy.environment.trust_domains
    return (
        rule.could_allow
        and any(each.matches(peer, own) for each in rule.known_by)
        and not rule.excepts(peer, own)
        and any(each.matches(place) for each in rule.targets)
        and (token is not None or not rule.needs_token)
        and (not rule.needs_request if request is None else rule.is_for(Request.parse(request)))
    )


class TestBudget:
    """What the rules have in common is bounded before it is paid, and said with the rules that cost most."""

    def test_denies_that_meet_in_too_many_ways_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(budget, "_STEPS", 20_000)
        allow = {"effect": "allow", "from": ["/**"], "to": ["**"], "http": [f"GET /{n}" for n in range(14)]}
        denies = [
            {"effect": "deny", "from": [f"/{'*/' * n}x/**"], "to": ["**"], "http": [f"GET /{n}"]}
            for n in range(14)
        ]
        with pytest.raises(PolicyTooComplex, match=r"most of them for 'r"):
            Report.of([policy_of([allow, *denies])], Occasion(now=0.0))

    def test_all_environments_share_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file with many environments costs no more than one budget."""
        made: list[tuple[RuleSet, ...]] = []

        def counted(*rules: RuleSet) -> budget.Budget:
            made.append(rules)
            return budget.Budget(*rules)

        monkeypatch.setattr(contents, "Budget", counted)
        policy = policy_of([{"effect": "allow", "from": ["/a"], "to": ["a"]}])
        Report.of([policy, policy], Occasion(now=0.0))
        # Lint looks at them, too.
        assert [len(each) for each in made] == [4]
