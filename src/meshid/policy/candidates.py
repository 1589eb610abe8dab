"""The rules about a peer and a target, and which of them are about a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshid.names.pattern_index import PatternIndex
from meshid.policy.nearness import NearbyRequests
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import ANY_METHOD, Rule


class Candidates:
    """The rules about a peer and a target, sorted by id, whatever the request."""

    __slots__ = ("_filed", "_for_all", "_nearby", "rules")

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self._for_all = [rule for rule in rules if not rule.needs_request]
        self._filed: tuple[_Conditions, _Conditions] | None = None
        self._nearby: NearbyRequests | None = None

    def about(self, request: RequestLike) -> Iterable[Rule]:
        """Return those of the rules that no request keeps from matching, sorted by id."""
        if request is REQUEST_FOLLOWS:
            return self.rules
        return self.matching(request) if isinstance(request, Request) else self._for_all

    def matching(self, request: Request) -> list[Rule]:
        """Return those of the rules that are about this request, too, sorted by id."""
        wanted, excepted = self._conditions()
        found = {rule.id: rule for rule in wanted.met_by(request)}
        for rule in excepted.met_by(request):
            found.pop(rule.id, None)
        return sorted((*self._for_all, *found.values()), key=lambda rule: rule.id)

    def nearest(self, request: RequestLike) -> Rule | None:
        """Return the one that comes nearest to a request that it is not about; None if there is no rule."""
        if not isinstance(request, Request):
            return next(iter(self.rules), None)
        wanted, excepted = self._conditions()
        left_out = {rule.id for rule in excepted.met_by(request)}
        if found := [rule for rule in wanted.met_by(request) if rule.id in left_out]:
            return min(found, key=lambda rule: rule.id)
        if self._nearby is None:
            self._nearby = NearbyRequests(self.rules)
        return self._nearby.nearest(request)

    def _conditions(self) -> tuple[_Conditions, _Conditions]:
        if self._filed is None:
            self._filed = _Conditions(self.rules), _Conditions(self.rules, excepting=True)
        return self._filed


class _Conditions:
    """What rules say of requests, found by a request.

    Args:
        rules: The rules.
        excepting: Whether what they leave out is meant.
    """

    __slots__ = ("_by_path", "_of_any")

    def __init__(self, rules: Iterable[Rule], *, excepting: bool = False) -> None:
        self._by_path: PatternIndex[list[tuple[str, Rule]]] = PatternIndex()
        # "All but some": what is left out is all that it says.
        self._of_any = [rule for rule in rules if rule.not_http and not (rule.http or excepting)]
        for rule in rules:
            for condition in rule.not_http if excepting else rule.http:
                filed = self._by_path.setdefault(condition.path, list[tuple[str, Rule]])
                filed.append((condition.method, rule))

    def met_by(self, request: Request) -> Iterator[Rule]:
        """Yield the rules that have a condition which a request meets."""
        yield from self._of_any
        for conditions in self._by_path.matching(request.path):
            yield from (rule for method, rule in conditions if method in {ANY_METHOD, request.method})


class NearMiss:
    """The allow rules that come nearest to matching a peer at a target, whatever the request.

    Args:
        groups: Those about this peer and this target: pairs of those that count and those that have ended.
        rule: Without any, the one that misses by least; None if none is near.
    """

    __slots__ = ("_groups", "_rule")

    def __init__(self, groups: Iterable[tuple[Candidates, Candidates]], rule: Rule | None) -> None:
        self._groups = groups
        self._rule = rule

    def to(self, request: RequestLike) -> Rule | None:
        """Return the one that comes nearest to a request."""
        for group in self._groups:
            # What lacks no request is nearer, even if it has ended.
            for candidates in group:
                if (rule := next(iter(candidates.about(request)), None)) is not None:
                    return rule
            for candidates in group:
                if (rule := candidates.nearest(request)) is not None:
                    return rule
        return self._rule
