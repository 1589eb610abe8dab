"""The rules and the questions of the policy benchmark, the same for every engine.

A mesh of n rules has √n targets with √n rules each. A rule lets one peer reach one target;
one in a hundred has a wildcard in the middle. Targets have no wildcards, so that an engine
may be given only the rules of one target.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import NamedTuple

DOMAIN = "prod.example.org"
GROUPS = 8
"""Groups of eight questions: three about named peers and one about a robot, which are right;
two about peers that ask for another target and two about unknown peers, which are wrong."""

_ROBOT = 50  # the rule of each hundred that has a wildcard
_CALLS = 7  # targets that one peer may reach
_TEAM = 10  # peers of one namespace


class Rule(NamedTuple):
    """Who may reach what: a pattern of paths, and a target."""

    source: str
    target: str

    @property
    def is_wild(self) -> bool:
        """Whether it has a wildcard."""
        return "*" in self.source


class Question(NamedTuple):
    """A peer, the target that it asks for, and whether it may reach it."""

    path: str
    target: str
    allowed: bool


class Scene(NamedTuple):
    """Rules, and questions about them: of any four in a row, two are right."""

    rules: list[Rule]
    questions: list[Question]


def scene_of(size: int) -> Scene:
    """Make so many rules."""
    rules = [Rule(_source(number), _target(number, size)) for number in range(size)]
    return Scene(rules, list(_questions(size)))


def _questions(size: int) -> Iterator[Question]:
    chance = random.Random(size)  # noqa: S311 - every process must ask the same
    named = iter(chance.sample([each for each in range(size) if not _is_robot(each)], GROUPS * 7))
    robots = range(_ROBOT, size, 100)

    def right() -> Question:
        number = next(named)
        return Question(_source(number), _target(number, size), allowed=True)

    def elsewhere() -> Question:
        number = next(named)
        next_call = number - number % _CALLS + _CALLS
        return Question(_source(number), _target(next_call, size), allowed=False)

    def unknown() -> Question:
        number = next(named)
        return Question(f"{_source(number)}-unknown", _target(number, size), allowed=False)

    def robot(team: int) -> Question:
        number = chance.choice(robots)
        path = _source(number).replace("*", f"team-{team}")
        return Question(path, _target(number, size), allowed=True)

    for team in range(GROUPS):
        yield from (right(), elsewhere(), robot(team), unknown())
        yield from (right(), elsewhere(), right(), unknown())


def document(allow: list[Rule]) -> str:
    """Write rules as a policy of meshid, in JSON."""
    listed = [
        {"id": f"rule-{number}", "from": [rule.source], "to": [rule.target]}
        for number, rule in enumerate(allow)
    ]
    environments = {"prod": {"trust_domains": [DOMAIN]}}
    return json.dumps({"version": 1, "environments": environments, "allow": listed})


def _is_robot(number: int) -> bool:
    return number % 100 == _ROBOT


def _source(number: int) -> str:
    if _is_robot(number):
        return f"/ns/*/sa/robot-{number}"
    peer = number // _CALLS
    return f"/ns/team-{peer // _TEAM}/sa/api-{peer}"


def _target(number: int, size: int) -> str:
    return f"service-{number % math.isqrt(size)}"
