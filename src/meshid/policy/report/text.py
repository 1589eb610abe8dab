"""The report for terminals, for machines, and as a diagram."""

from __future__ import annotations

from collections.abc import Iterator

from meshid.policy.issuers import Issuer
from meshid.policy.named_peers import NamedPeer
from meshid.policy.report.matrix import Matrix, Report, names_of
from meshid.policy.rules import Effect
from meshid.support.quoting import plural

_GAP = "  "


def as_table(report: Report) -> str:
    """Return the report as text."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: Report) -> Iterator[str]:
    for matrices in report.alike:
        yield from map(_head, matrices)
        yield from _table(matrices[0])
        yield ""
    for matrix in report.matrices:
        if matrix.policy.peers:
            yield f"{matrix.policy.environment.name}: who the peers by name are"
            yield from _columns([("PEER", "ISSUER", "PRINCIPAL"), *names_of(matrix.policy)])
            yield ""
    yield plural(len(report.findings), "finding")
    for finding, names in report.findings.items():
        scope = "" if len(names) == len(report.matrices) else f" ({', '.join(names)} only)"
        yield f"{_GAP}{finding}{scope}"


def _head(matrix: Matrix) -> str:
    policy = matrix.policy
    own, rules = ", ".join(map(str, policy.environment.trust_domains)), plural(len(policy.rules), "rule")
    loud = "; IT ONLY OBSERVES, EVERY VERIFIED PEER IS LET IN" if policy.observe else ""
    return f"{policy.environment.name}: {own}, {rules}, policy {policy.hash[:12]}{loud}"


def _table(matrix: Matrix) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        (target, peer, str(cell.verdict), ", ".join(cell.rules))
        for target in matrix.targets
        for peer, cell in matrix.column(target)
    ]
    yield from _columns([("TARGET", "PEERS", "VERDICT", "RULES"), *rows])
    if matrix.left_out:
        yield f"{_GAP}left out: {plural(matrix.left_out, 'more pattern')} of peers"


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (text.ljust(size) for text, size in zip(row, widths, strict=True))
        yield _GAP + _GAP.join(cells).rstrip()


def as_json(report: Report) -> dict[str, object]:
    """Return the report as plain data."""
    return {"environments": [_plain(matrix) for matrix in report.matrices]}


def _plain(matrix: Matrix) -> dict[str, object]:
    policy = matrix.policy
    return {
        "environment": policy.environment.name,
        "trust_domains": list(map(str, policy.environment.trust_domains)),
        "federates_with": list(map(str, policy.environment.federates_with)),
        "policy_hash": policy.hash,
        "observe": policy.observe,
        "cells": [
            {
                "peers": peers,
                "targets": targets,
                "verdict": str(cell.verdict),
                "rules": list(cell.rules),
                "is_named": cell.is_named,
            }
            for (peers, targets), cell in sorted(matrix.cells.items())
        ],
        "left_out": matrix.left_out,
        "findings": [each.as_dict() for each in matrix.findings],
        **({"peers": [_peer(peer) for peer in policy.peers]} if policy.peers else {}),
        **({"issuers": [_issuer(issuer) for issuer in policy.issuers]} if policy.issuers else {}),
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


def as_mermaid(report: Report) -> str:
    """Return the rules as a flowchart for Mermaid: peers to targets, denies dotted."""
    nodes: dict[tuple[str, str], str] = {}
    lines = ["flowchart LR"]

    def node(kind: str, text: str) -> str:
        if (kind, text) not in nodes:
            nodes[kind, text] = f"{kind}{len(nodes)}"
            lines.append(f'  {nodes[kind, text]}["{_escaped(text)}"]')
        return nodes[kind, text]

    for rule in report.rules:
        arrow = "-.->" if rule.effect is Effect.DENY else "-->"
        words = f"{rule.effect} {rule.id}" + (" (observes)" if rule.observe else "")
        words += " for some requests" if rule.http else ""
        words += " with a token" if rule.needs_token else ""
        for source in rule.who:
            for target in rule.targets:
                peers, reached = node("p", source), node("t", str(target))
                lines.append(f'  {peers} {arrow}|"{_escaped(words)}"| {reached}')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Escape everything that Mermaid or Markdown could interpret, as Mermaid entities."""
    return "".join(each if each.isalnum() or each in " /.-_:" else f"#{ord(each)};" for each in text)
