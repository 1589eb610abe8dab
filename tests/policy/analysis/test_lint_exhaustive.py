"""What lint says of exact things against brute force: all of it is so, and nothing that is so is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy

from hypothesis import given, settings

from meshid.policy import Finding, FindingKind, Policy
from tests.helpers.counted_world import (
    NOW,
    OLD,
    PARTNER,
    PEERS,
    PROD,
    TARGETS,
    Document,
    allowed,
    documents,
    in_force,
    judged,
    points_of,
    union,
    union_of,
    unsafe,
    who,
)

CAN_GO = {FindingKind.POINTLESS, FindingKind.EXPIRED, FindingKind.UNUSED_SET}
DO_NOTHING = {*CAN_GO, FindingKind.NEVER_MATCHES, FindingKind.SWALLOWED}
LISTS = ("from", "to", "http", "not_from", "not_http")


def findings_of(document: Document) -> list[Finding]:
    return Policy.from_json(json.dumps(document), "prod").lint(now=NOW)


def finding_place(finding: Finding) -> tuple[str, int, str | None, int]:
    found = re.fullmatch(r"(\w+)\[(\d+)\](?:\.(\w+)(?:\[(\d+)\])?)?", finding.where)
    assert found
    table, number, name, at = found.groups()
    return table, int(number), None if name == "until" else name, int(at or 0)


def without(document: Document, findings: Iterable[Finding]) -> Document:
    """Do what findings say: remove a rule, an entry of a list, a set or a member of one."""
    left = deepcopy(document)
    for finding in findings:
        table, number, name, at = finding_place(finding)
        one = left[table][number]
        if one is None:
            continue
        if name is None:
            left[table][number] = None
        elif name == "members":
            one[name].remove(finding.what.split("'")[1])
        else:
            assert one[name][at] in finding.what
            one[name][at] = None
    return cleaned(left)


def cleaned(document: Document) -> Document:
    for table in ("allow", "deny", "peers"):
        kept = [each for each in document.get(table, ()) if each is not None]
        for each in kept:
            for name in {*LISTS} & {*each}:
                each[name] = [entry for entry in each[name] if entry is not None]
                if not each[name]:
                    del each[name]
        if table in document:
            document[table] = kept
    return document


def all_rules(document: Document) -> Iterator[tuple[str, Document]]:
    for effect in ("allow", "deny"):
        yield from ((effect, rule) for rule in document[effect])


def rules_of(document: Document) -> Iterator[tuple[str, Document]]:
    yield from (each for each in all_rules(document) if in_force(each[1]) and not each[1].get("observe"))


def meaning(document: Document) -> tuple[object, ...]:
    """What is allowed; what is denied, as a deny rule that nothing runs into is a guard; what is judged."""
    return allowed(document), union(document, document["deny"], "deny"), judged(document)


@settings(max_examples=100, deadline=None)
@given(documents())
def test_what_lint_says_can_go_goes_alone_and_all_together_and_nothing_else_does(document: Document) -> None:
    findings = [each for each in findings_of(document) if each.kind in DO_NOTHING]
    before, can_go = meaning(document), [each for each in findings if each.kind in CAN_GO]
    for finding in can_go:
        assert meaning(without(document, [finding])) == before, finding
    assert meaning(without(document, can_go)) == before
    for finding in findings:
        assert finding in can_go or does_nothing(document, finding), finding
        assert covers(document, finding), finding
    left = without(document, findings)
    assert allowed(left) == allowed(document) & ~unsafe(left)
    check_that_each_counts(document, left)
    named = {
        each
        for _, rule in all_rules(document)
        for name in ("from", "not_from")
        for each in rule.get(name, ())
    }
    assert {each.where for each in findings if each.kind is FindingKind.UNUSED_SET} == {
        f"peers[{number}]"
        for number, one in enumerate(document.get("peers", ()))
        if f"@{one['name']}" not in named
    }
    again = [each for each in findings_of(left) if each.kind in DO_NOTHING - {FindingKind.UNUSED_SET}]
    # An exception of an entry that went can go after it, and not before.
    assert [each for each in again if ".not_" not in each.where] == []


def does_nothing(document: Document, finding: Finding) -> bool:
    """Tell whether a rule, or one of several entries, matches nobody, or is denied everywhere."""
    effect, at, name, number = finding_place(finding)
    rule = document[effect][at]
    if name is not None:
        rule = rule | {name: [rule[name][number]]}
    points = points_of(document, rule, effect)
    if finding.kind is FindingKind.SWALLOWED:
        points &= ~union(document, document["deny"], "deny")
    return points & ~unsafe(document) == 0


def covers(document: Document, finding: Finding) -> bool:
    """Tell whether the rules that a finding names cover what it is about; one alone has something of it."""
    named = re.findall(r'(allow|deny) rule "(\w+)"', finding.what)
    if not named or " more" in finding.what:
        return True
    effect, at, name, number = finding_place(finding)
    rule = whole = document[effect][at]
    if name is not None:
        whole = rule | {name: [rule[name][number]]}
    points = points_of(document, whole, effect)
    theirs = []
    for its_effect, identifier in named:
        (other,) = (each for each in document[its_effect] if each["id"] == identifier)
        if other is rule and name is not None:
            other = rule | {name: [each for at, each in enumerate(rule[name]) if at != number]}
        theirs.append(points_of(document, other, its_effect))
    # Of several, some may only have been asked.
    is_about = not points or len(theirs) > 1 or theirs[0] & points != 0
    return points & ~union_of(theirs) == 0 and is_about


def check_that_each_counts(document: Document, left: Document) -> None:
    """Check that no rule, no entry and no exception that is left could go."""
    after = meaning(left)
    whole = {rule["id"]: rule for _, rule in all_rules(document)}
    for effect, rule in rules_of(left):
        assert meaning(left | {effect: [each for each in left[effect] if each is not rule]}) != after, rule
        for name in LISTS:
            for number in range(len(rule.get(name, ()))):
                entries = [each for at, each in enumerate(rule[name]) if at != number]
                changed = rule | {name: entries}
                others = left | {effect: [changed if each is rule else each for each in left[effect]]}
                if name.startswith("not_"):
                    # Without its last one, it would be a rule about connections, too.
                    is_last = name == "not_http" and not entries and not rule.get("http")
                    full = whole[rule["id"]] | {each: rule.get(each, []) for each in ("not_from", "not_http")}
                    one, two = (points_of(document, each, effect) for each in (full, full | {name: entries}))
                    assert is_last or one != two or meaning(others) != after, (rule, name, number)
                elif entries:
                    assert meaning(others) != after, (rule, name, number)
    for one in left.get("peers", ()):
        for member in one["members"]:
            rest = [each for each in one["members"] if each != member]
            assert who(left, rest) != who(left, one["members"])


@settings(max_examples=100, deadline=None)
@given(documents())
def test_what_is_wide_is_told_and_nothing_else(document: Document) -> None:
    told = {each.where for each in findings_of(document) if each.kind is FindingKind.WIDE}
    everybody = [
        sum(1 << at for at, peer in enumerate(PEERS) if peer.startswith(f"spiffe://{domain}/"))
        for domain in (PROD, OLD, PARTNER)
    ]
    sets = {each["name"]: each["members"] for each in document.get("peers", ())}
    wide = set()
    for number, rule in enumerate(document["allow"]):
        if rule.get("observe") or not in_force(rule):
            continue
        for at, entry in enumerate(rule["from"]):
            members = sets[entry[1:]] if entry.startswith("@") else [entry]
            if any(who(document, [each]) & all_of == all_of for each in members for all_of in everybody):
                wide.add(f"allow[{number}].from[{at}]")
        for at, entry in enumerate(rule["to"]):
            if points_of(document, {"from": ["/a"], "to": [entry]}, "allow").bit_count() == (
                points_of(document, {"from": ["/a"], "to": TARGETS}, "allow").bit_count()
            ):
                wide.add(f"allow[{number}].to[{at}]")
    assert told == wide
