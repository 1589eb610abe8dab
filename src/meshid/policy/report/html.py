"""The report as one HTML page that needs nothing else: no network, and a script only for the search."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape

from meshid.policy.issuers import Issuer
from meshid.policy.report.matrix import Cell, Matrix, Report, Verdict, names_of
from meshid.policy.report.style import SCRIPT, STYLE
from meshid.policy.rules import Effect, Rule
from meshid.support.quoting import plural

_MARKS = {Verdict.ALLOWED: "✓", Verdict.REQUESTS: "◐", Verdict.PARTLY: "◔", Verdict.DENIED: "✕"}
_MAX_GRID = (24, 10)
"""Peers and targets up to which the whole matrix is shown as one grid; beyond, a table for each target."""

_MANY_FINDINGS = 20
"""Findings of one kind that are shown at once; more are folded."""


def as_html(report: Report) -> str:
    """Return the page."""
    policy = f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'"
    names = ", ".join(matrix.policy.environment.name for matrix in report.matrices)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Who can reach what: {escape(names)}</title>",
        f"<style>{STYLE}</style></head><body><main>",
        "<h1>Who can reach what</h1>",
        *_head(report),
        *_findings(report),
        *_legend(),
        *_matrix(report),
        *_names(report),
        *_rules(report),
        f"</main><script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _heads(*heads: str) -> str:
    cells = "".join(f'<th scope="col">{head}</th>' for head in heads)
    return f"<thead><tr>{cells}</tr></thead><tbody>"


# -- What stands on top --------------------------------------------------------


def _head(report: Report) -> Iterator[str]:
    yield '<div class="wide"><table><caption>Environments</caption>'
    yield _heads("Environment", "Its own trust domains", "Federates with", "Rules", "Policy (SHA-256)")
    for matrix in report.matrices:
        policy, environment = matrix.policy, matrix.policy.environment
        own = ", ".join(map(str, environment.trust_domains))
        others = ", ".join(map(str, environment.federates_with)) or "none"
        yield f'<tr><th scope="row">{escape(environment.name)}</th><td>{escape(own)}</td>'
        yield f"<td>{escape(others)}</td><td>{len(policy.rules)}</td>"
        yield f'<td><code class="hash">{policy.hash}</code></td></tr>'
    yield "</tbody></table></div>"
    for matrix in report.matrices:
        if matrix.policy.observe:
            name = escape(matrix.policy.environment.name)
            yield f'<p class="loud"><strong>In {name} the policy only observes.</strong> Every verified peer'
            yield " is let in, whatever the tables below say.</p>"


def _findings(report: Report) -> Iterator[str]:
    found = report.findings
    yield f"<h2>Findings ({len(found)})</h2>"
    if not found:
        yield "<p>Nothing looks wrong.</p>"
        return
    kinds: dict[str, list[str]] = {}
    for finding, names in found.items():
        where = f"{finding.where}, rule {finding.rule}" if finding.rule else finding.where
        scope = "" if len(names) == len(report.matrices) else f" <em>({escape(', '.join(names))} only)</em>"
        line = f"<li><code>{escape(where)}</code>: {escape(finding.what)}{scope}</li>"
        kinds.setdefault(str(finding.kind).replace("_", " "), []).append(line)
    for kind, lines in kinds.items():
        is_open = " open" if len(lines) <= _MANY_FINDINGS else ""
        yield f"<details{is_open}><summary>{escape(kind)} ({len(lines)})</summary><ul>"
        yield from lines
        yield "</ul></details>"


def _legend() -> Iterator[str]:
    yield "<h2>Peers and targets</h2>"
    yield "<p>A path such as <code>/ns/checkout/sa/api</code> means the workload of that name in the"
    yield "environment's own trust domain. <code>*</code> stands for any text within one step of a path,"
    yield "<code>**</code> for any number of steps. <code>@name</code> is a peer by name, whichever of its"
    yield "names it proves. A peer that is not listed is refused.</p><dl>"
    for verdict in Verdict:
        yield f"<dt>{_badge(verdict)}</dt><dd>{escape(verdict.meaning)}</dd>"
    yield "</dl>"


def _badge(verdict: Verdict, word: str = "") -> str:
    kind = verdict.value.replace(" ", "-")
    mark = f'<span aria-hidden="true">{_MARKS[verdict]}</span>'
    return f'<span class="badge {kind}">{mark} {word or verdict}</span>'


# -- The matrix ----------------------------------------------------------------


def _matrix(report: Report) -> Iterator[str]:
    yield '<p class="search"><label>Search <input id="search" type="search"'
    yield ' placeholder="peer, target or rule"></label> <output></output></p>'
    for matrix in report.matrices:
        if matrix.left_out:
            words = f"{plural(matrix.left_out, 'more pattern')} of peers"
            yield f'<p class="loud">Left out of what follows: {words}.</p>'
    rows, columns = _MAX_GRID
    for first, *others in report.alike:
        if len(first.peers) <= rows and len(first.targets) <= columns:
            yield from _grid(first, ", ".join(each.policy.environment.name for each in (first, *others)))
    yield from _by_target(report)


def _grid(matrix: Matrix, names: str) -> Iterator[str]:
    yield f'<div class="wide"><table class="grid"><caption>At a glance: {escape(names)}</caption>'
    yield _heads("Peers", *(f"<code>{escape(target)}</code>" for target in matrix.targets))
    for peer in matrix.peers:
        yield f'<tr><th scope="row"><code>{escape(peer)}</code></th>'
        yield from (_cell(matrix.cells.get((peer, target))) for target in matrix.targets)
        yield "</tr>"
    yield "</tbody></table></div>"


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="none">no rule</td>'
    rules = ", ".join(cell.rules)
    return f"<td>{_badge(cell.verdict)}<br><small>{escape(rules)}</small></td>"


def _by_target(report: Report) -> Iterator[str]:
    for target in sorted({target for matrix in report.matrices for target in matrix.targets}):
        columns: dict[tuple[tuple[str, Cell], ...], list[str]] = {}
        for matrix in report.matrices:
            column = tuple(matrix.column(target))
            columns.setdefault(column, []).append(matrix.policy.environment.name)
        peers = sorted({peer for column in columns for peer, _ in column})
        if peers:
            yield from _section(target, peers, columns)


def _section(
    target: str, peers: list[str], columns: dict[tuple[tuple[str, Cell], ...], list[str]]
) -> Iterator[str]:
    """Show who reaches a target; environments that agree share a column."""
    yield f'<section><h3>Who reaches <code>{escape(target)}</code></h3><div class="wide"><table>'
    yield f'<caption class="hidden">Peers of {escape(target)}</caption>'
    yield _heads("Peers", *(escape(", ".join(names)) for names in columns.values()))
    cells = [dict(column) for column in columns]
    for peer in peers:
        yield f'<tr><th scope="row"><code>{escape(peer)}</code></th>'
        yield from (_cell(each.get(peer)) for each in cells)
        yield "</tr>"
    yield "</tbody></table></div></section>"


# -- Peers by name ---------------------------------------------------------------


def _names(report: Report) -> Iterator[str]:
    for matrix in report.matrices:
        policy = matrix.policy
        name = escape(policy.environment.name)
        if policy.peers:
            yield f'<h2>Peers by name in {name}</h2><div class="wide"><table>'
            yield f'<caption class="hidden">Peers by name in {name}</caption>'
            yield _heads("Peer", "Proved by", "Its name there")
            for peer, proof, pattern in names_of(policy):
                yield f'<tr><th scope="row"><code>{escape(peer)}</code></th><td>{escape(proof)}</td>'
                yield f"<td><code>{escape(pattern)}</code></td></tr>"
            yield "</tbody></table></div>"
        if policy.issuers:
            yield f'<h2>Issuers in {name}</h2><div class="wide"><table>'
            yield f'<caption class="hidden">Issuers in {name}</caption>'
            yield _heads("Issuer", "Profile", "<code>iss</code>", "Audience", "Pins")
            yield from map(_issuer, policy.issuers)
            yield "</tbody></table></div>"


def _issuer(issuer: Issuer) -> str:
    pins = ", ".join(f"{pin.claim} = {pin.value}" for pin in issuer.pins) or "none"
    cells = (issuer.profile, issuer.issuer or "none", ", ".join(issuer.audience), pins)
    texts = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(issuer.name)}</th>{texts}</tr>'


# -- The rules -----------------------------------------------------------------


def _rules(report: Report) -> Iterator[str]:
    yield f"<h2>Rules ({len(report.rules)})</h2>"
    yield '<div class="wide"><table class="rules"><caption class="hidden">Rules</caption>'
    yield _heads("Rule", "Why", "From", "To", "Requests")
    for rule in report.rules:
        yield f'<tr><th scope="row">{_effect(rule)}<br>{escape(rule.id)}</th>'
        yield f"<td>{escape(rule.why) or '<em>no reason given</em>'}</td>"
        token = "<br><em>with a token</em>" if rule.needs_token else ""
        for values, more in ((rule.who, token), (rule.targets, ""), (rule.http, "")):
            texts = "<br>".join(f"<code>{escape(str(each))}</code>" for each in values)
            yield f"<td>{texts or 'all'}{more}</td>"
        yield "</tr>"
    yield "</tbody></table></div>"


def _effect(rule: Rule) -> str:
    looks_like = Verdict.ALLOWED if rule.effect is Effect.ALLOW else Verdict.DENIED
    badge = _badge(looks_like, str(rule.effect))
    return f"{badge} <em>observes only</em>" if rule.observe else badge
