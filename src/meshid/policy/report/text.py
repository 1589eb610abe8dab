"""The report for terminals, for machines, and as a diagram."""

from __future__ import annotations

from collections.abc import Iterator

from meshid.policy.model import Effect
from meshid.policy.report.matrix import Matrix, Report

_GAP = "  "


def as_table(report: Report, width: int) -> str:
    """Return the report as text, its lines at most *width* characters long where that can be."""
    return "\n".join(line for matrix in report.matrices for line in (*_table(matrix, width), ""))[:-1]


def _table(matrix: Matrix, width: int) -> Iterator[str]:
    policy = matrix.policy
    own = ", ".join(map(str, policy.environment.trust_domains))
    yield f"{policy.environment.name}: {own}, {len(policy.rules)} rules, policy {policy.hash[:12]}"
    if policy.observe:
        yield f"{_GAP}THE POLICY ONLY OBSERVES: EVERY VERIFIED PEER IS LET IN"
    rows = [
        (target, peer, str(cell.verdict), ", ".join(cell.rules))
        for (peer, target), cell in sorted(matrix.cells.items(), key=lambda item: item[0][::-1])
    ]
    heads = ("TARGET", "PEERS", "VERDICT", "RULES")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)][:3]
    for row in (heads, *rows):
        cells = [text.ljust(size) for text, size in zip(row, widths, strict=False)]
        yield _cut(_GAP + _GAP.join((*cells, row[3])).rstrip(), width)
    if matrix.left_out:
        yield f"{_GAP}{matrix.left_out} more patterns of peers are left out"
    for finding in matrix.findings:
        yield _cut(f"{_GAP}! {finding}", width)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: max(width - 1, 0)]}…"


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
            {"peers": peers, "targets": targets, "verdict": str(cell.verdict), "rules": list(cell.rules)}
            for (peers, targets), cell in sorted(matrix.cells.items())
        ],
        "left_out": matrix.left_out,
        "findings": [
            {"kind": str(each.kind), "where": each.where, "rule": each.rule, "what": each.what}
            for each in matrix.findings
        ],
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
        words += f" {len(rule.http)} requests" if rule.http else ""
        for source in rule.sources:
            for target in rule.targets:
                peers, reached = node("p", str(source)), node("t", str(target))
                lines.append(f'  {peers} {arrow}|"{_escaped(words)}"| {reached}')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Write whatever Mermaid or Markdown could read as the entities that Mermaid has."""
    return "".join(each if each.isalnum() or each in " /.-_:" else f"#{ord(each)};" for each in text)
