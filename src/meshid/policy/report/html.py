"""The report as one HTML page that needs nothing else: no network, a script only to search and filter."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape

from meshid.policy.report.contents import Report, changed_lines
from meshid.policy.report.markup import badge, cell, heads, prose, table
from meshid.policy.report.page_matrix import MatrixTables
from meshid.policy.report.page_rules import first_looks, names, rule_table
from meshid.policy.report.style import SCRIPT, STYLE
from meshid.policy.report.verdicts import Verdict
from meshid.support.quoting import plural

_MANY_FINDINGS = 20
"""Findings of one kind that are shown at once; more are folded."""

_SIGNERS = ("Owner of the policy", "Reviewer", "Auditor")


def as_html(report: Report) -> str:
    """Return the page."""
    policy = f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'"
    title = ", ".join(matrix.policy.environment.name for matrix in report.matrices)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Who can reach what: {escape(title)}</title>",
        f"<style>{STYLE}</style></head><body><main>",
        "<h1>Who can reach what</h1>",
        *_head(report),
        *_changes(report),
        *_counts(report),
        *first_looks(report),
        *_findings(report),
        *_filters(report),
        *MatrixTables(report).lines(),
        *names(report),
        *rule_table(report),
        *_sign_off(report),
        f"</main><script>{SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


# -- What stands on top --------------------------------------------------------


def _head(report: Report) -> Iterator[str]:
    occasion = report.occasion
    expired = len(report.rules) - len(report.in_force)
    count = plural(len(report.rules), "rule") + (f", {expired} of them expired" if expired else "")
    facts = [
        ("Policy", escape(occasion.revision) or "not named"),
        ("Reported", escape(occasion.moment)),
        ("By", escape(f"meshid {occasion.version}".rstrip())),
        ("Rules", count),
    ]
    yield '<dl class="facts">'
    yield from (f"<div><dt>{name}</dt><dd>{fact}</dd></div>" for name, fact in facts)
    yield "</dl>"
    rows = []
    for matrix in report.matrices:
        policy, environment = matrix.policy, matrix.policy.environment
        own = ", ".join(map(str, environment.trust_domains))
        others = ", ".join(map(str, environment.federates_with)) or "none"
        rows.append(
            f'<th scope="row">{escape(environment.name)}</th>'
            + cell("Its own trust domains", escape(own))
            + cell("Federates with", escape(others))
            + cell("Policy (SHA-256)", _hash(policy.hash))
        )
    titles = ("Environment", "Its own trust domains", "Federates with", "Policy (SHA-256)")
    yield from table("Environments", titles, rows)
    for matrix in report.matrices:
        if matrix.policy.observe:
            name = escape(matrix.policy.environment.name)
            yield f'<p class="loud"><strong>In {name} the policy only observes.</strong> Every verified peer'
            yield " is let in, whatever the tables below say.</p>"


def _hash(value: str) -> str:
    """Return a hash that may end its line after each group of sixteen."""
    groups = (value[at : at + 16] for at in range(0, len(value), 16))
    return f'<code class="hash">{"<wbr>".join(groups)}</code>'


def _changes(report: Report) -> Iterator[str]:
    if report.changes is None:
        return
    yield f"<h2>Changes since {escape(report.occasion.since) or 'the version signed last'}</h2>"
    for name, diff in report.changes.items():
        first, *lines = changed_lines(name, diff)
        yield f'<p>{escape(first)}</p><ul class="changes">'
        yield from (f"<li>{prose(line)}</li>" for line in lines)
        yield "</ul>"


def _counts(report: Report) -> Iterator[str]:
    yield "<h2>Verdicts</h2>"
    yield "<p>A path such as <code>/ns/checkout/sa/api</code> means the workload of that name in the"
    yield "environment's own trust domain. <code>*</code> stands for any text within one step of a path,"
    yield "<code>**</code> for any number of steps. <code>@name</code> is a peer by name, whichever of its"
    yield "names it proves, or a set of peers. Each verdict is exact, for <em>all</em> peers of its row at"
    yield "<em>all</em> targets; peers and targets that are not listed are refused.</p>"
    titles = [matrix.policy.environment.name for matrix in report.matrices]
    counts = [matrix.counts for matrix in report.matrices]
    rows = (
        cell("Verdict", badge(verdict))
        + cell("It means", escape(verdict.meaning))
        + "".join(cell(name, str(each[verdict])) for name, each in zip(titles, counts, strict=True))
        for verdict in Verdict
    )
    yield from table("Verdicts, and how many", ("Verdict", "It means", *titles), rows, "counts")


def _findings(report: Report) -> Iterator[str]:
    found = report.findings
    yield f"<h2>Findings ({len(found)})</h2>"
    if not found:
        yield "<p>Nothing looks wrong.</p>"
        return
    kinds: dict[str, list[str]] = {}
    for finding, environments in found.items():
        where = f"{finding.where}, rule {finding.rule}" if finding.rule else finding.where
        everywhere = len(environments) == len(report.matrices)
        scope = "" if everywhere else f" <em>({escape(', '.join(environments))} only)</em>"
        line = f"<li><code>{escape(where)}</code>: {prose(finding.what)}{scope}</li>"
        kinds.setdefault(str(finding.kind).replace("_", " "), []).append(line)
    for kind, lines in kinds.items():
        is_open = " open" if len(lines) <= _MANY_FINDINGS else ""
        yield f"<details{is_open}><summary>{escape(kind)} ({len(lines)})</summary><ul>"
        yield from lines
        yield "</ul></details>"


# -- The filters and the end ------------------------------------------------------


def _filters(report: Report) -> Iterator[str]:
    yield "<h2>Peers and targets</h2>"
    yield '<form class="filters"><label>Search <input id="search" type="search"'
    yield ' placeholder="peer, target or rule"></label>'
    yield from _select("verdict", "Verdict", list(map(str, Verdict)))
    owners = sorted({" ".join(rule.owner.split()) for rule in report.rules if rule.owner})
    yield from _select("owner", "Owner", owners, '<option value="none">(none)</option>')
    yield "<output></output></form>"


def _select(name: str, label: str, values: list[str], more: str = "") -> Iterator[str]:
    yield f'<label>{label} <select id="{name}"><option value="">all</option>{more}'
    yield from (f'<option value="={escape(value)}">{escape(value)}</option>' for value in values)
    yield "</select></label>"


def _sign_off(report: Report) -> Iterator[str]:
    occasion = report.occasion
    yield '<section class="sign"><h2>Signed</h2>'
    yield f"<p>Signed is the policy {escape(occasion.revision) or 'with these hashes'}, as it stands in this"
    yield f" report of {escape(occasion.moment)}:</p><ul>"
    for matrix in report.matrices:
        name = escape(matrix.policy.environment.name)
        yield f"<li>{name}: {_hash(matrix.policy.hash)}</li>"
    yield '</ul><div class="wide"><table class="signers"><caption class="hidden">Signatures</caption>'
    yield heads("Role", "Name", "Date", "Signature")
    labels = ("Name", "Date", "Signature")
    for role in _SIGNERS:
        blanks = "".join(cell(label, "") for label in labels)
        yield f'<tr><th scope="row">{role}</th>{blanks}</tr>'
    yield "</tbody></table></div></section>"
