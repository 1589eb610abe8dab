"""The rules on the page; what to look at first; and who the peers by name, the sets and the issuers are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from meshid.policy.report.attention import federated_entries, wide_entries
from meshid.policy.report.contents import SOON, Report, issuers_of, peers_of, sets_of
from meshid.policy.report.markup import badge, cell, code, codes, flag, link, owners_of, table
from meshid.policy.report.verdicts import Verdict
from meshid.policy.rules import Effect, Rule
from meshid.support.quoting import plural

_NONE = '<span class="none">none</span>'


def first_looks(report: Report) -> Iterator[str]:
    """Yield what an auditor looks at first."""
    yield "<h2>To look at first</h2>"
    wide = wide_entries(report.in_force)
    yield f"<h3>Whatever has a <code>**</code> ({len(wide)})</h3>"
    yield '<ul class="dense">' if wide else "<p>None.</p>"
    for each in wide:
        meaning = "" if each.is_part else f" {flag(each.meaning)}"
        yield f"<li><small>{each.where}</small> {code(each.entry)}{meaning} {_links(each.rules)}</li>"
    yield "</ul>" if wide else ""
    yield from _federated(report)
    for name, rules in (
        ("Only observed", [rule for rule in report.in_force if rule.observe]),
        (f"Expires within {SOON} days", [rule for rule in report.rules if report.expires_soon(rule)]),
        ("Expired, and no rule any more", [rule for rule in report.rules if report.is_expired(rule)]),
    ):
        yield f"<h3>{name} ({len(rules)})</h3>"
        items = "".join(f"<li>{link(rule.id)}{_ends(rule)}</li>" for rule in rules)
        yield f'<ul class="dense">{items}</ul>' if items else "<p>None.</p>"


def _links(rules: Iterable[str]) -> str:
    return ", ".join(map(link, rules))


def _ends(rule: Rule) -> str:
    return f' <span class="day">{rule.until}</span>' if rule.until else ""


def _federated(report: Report) -> Iterator[str]:
    domains = {domain: None for each in report.matrices for domain in each.policy.environment.federates_with}
    found = federated_entries(report.in_force, domains)
    count = sum(map(len, found.values()))
    yield f"<h3>Peers of federated trust domains ({count})</h3>"
    if not found:
        yield "<p>None: no environment federates with another trust domain.</p>"
        return
    for domain, entries in found.items():
        yield f"<p>{escape(str(domain))} ({len(entries)})</p>"
        yield '<ul class="dense">' if entries else ""
        yield from (f"<li>{code(entry)} {link(rule.id)}</li>" for entry, rule in entries)
        yield "</ul>" if entries else ""


# -- The rules -----------------------------------------------------------------

_HEADS = ("Rule", "Why", "From", "To", "Requests", "Owner", "Reviewer", "Until")


def rule_table(report: Report) -> Iterator[str]:
    """Yield all rules."""
    yield f"<h2>Rules ({len(report.rules)})</h2>"
    yield '<div class="wide"><table class="rules"><caption class="hidden">Rules</caption><thead><tr>'
    yield from (f'<th scope="col">{each}</th>' for each in _HEADS)
    yield "</tr></thead><tbody>"
    yield from (_rule(report, rule) for rule in report.rules)
    yield "</tbody></table></div>"


def _rule(report: Report, rule: Rule) -> str:
    contents = (
        escape(rule.why) or flag("no reason given"),
        codes(rule.listed_from) + _but_not(rule.not_sources) + _token(rule),
        codes(rule.targets),
        (codes(rule.http) or "all") + _but_not(rule.not_http),
        escape(rule.owner) or _NONE,
        escape(rule.reviewer) or _NONE,
        _until(report, rule),
    )
    off = ' class="expired"' if report.is_expired(rule) else ""
    row = f'<tr id="rule-{escape(rule.id)}" data-owners="{owners_of([rule])}"{off}>'
    row += f'<th scope="row">{_effect(rule)} <span class="id">{escape(rule.id)}</span></th>'
    return row + "".join(cell(*each) for each in zip(_HEADS[1:], contents, strict=True)) + "</tr>"


def _but_not(values: tuple[object, ...]) -> str:
    return f'<div class="not">but not</div>{codes(values)}' if values else ""


def _token(rule: Rule) -> str:
    return f"<div>{flag('with a token')}</div>" if rule.needs_token else ""


def _until(report: Report, rule: Rule) -> str:
    if rule.until is None:
        return _NONE
    day = f'<span class="day">{rule.until}</span>'
    if report.is_expired(rule):
        return f"{day} {flag('expired')}"
    if report.expires_soon(rule):
        left = (rule.until - report.occasion.day).days
        return f"{day} {flag('in ' + plural(left, 'day') if left else 'today')}"
    return day


def _effect(rule: Rule) -> str:
    looks_like = Verdict.ALLOWED if rule.effect is Effect.ALLOW else Verdict.DENIED
    shown = badge(looks_like, str(rule.effect))
    return f"{shown} {flag('observes only')}" if rule.observe else shown


# -- Who is meant ----------------------------------------------------------------


def names(report: Report) -> Iterator[str]:
    """Yield the peers by name, the sets and the issuers; those of environments that agree once."""
    for where, found in report.by_names(peers_of):
        yield f"<h2>Peers by name in {escape(where)}</h2>"
        rows = (
            cell("Peer", code(peer)) + cell("Proved by", escape(by)) + cell("Its name there", code(called))
            for peer, by, called in found
        )
        yield from table("Peers by name", ("Peer", "Proved by", "Its name there"), rows)
    for where, found in report.by_names(sets_of):
        yield f"<h2>Sets of peers in {escape(where)}</h2>"
        rows = (cell("Set", code(name)) + cell("Members", codes(of) or _NONE) for name, *of in found)
        yield from table("Sets of peers", ("Set", "Members"), rows)
    titles = ("Issuer", "Profile", "iss", "Audience", "Pins")
    for where, found in report.by_names(issuers_of):
        yield f"<h2>Issuers in {escape(where)}</h2>"
        rows = ("".join(map(cell, titles, map(escape, each))) for each in found)
        yield from table("Issuers", titles, rows)
