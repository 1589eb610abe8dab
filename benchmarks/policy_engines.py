"""What an engine of the policy benchmark is; meshid's own, and the plain means of Python.

An engine is made with the rules, loads them, and turns a question into a call. What a call
makes anew is what a program must make for each decision.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from itertools import count, islice

from policy_scene import DOMAIN, Rule, Scene, document

from meshid import Policy, SpiffeId, TrustDomain
from meshid.policy.memory import REMEMBERED

Call = Callable[[], bool]


class Engine(ABC):
    """One way to decide."""

    package = ""

    def __init__(self, scene: Scene) -> None:
        """Write the rules as the engine reads them."""
        self.rules = scene.rules

    @abstractmethod
    def load(self) -> None:
        """Read the rules."""

    @abstractmethod
    def question(self, path: str, target: str) -> Call:
        """Return what asks whether the peer may reach the target."""

    def prepare(self, calls: Iterable[Call]) -> None:
        """Ask once before the time is taken, so that the processor has everything near."""
        for call in calls:
            call()


class SetLookUp(Engine):
    """What is least: the pair stands in a set. It knows the answers about wildcards beforehand."""

    def __init__(self, scene: Scene) -> None:
        """List what is allowed."""
        super().__init__(scene)
        allowed = [(each.path, each.target) for each in scene.questions if each.allowed]
        self._listed = [*self.rules, *allowed]

    def load(self) -> None:
        """Put it into the set."""
        self._pairs = set(map(tuple, self._listed))

    def question(self, path: str, target: str) -> Call:
        """Look the pair up."""
        pairs = self._pairs
        return lambda: (path, target) in pairs


class SeenBefore(Engine):
    """A policy of meshid, asked about peers and targets that it remembers."""

    package = "meshid"

    def __init__(self, scene: Scene) -> None:
        """Write JSON."""
        super().__init__(scene)
        self._document = document(self.rules)
        self._domain = TrustDomain(DOMAIN)
        self._known = cache(self._name)

    def load(self) -> None:
        """Read JSON."""
        self._policy = Policy.from_json(self._document, environment="prod")

    def question(self, path: str, target: str) -> Call:
        """Ask about the same peer as last time."""
        return self._call(self._known(path), target)

    def _call(self, name: SpiffeId, target: str) -> Call:
        decide = self._policy.decide
        return lambda: decide(name, target).allowed

    def _name(self, path: str) -> SpiffeId:
        return SpiffeId(self._domain, path)


class FirstTime(SeenBefore):
    """The same, asked about peers and targets that it does not remember."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._unknown = (f"/ns/unknown/sa/{number}" for number in count())

    def question(self, path: str, target: str) -> Call:
        """Ask about a peer whose name was just read."""
        return self._call(self._name(path), target)

    def prepare(self, calls: Iterable[Call]) -> None:  # noqa: ARG002 - nothing must be remembered
        """Ask about unknown peers until only they are remembered."""
        target = self.rules[0].target
        for path in islice(self._unknown, REMEMBERED):
            self._policy.decide(self._name(path), target)


class Union(Engine):
    """All rules as the branches of one regular expression."""

    def load(self) -> None:
        """Compile it."""
        branches = (f"{rule.target}:{regex(rule.source)}" for rule in self.rules)
        self._match = re.compile("|".join(branches)).fullmatch

    def question(self, path: str, target: str) -> Call:
        """Match target and path."""
        match = self._match
        return lambda: match(f"{target}:{path}") is not None


class UnionOfTarget(Engine):
    """One regular expression a target."""

    def load(self) -> None:
        """Compile them."""
        self._match = {
            target: re.compile("|".join(map(regex, sources))).fullmatch
            for target, sources in by_target(self.rules).items()
        }

    def question(self, path: str, target: str) -> Call:
        """Match the path."""
        match = self._match
        return lambda: target in match and match[target](path) is not None


def by_target(rules: Iterable[Rule]) -> dict[str, list[str]]:
    """File the sources of rules under their targets."""
    filed = defaultdict[str, list[str]](list)
    for rule in rules:
        filed[rule.target].append(rule.source)
    return filed


def regex(source: str) -> str:
    """Write a pattern of paths as a regular expression."""
    return "[^/]*".join(map(re.escape, source.split("*")))
