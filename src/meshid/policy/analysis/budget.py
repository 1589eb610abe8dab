"""The budget of one analysis: steps, for all that it does together, and which rules they were spent on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

from meshid.errors import PolicyTooComplex
from meshid.policy.rules import Rule, RuleSet
from meshid.support.quoting import quote, some_of

_STEPS = 2_000_000
_STEPS_OF_A_RULE = 1_000
_NAMED = 3
_REMEMBERED = 65_536


class Budget:
    """Steps that an analysis may take.

    Args:
        rules: Everything that it looks at: more rules may cost more.
    """

    def __init__(self, *rules: RuleSet) -> None:
        self._steps = _STEPS + _STEPS_OF_A_RULE * sum(len(each.rules) for each in rules)
        self._left = self._steps
        self._spent: Counter[str] = Counter()
        self._rule: str | None = None
        self._known: dict[Hashable, str | None] = {}

    def turn_to(self, rule: Rule) -> None:
        """Say which rule the next steps are spent on."""
        self._rule = rule.id

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            PolicyTooComplex: If there are none left; with the rules that most were spent on.
        """
        self._left -= steps
        if self._rule is not None:
            self._spent[self._rule] += steps
        if self._left < 0:
            most = [rule for rule, _ in self._spent.most_common(_NAMED)]
            where = f", most of them for {some_of(most, _NAMED, quote)}" if most else ""
            msg = f"no exact answer after {self._steps} steps{where}; simplify the rules, or split the file"
            raise PolicyTooComplex(msg)

    def remember(self, question: Hashable, answer: Callable[[], str | None]) -> str | None:
        """Return the answer to a question that may be asked again; a bounded number of them is kept."""
        if question in self._known:
            return self._known[question]
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[question] = found = answer()
        return found
