"""The sentences of lint about what does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from meshid.policy.analysis.finding import FindingKind
from meshid.policy.rules import Rule
from meshid.support.quoting import quote, some_of

_FEW = 3


def never_matches(why: str) -> tuple[FindingKind, str]:
    """Say why something matches nobody anywhere."""
    return FindingKind.NEVER_MATCHES, f"it can never match: {why}"


def never_here(why: str) -> tuple[FindingKind, str]:
    """Say why something matches nobody in this environment."""
    return FindingKind.NOT_HERE, f"it matches nobody here: {why}"


def covered_by(rules: Sequence[Rule]) -> str:
    """Say what covers something."""
    return f"it is pointless, and can go: {by_rules(rules, 'cover')} it"


def of_entry(text: str, words: str) -> str:
    """Say of an entry what *words* say of "it"."""
    return f"{quote(text)}{words.removeprefix('it')}"


def by_rules(rules: Sequence[Rule], verb: str) -> str:
    """Say that rules do something, alone or together."""
    ids = [f'{rule.effect} rule "{rule.id}"' for rule in rules]
    if len(ids) == 1:
        return f"{ids[0]} {verb}s"
    shown = [*ids[:_FEW], *([f"{len(ids) - _FEW} more"] if len(ids) > _FEW else [])]
    return f"{', '.join(shown[:-1])} and {shown[-1]} together {verb}"


def some_names(names: Sequence[str]) -> str:
    """List a few names."""
    return some_of(names, _FEW, repr)
