"""A diff in words: what a reviewer of a pull request reads, grouped by rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from meshid.policy.rules import Effect
from meshid.support.quoting import some_of

if TYPE_CHECKING:
    from meshid.policy.analysis.policy_diff import Area, Change, PolicyDiff, Unchanged

ALL_REQUESTS = ("* /**",)
_FEW = 8


def lines_of(diff: PolicyDiff) -> Iterator[str]:
    """Yield the lines of a diff."""
    before, after = diff.environments
    scope = f"in {before!r}" if before == after else f"from {before!r} to {after!r}, each with its own peers"
    yield f"{'nothing changes' if diff.is_empty else 'changes'} {scope}"
    if diff.observes[1] and not diff.observes[0]:
        yield "  the new policy only observes: it lets EVERY verified peer in"
    if diff.observes[0] and not diff.observes[1]:
        yield "  the old policy only observed: peers that no rule allows are refused from now on"
    groups: dict[tuple[str, Effect, str], list[str]] = {}
    for is_gain, change in chain(
        ((True, each) for each in diff.gains), ((False, each) for each in diff.losses)
    ):
        lines = groups.setdefault((change.rule, change.effect, change.status), [])
        lines += _about(change, is_gain=is_gain)
    for (rule, effect, status), lines in sorted(groups.items()):
        yield f'  {effect} "{rule}"{_STATUS[status]}'
        yield from lines
    yield from (f"  ~ {each}" for each in (*diff.names, *diff.ends, *diff.notes))
    yield f"  policy {diff.hashes[0]} -> {diff.hashes[1]}"


_STATUS = {
    "new": " (new)",
    "gone": " (gone)",
    "edited": "",
    "ended": " (its last day is over)",
    "in force again": " (in force again)",
    "the same": " (the rule itself is the same)",
}


def _about(change: Change, *, is_gain: bool) -> Iterator[str]:
    yield f"    {'+' if is_gain else '-'} {_area(change.area)}{_why(change, is_gain=is_gain)}"
    yield from (f"        except {_kept(each, is_gain=is_gain)}" for each in change.unchanged[:_FEW])
    if len(change.unchanged) > _FEW:
        more = dict.fromkeys(f'{each.effect} "{each.rule}"' for each in change.unchanged[_FEW:])
        yield f"        except what {some_of(list(more), _FEW)} {_verb(list(more), 'say')} as well"
    if change.reached_without_token:
        reach = "already reached" if is_gain else "still reach"
        yield f"        except for peers that {reach} it without a token"
    yield f"        such as {change.example}"


def _why(change: Change, *, is_gain: bool) -> str:
    if not change.allowed_by:
        return ""
    rules = f"{some_of(change.allowed_by, _FEW, _RULE)} {_verb(change.allowed_by, 'allow')}"
    if change.area.peers:
        return f", which {rules}"
    judged = "judged from now on" if is_gain else "no longer judged"
    return f": this rule {'names' if is_gain else 'named'} the method, so that it is {judged}; {rules} it"


_RULE = '"{}"'.format


def _verb(rules: Sequence[str], verb: str) -> str:
    return verb if len(rules) > 1 else f"{verb}s"


def _kept(each: Unchanged, *, is_gain: bool) -> str:
    if each.effect is Effect.ALLOW:
        why = "allowed before" if is_gain else "still allowed"
    else:
        why = "still denied" if is_gain else "denied before"
    return f'{_area(each.area)}: {why} by "{each.rule}"'


def _area(area: Area) -> str:
    peers = some_of(area.peers, _FEW)
    if area.only_peers:
        peers = f"{some_of(area.only_peers, _FEW)} of {peers}"
    if area.not_peers:
        peers += f" but not {some_of(area.not_peers, _FEW)}"
    if not area.peers:
        return some_of(area.requests, _FEW)
    return f"{peers} -> {some_of(area.targets, _FEW)}{_requests(area)}"


def _requests(area: Area) -> str:
    if not area.requests:
        return " for connections without requests"
    is_all = area.requests == ALL_REQUESTS and not (area.only_requests or area.not_requests)
    if is_all and area.connections:
        return ""
    told = "all requests" if area.requests == ALL_REQUESTS else some_of(area.requests, _FEW)
    if area.only_requests:
        of = "" if area.requests == ALL_REQUESTS else f" of {told}"
        told = f"{some_of(area.only_requests, _FEW)}{of}"
    if area.not_requests:
        told += f" but not {some_of(area.not_requests, _FEW)}"
    return f" for {told}{' and connections without requests' if area.connections else ''}"
