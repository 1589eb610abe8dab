"""The budget of one analysis: steps, for all that it does together, and which rules they were spent on.

The rules of this module:

- A step is worth about a microsecond, whatever the input: what is long, or many, is charged by its size.
- It is charged before it is done. What is kept costs so many steps that the memory is bounded with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable

from meshid.errors import PolicyTooComplex
from meshid.policy.rules import Rule, RuleSet
from meshid.support.quoting import quote, some_of

_STEPS = 4_000_000
_STEPS_OF_A_RULE = 1_500
_NAMED = 3

_REMEMBERED = 1 << 25
"""About as many bytes of what is remembered."""

_ANSWER = 256
"""About as many bytes of an answer, beside its text and the patterns that it is about."""

_PATTERN = 8


class Budget:
    """Steps that an analysis may take.

    Args:
        rules: Everything that it looks at: more rules may cost more.
    """

    def __init__(self, *rules: RuleSet) -> None:
        self._steps = _STEPS + _STEPS_OF_A_RULE * sum(len(each.rules) for each in rules)
        self._left = self._steps
        self._before = self._steps
        self._spent: Counter[str] = Counter()
        self._rule: str | None = None
        self._known: dict[Hashable, str | None] = {}
        self._size = 0

    def turn_to(self, rule: Rule) -> None:
        """Say which rule the next steps are spent on."""
        self._book()
        self._rule = rule.id

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            PolicyTooComplex: If there are none left; with the rules that most were spent on.
        """
        self._left -= steps
        if self._left < 0:
            self._book()
            most = [rule for rule, _ in self._spent.most_common(_NAMED)]
            where = f", most of them for {some_of(most, _NAMED, quote)}" if most else ""
            msg = (
                f"no exact answer after {self._steps} steps{where}; write fewer entries or fewer wildcards"
                " there, or split the file"
            )
            raise PolicyTooComplex(msg)

    def _book(self) -> None:
        if self._rule is not None:
            self._spent[self._rule] += self._before - self._left
        self._before = self._left

    def remember(self, question: Hashable, size: int, answer: Callable[[], str | None]) -> str | None:
        """Return the answer to a question that may be asked again; as much is kept as the memory allows.

        Args:
            question: The question.
            size: How many patterns it is about.
            answer: Finds the answer.
        """
        if question in self._known:
            return self._known[question]
        found = answer()
        self._size += _ANSWER + _PATTERN * size + len(found or "")
        if self._size > _REMEMBERED:
            self._known.clear()
            self._size = 0
        self._known[question] = found
        return found
