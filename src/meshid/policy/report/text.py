"""The report for terminals, for machines, and as a diagram."""

from __future__ import annotations

from collections.abc import Iterator

from meshid.policy.issuers import Issuer
from meshid.policy.named_peers import NamedPeer
from meshid.policy.report.attention import federated_entries, wide_entries
from meshid.policy.report.contents import Report, changed_lines, peers_of, sets_of
from meshid.policy.report.matrix import Matrix
from meshid.policy.report.verdicts import Cell, RuleBehind, Verdict
from meshid.policy.rules import Effect, Rule
from meshid.support.quoting import plural

_GAP = "  "


def as_table(report: Report) -> str:
    """Return the report as text."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    occasion = report.occasion
    by = f"meshid {occasion.version}".rstrip()
    yield ", ".join(filter(None, (" ".join(occasion.revision.split()), occasion.moment, by)))
    for matrices in report.alike:
        yield from map(_head, matrices)
        yield from _table(matrices[0], report)
        yield ""
    yield from _names(report)
    yield from _for_people(report)
    yield from _first_looks(report)
    yield plural(len(report.findings), "finding")
    for finding, names in report.findings.items():
        scope = "" if len(names) == len(report.matrices) else f" ({', '.join(names)} only)"
        yield f"{_GAP}{finding}{scope}"
    yield from _changes(report)


def _head(matrix: Matrix) -> str:
    policy = matrix.policy
    own, rules = ", ".join(map(str, policy.environment.trust_domains)), plural(len(policy.rules), "rule")
    loud = "; IT ONLY OBSERVES, EVERY VERIFIED PEER IS LET IN" if policy.observe else ""
    return f"{policy.environment.name}: {own}, {rules}, policy {policy.hash[:12]}{loud}"


def _table(matrix: Matrix, report: Report) -> Iterator[str]:
    rules = {rule.id: rule for rule in report.rules}
    rows = [
        (
            target,
            peer,
            str(cell.verdict),
            ", ".join(_behind(cell, each, rules[each.rule]) for each in cell.behind),
        )
        for target in matrix.targets
        for peer, cell in matrix.column(target)
    ]
    yield from _columns([("TARGET", "PEERS", "VERDICT", "RULES"), *rows])
    counts = [f"{count} {verdict}" for verdict, count in matrix.counts.items() if count]
    if counts:
        yield f"{_GAP}{', '.join(counts)}"
    if matrix.left_out:
        yield f"{_GAP}left out: {plural(matrix.left_out, 'more pattern')} of peers"


def _behind(cell: Cell, each: RuleBehind, rule: Rule) -> str:
    is_denied = cell.verdict is Verdict.DENIED
    words = ["denies"] if not each.allows and not is_denied else []
    if each.observe:
        words.append(f"observes, would {rule.effect}")
    elif each.allows and is_denied:
        words.append("would allow")
    words += ["for some of them"] if not each.is_whole else []
    words += [f"not for {', '.join(map(str, each.not_for))}"] if each.not_for else []
    words += [" and ".join(map(str, rule.http))] if rule.http else []
    words += [f"but not {' and '.join(map(str, rule.not_http))}"] if rule.not_http else []
    words += ["with a token"] if rule.needs_token else []
    return f"{each.rule} ({'; '.join(words)})" if words else each.rule


def _names(report: Report) -> Iterator[str]:
    for where, found in report.by_names(peers_of):
        yield f"{where}: who the peers by name are"
        yield from _columns([("PEER", "ISSUER", "PRINCIPAL"), *found])
        yield ""
    for where, found in report.by_names(sets_of):
        yield f"{where}: who is in the sets"
        yield from _columns([("SET", "MEMBERS"), *((name, ", ".join(of)) for name, *of in found)])
        yield ""


def _for_people(report: Report) -> Iterator[str]:
    rules = [rule for rule in report.rules if rule.owner or rule.reviewer or rule.until]
    if rules:
        rows = [
            (rule.id, *map(_one_line, (rule.owner, rule.reviewer)), _until(report, rule)) for rule in rules
        ]
        yield from _columns([("RULE", "OWNER", "REVIEWER", "UNTIL"), *rows])
        yield ""


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "none"


def _until(report: Report, rule: Rule) -> str:
    if rule.until is None:
        return "none"
    mark = " EXPIRED" if report.is_expired(rule) else " expires soon" if report.expires_soon(rule) else ""
    return f"{rule.until}{mark}"


def _first_looks(report: Report) -> Iterator[str]:
    federates = dict.fromkeys(
        domain for each in report.matrices for domain in each.policy.environment.federates_with
    )
    rows = [(each.entry, each.meaning, ", ".join(each.rules)) for each in wide_entries(report.in_force)]
    rows += [
        (entry, f"federated with {domain}", rule.id)
        for domain, entries in federated_entries(report.in_force, federates).items()
        for entry, rule in entries
    ]
    rows += [(rule.id, "only observes", rule.id) for rule in report.in_force if rule.observe]
    if rows:
        yield from _columns([("LOOK AT", "BECAUSE", "RULES"), *rows])
        yield ""


def _changes(report: Report) -> Iterator[str]:
    if report.changes is not None:
        yield ""
        yield f"since {report.occasion.since or 'the version signed last'}"
        for name, diff in report.changes.items():
            yield from (f"{_GAP}{line}" for line in changed_lines(name, diff))


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(size) for text, size in zip(row, widths, strict=True))
        yield _GAP + _GAP.join(cells).rstrip()


# -- For machines ----------------------------------------------------------------


def as_json(report: Report) -> dict[str, object]:
    """Return the report as plain data."""
    occasion = report.occasion
    return {
        "revision": occasion.revision,
        "reported": occasion.moment,
        "version": occasion.version,
        "environments": [_plain(matrix) for matrix in report.matrices],
        "rules": [_rule(report, rule) for rule in report.rules],
        "wide": [
            {
                "entry": each.entry,
                "in": each.where,
                "everything": not each.is_part,
                "rules": list(each.rules),
            }
            for each in wide_entries(report.in_force)
        ],
        **({} if report.changes is None else {"since": occasion.since, "changes": _plain_changes(report)}),
    }


def _plain_changes(report: Report) -> dict[str, object]:
    return {
        name: diff if isinstance(diff, str) else diff.as_dict()
        for name, diff in (report.changes or {}).items()
    }


def _plain(matrix: Matrix) -> dict[str, object]:
    policy = matrix.policy
    domains = policy.environment.federates_with
    return {
        "environment": policy.environment.name,
        "trust_domains": list(map(str, policy.environment.trust_domains)),
        "federates_with": list(map(str, domains)),
        "policy_hash": policy.hash,
        "observe": policy.observe,
        "counts": {str(verdict): count for verdict, count in matrix.counts.items()},
        "cells": [_cell(*key, cell) for key, cell in sorted(matrix.cells.items())],
        "left_out": matrix.left_out,
        "findings": [each.as_dict() for each in matrix.findings],
        "federated": {
            str(domain): [{"entry": entry, "rule": rule.id} for entry, rule in entries]
            for domain, entries in federated_entries(policy.rules, domains).items()
        },
        **({"peers": [_peer(peer) for peer in policy.peers]} if policy.peers else {}),
        **({"sets": {each.name: list(each.members) for each in policy.sets}} if policy.sets else {}),
        **({"issuers": [_issuer(issuer) for issuer in policy.issuers]} if policy.issuers else {}),
    }


def _cell(peers: str, targets: str, cell: Cell) -> dict[str, object]:
    return {
        "peers": peers,
        "targets": targets,
        "verdict": str(cell.verdict),
        "rules": list(cell.rules),
        "part": [each.rule for each in cell.behind if not each.is_whole],
        "observing": [each.rule for each in cell.behind if each.observe],
        "if_enforced": None if cell.if_enforced is None else str(cell.if_enforced),
        "is_named": cell.is_named,
    }


def _rule(report: Report, rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "effect": str(rule.effect),
        "why": rule.why,
        "owner": rule.owner,
        "reviewer": rule.reviewer,
        "until": None if rule.until is None else rule.until.isoformat(),
        "expired": report.is_expired(rule),
        "expires_soon": report.expires_soon(rule),
        "from": list(rule.listed_from),
        "not_from": list(map(str, rule.not_sources)),
        "to": list(map(str, rule.targets)),
        "http": list(map(str, rule.http)),
        "not_http": list(map(str, rule.not_http)),
        "needs_token": rule.needs_token,
        "observe": rule.observe,
    }


def _peer(peer: NamedPeer) -> dict[str, object]:
    return {
        "name": peer.name,
        "spiffe": list(map(str, peer.spiffe)),
        "tokens": [{"issuer": each.issuer, "principal": str(each.principal)} for each in peer.tokens],
    }


def _issuer(issuer: Issuer) -> dict[str, object]:
    return {
        "name": issuer.name,
        "profile": str(issuer.profile),
        "issuer": issuer.issuer,
        "audience": list(issuer.audience),
        "pins": {pin.claim: pin.value for pin in issuer.pins},
    }


# -- As a diagram ------------------------------------------------------------------


def as_mermaid(report: Report) -> str:
    """Return the rules in force as a flowchart for Mermaid: peers to targets, denies dotted."""
    nodes: dict[tuple[str, str], str] = {}
    lines = ["flowchart LR"]

    def node(kind: str, text: str) -> str:
        if (kind, text) not in nodes:
            nodes[kind, text] = f"{kind}{len(nodes)}"
            lines.append(f'  {nodes[kind, text]}["{_escaped(text)}"]')
        return nodes[kind, text]

    for rule in report.in_force:
        arrow = "-.->" if rule.effect is Effect.DENY else "-->"
        words = _escaped(_words(rule))
        for source in rule.listed_from:
            for target in rule.targets:
                peers, reached = node("p", source), node("t", str(target))
                lines.append(f'  {peers} {arrow}|"{words}"| {reached}')
    return "\n".join(lines) + "\n"


def _words(rule: Rule) -> str:
    words = f"{rule.effect} {rule.id}" + (" (observes)" if rule.observe else "")
    words += " for some requests" if rule.needs_request else ""
    words += " with a token" if rule.needs_token else ""
    words += f", but not {' and '.join(map(str, rule.not_sources))}" if rule.not_sources else ""
    return words + (f", until {rule.until}" if rule.until else "")


def _escaped(text: str) -> str:
    """Escape everything that Mermaid or Markdown could interpret, as Mermaid entities."""
    return "".join(each if each.isalnum() or each in " /.-_:" else f"#{ord(each)};" for each in text)
