"""The verdict of a cell, exactly: what holds for all its peers at all its targets.

Most of it is one question, whether a region is empty. One is harder: whether each peer at each target has
*some* request that is allowed. There, a peer at a target counts as shut out if the deny rules about them
leave nothing of the requests of each allow rule about them. So the deny rules that a cell lies in only in
part are gone through together, as far as they meet; but only those that could shut an allow rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.box_index import BoxIndex
from meshid.policy.analysis.boxes import HANDSHAKE, Box, boxes_of, of_request
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.prove import Slice, cells_of, methods_told
from meshid.policy.analysis.regions import shortest_access
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, Naming, TokenState
from meshid.policy.methods import judged
from meshid.policy.named_peers import NamedPeer
from meshid.policy.report.asked import Asked, Judged
from meshid.policy.report.verdicts import RuleBehind, Verdict
from meshid.policy.rules import ANY_METHOD, Effect, Rule, RuleSet

_STEPS_OF_A_REGION = 30
"""In the measure of the budget: a step is one state of an automaton."""

_LOOK = 5
"""Steps to look at a box."""

_BOX = 30
"""Steps for a box that is made."""

_KEPT = 2
"""Steps for a deny rule of those that were looked at together, which is kept."""

_EVERYBODY = PeerPattern(None, ANYTHING)


class CellJudge:
    """Finds the verdicts of one environment.

    Args:
        rules: The rules, without those whose last day is over.
        budget: The budget of the whole report.
    """

    def __init__(self, rules: RuleSet, budget: Budget) -> None:
        self._own = rules.environment.trust_domains
        self._naming = Naming(rules)
        self._methods = judged(rules.rules)
        self._budget = budget
        self._rules = {rule.id: rule for rule in rules.rules}
        self._peers = {f"@{peer.name}": peer for peer in rules.peers}
        self._sets = {f"@{each.name}": each for each in rules.sets}
        # The conditions of a rule are alike for all its peers and targets: here, one box stands for those
        # that differ only by them.
        self._index = {
            effect: BoxIndex(
                (box for rule in rules.rules if rule.effect is effect for box in self._first_boxes(rule)),
                budget,
            )
            for effect in Effect
        }
        self._requests: dict[str, list[Box]] = {}
        self._open: dict[tuple[str, frozenset[str]], bool] = {}

    def asked(self, peers: str, target: Pattern) -> list[Asked]:
        """Return what a row asks about at a column: of a peer by name, each way to prove it; of a set, all.

        Args:
            peers: A pattern of peers; or, with an ``@``, a peer by name or a set.
            target: The pattern of the targets.
        """
        if not peers.startswith("@"):
            return [self._with_certificate(PeerPattern.parse(peers), target)]
        sources: tuple[PeerPattern, ...] = ()
        if peers in self._peers:
            members: tuple[NamedPeer, ...] = (self._peers[peers],)
        else:
            sources, members = self._sets[peers].sources, self._sets[peers].peers
        aliases = (*sources, *(each for peer in members for each in peer.spiffe))
        return [
            *(self._with_certificate(each, target) for each in aliases),
            *(
                Asked(ANYTHING, target, self._naming.known, peer.name)
                for peer in members
                if peer.name in self._naming.provable
            ),
        ]

    def _with_certificate(self, source: PeerPattern, target: Pattern) -> Asked:
        return Asked(source.path, target, source.domains(self._own))

    def judge(self, asked: list[Asked]) -> Judged | None:
        """Return what is found of a cell; None if no rule is about any of it.

        Raises:
            PolicyTooComplex: If the budget does not last.
        """
        denies, allows = (
            list({id(box): box for each in asked for box in self._meeting(effect, each)}.values())
            for effect in (Effect.DENY, Effect.ALLOW)
        )
        if not denies and not allows:
            return None
        if any(box.rule.needs_token for box in allows):
            denies += self._denies_by_token(asked)
        boxes = [*denies, *allows]
        # For each box, whether it is whole.
        self._spend_on(boxes, sum(len(each.domains) for each in asked))
        verdict = self._verdict(asked, _enforced(allows), _enforced(denies))
        observes = any(box.rule.observe for box in boxes)
        if_enforced = self._verdict(asked, allows, denies) if observes else None
        of_rules: dict[str, list[Box]] = {}
        for box in boxes:
            of_rules.setdefault(box.rule.id, []).append(box)
        behind = sorted(self._behind(asked, each) for each in of_rules.values())
        return Judged(verdict, tuple(behind), if_enforced)

    def _behind(self, asked: list[Asked], boxes: list[Box]) -> RuleBehind:
        rule = boxes[0].rule
        self._budget.spend(len(rule.not_sources) * len(asked))
        return RuleBehind(
            rule.effect is Effect.ALLOW,
            rule.id,
            self._is_whole(asked, boxes),
            rule.observe,
            tuple(it for it in rule.not_sources if any(it.path.intersects(each.path) for each in asked)),
        )

    # -- Which boxes ------------------------------------------------------------

    def _first_boxes(self, rule: Rule) -> Iterator[Box]:
        for box in boxes_of(attrs.evolve(rule, http=rule.http[:1]), self._budget):
            yield attrs.evolve(box, rule=rule)

    def _near(self, effect: Effect, asked: Asked) -> Iterator[Box]:
        index = self._index[effect]
        if asked.by_token is not None:
            return index.named(asked.by_token, asked.target)
        return index.by_certificate(asked.path, asked.target)

    def _meeting(self, effect: Effect, asked: Asked) -> Iterator[Box]:
        for box in self._near(effect, asked):
            self._budget.turn_to(box.rule)
            self._spend_on([box], len(asked.domains))
            if any(self._meets(asked, domain, box) for domain in asked.domains):
                yield box

    def _meets(self, asked: Asked, domain: TrustDomain, box: Box) -> bool:
        if not box.is_in(domain, self._own):
            return False
        return not self._is_empty(asked, domain, (asked.extent, self._extent(box, domain)), ())

    def _extent(self, box: Box, domain: TrustDomain) -> Extent:
        """Return the peers and targets of a box, whatever its requests."""
        return box.extent(domain, self._own, HANDSHAKE)

    def _is_empty(
        self, asked: Asked, domain: TrustDomain, inside: tuple[Extent, ...], outside: tuple[Extent, ...]
    ) -> bool:
        self._budget.spend(_STEPS_OF_A_REGION + len(outside))
        region = Slice(domain, HANDSHAKE, asked.state, self._naming).region(inside, outside)
        return shortest_access([region], self._budget) is None

    def _in_state(self, boxes: Iterable[Box], asked: Asked, domain: TrustDomain) -> list[Box]:
        return [box for box in boxes if box.is_in(domain, self._own) and box.is_with(asked.state)]

    def _is_whole(self, asked: list[Asked], boxes: list[Box]) -> bool:
        return all(
            any(
                box.is_in(domain, self._own) and self._extent(box, domain).contains(each.extent)
                for box in boxes
            )
            for each in asked
            for domain in each.domains
        )

    def _denies_by_token(self, asked: list[Asked]) -> list[Box]:
        """Return the denies of whoever has a token of a name, which peers of a row of certificates may."""
        found = {
            id(box): box
            for each in asked
            if each.by_token is None
            for box in self._index[Effect.DENY].intersecting(each.path, each.target)
            if box.by_token is not None
        }
        return list(found.values())

    def _alike(self, first: Box) -> list[Box]:
        """Return the boxes of a rule that differ only by their conditions."""
        self._budget.spend(_BOX * len(first.rule.http))
        found = [of_request(first, k, each.method, each.path) for k, each in enumerate(first.rule.http)]
        return found or [first]

    def _spend_on(self, boxes: list[Box], times: int) -> None:
        """Pay for a look at each of some boxes, with its exceptions."""
        holes = sum(len(each.rule.not_sources) + len(each.rule.not_http) for each in boxes)
        self._budget.spend((_LOOK * len(boxes) + holes) * times)

    # -- The verdict ------------------------------------------------------------

    def _verdict(self, asked: list[Asked], allows: list[Box], denies: list[Box]) -> Verdict:
        parts = [(each, domain) for each in asked for domain in each.domains]
        if not any(self._lets_anybody_in(each, allows, denies) for each in asked):
            if denies and (
                any(self._lets_anybody_in(each, allows, []) for each in asked)
                or all(self._are_denied(*part, denies) for part in parts)
            ):
                return Verdict.DENIED
            return Verdict.NO_RULE
        if any(self._is_anybody_shut_out(*part, allows, denies) for part in parts):
            return Verdict.PARTLY
        if all(self._are_let_in_at_once(*part, allows, denies) for part in parts):
            return Verdict.ALLOWED
        return Verdict.REQUESTS

    def _lets_anybody_in(self, asked: Asked, allows: list[Box], denies: list[Box]) -> bool:
        against = [box for deny in denies for box in self._alike(deny)]
        for allow in (box for first in allows for box in self._alike(first)):
            self._budget.turn_to(allow.rule)
            self._spend_on(against, 1)
            told = methods_told(allow, against, self._methods)
            states = list(self._naming.states(allow, against)) if asked.by_token is None else [asked.state]
            self._budget.spend(len(asked.domains) * len(states) * len(told))
            for cell in cells_of(allow, asked.domains, self._naming, told, states):
                self._budget.spend(_STEPS_OF_A_REGION + len(against))
                region = cell.region(
                    (asked.extent, allow.extent(cell.domain, self._own, cell.method)),
                    self._of(against, cell.domain, cell.method, cell.state),
                )
                if shortest_access([region], self._budget) is not None:
                    return True
        return False

    def _are_denied(self, asked: Asked, domain: TrustDomain, denies: list[Box]) -> bool:
        """Tell whether each access is denied, whether a rule would allow it or not."""
        against = [box for deny in denies for box in self._alike(deny)]
        return all(
            shortest_access(
                [
                    Slice(domain, method, asked.state, self._naming).region(
                        (asked.extent,), self._of(against, domain, method, asked.state)
                    )
                ],
                self._budget,
            )
            is None
            for method in methods_told(against[0], against, self._methods)
        )

    def _of(
        self, boxes: list[Box], domain: TrustDomain, method: str, state: TokenState
    ) -> tuple[Extent, ...]:
        self._spend_on(boxes, 1)
        return tuple(
            box.extent(domain, self._own, method)
            for box in boxes
            if box.is_of(domain, self._own, method, state)
        )

    def _are_let_in_at_once(
        self, asked: Asked, domain: TrustDomain, allows: list[Box], denies: list[Box]
    ) -> bool:
        """Tell whether each access is allowed; where no request is needed, none is denied."""
        if any(self._meets(asked, domain, deny) for deny in self._in_state(denies, asked, domain)):
            return False
        at_once = [
            self._extent(box, domain)
            for box in self._in_state(allows, asked, domain)
            if not box.rule.needs_request
        ]
        return self._is_empty(asked, domain, (asked.extent,), tuple(at_once))

    # -- Whether somebody is shut out ---------------------------------------------

    def _is_anybody_shut_out(
        self, asked: Asked, domain: TrustDomain, allows: list[Box], denies: list[Box]
    ) -> bool:
        """Tell whether one of the peers has, at one of the targets, no request that is allowed."""
        self._spend_on([*allows, *denies], 1)
        allows = self._in_state(allows, asked, domain)
        denies = self._in_state(denies, asked, domain)
        always = frozenset(
            deny.rule.id for deny in denies if self._extent(deny, domain).contains(asked.extent)
        )
        cutting = self._cutting(allows, [deny for deny in denies if deny.rule.id not in always], always)
        waiting: list[tuple[int, tuple[Box, ...]]] = [(0, ())]
        while waiting:
            at, met = waiting.pop()
            against = always | {deny.rule.id for deny in met}
            self._spend_on(allows, 1)
            inside = (asked.extent, *(self._extent(deny, domain) for deny in met))
            left = tuple(
                self._extent(allow, domain) for allow in allows if self._is_open(allow.rule, against)
            )
            if not self._is_empty(asked, domain, inside, left):
                return True
            if met and self._is_empty(asked, domain, inside, ()):
                continue
            more = [n for n in range(at, len(cutting)) if cutting[n].rule.id not in against]
            self._budget.spend(len(more) * (1 + len(met)))
            waiting += [(n + 1, (*met, cutting[n])) for n in more]
        return False

    def _cutting(self, allows: list[Box], denies: list[Box], always: frozenset[str]) -> list[Box]:
        """Return the denies that may shut one of the allows, some of them together."""
        every = always | {deny.rule.id for deny in denies}
        rules = {allow.rule.id: allow.rule for allow in allows}.values()
        shut = [rule for rule in rules if self._is_open(rule, always) and not self._is_open(rule, every)]
        self._budget.spend(
            sum(1 + len(deny.rule.http) for deny in denies) * sum(1 + len(rule.http) for rule in shut)
        )
        found = [deny for deny in denies if any(_have_requests_in_common(deny.rule, rule) for rule in shut)]
        return sorted(found, key=lambda deny: deny.rule.needs_request)

    def _is_open(self, allow: Rule, denies: frozenset[str]) -> bool:
        """Tell whether deny rules leave any request of an allow rule, where they all match."""
        key = (allow.id, denies)
        if key not in self._open:
            self._budget.spend(_KEPT * (1 + len(denies)))
            self._open[key] = self._leave_a_request(allow, [self._rules[each] for each in denies])
        return self._open[key]

    def _leave_a_request(self, allow: Rule, denies: list[Rule]) -> bool:
        if not all(deny.needs_request for deny in denies):
            return False
        against = [box for deny in denies for box in self._requests_of(deny)]
        domain = self._own[0]
        for box in self._requests_of(allow):
            self._spend_on(against, 1)
            for method in methods_told(box, against, self._methods):
                if method != HANDSHAKE and box.is_for(method):
                    outside = self._of(against, domain, method, NO_TOKEN)
                    region = Slice(domain, method, NO_TOKEN, self._naming).region(
                        (box.extent(domain, self._own, method),), outside
                    )
                    if shortest_access([region], self._budget) is not None:
                        return True
        return False

    def _requests_of(self, rule: Rule) -> list[Box]:
        """Return the boxes of the requests that a rule is about, of whatever peers and targets."""
        if rule.id not in self._requests:
            bare = attrs.evolve(
                rule,
                sources=(_EVERYBODY,),
                peers=(),
                sets=(),
                not_sources=(),
                targets=(ANYTHING,),
                needs_token=False,
            )
            self._requests[rule.id] = list(boxes_of(bare, self._budget))
        return self._requests[rule.id]


def _enforced(boxes: list[Box]) -> list[Box]:
    return [box for box in boxes if not box.rule.observe]


def _have_requests_in_common(one: Rule, two: Rule) -> bool:
    """Tell whether two rules may be about the same request, but for their exceptions."""
    if not one.http or not two.http:
        return True
    return any(
        (mine.method == its.method or ANY_METHOD in {mine.method, its.method})
        and mine.path.intersects(its.path)
        for mine in one.http
        for its in two.http
    )
