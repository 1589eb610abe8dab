"""The matrix on the page: at a glance, if it is small; and who reaches each target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from meshid.policy.report.contents import Report
from meshid.policy.report.markup import badge, cell, code, flag, heads, link, listed, owners_of, target_id
from meshid.policy.report.matrix import Matrix
from meshid.policy.report.verdicts import Cell, RuleBehind, Verdict
from meshid.policy.rules import Rule
from meshid.support.quoting import plural

_TALL = 12
"""Rows beyond which those of a target may stand on two pages."""

_SOME = 4
"""Conditions of a rule that a cell shows; the rule has all of them."""


class MatrixTables:
    """The tables of the matrices of a report.

    Args:
        report: The report.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._rules = {rule.id: rule for rule in report.rules}

    def lines(self) -> Iterator[str]:
        """Yield the tables."""
        for matrix in self._report.matrices:
            if matrix.left_out:
                words = f"{plural(matrix.left_out, 'more pattern')} of peers"
                yield f'<p class="loud">Left out of what follows: {words}.</p>'
        for matrices in self._report.alike:
            if matrices[0].is_small and matrices[0].cells:
                yield from self._grid(matrices[0], _names(matrices))
        yield from self._by_target()

    def _grid(self, matrix: Matrix, names: str) -> Iterator[str]:
        yield f'<h3>At a glance: {escape(names)}</h3><div class="wide"><table class="grid">'
        yield f'<caption class="hidden">Peers against targets in {escape(names)}</caption>'
        yield heads("Peers", *map(code, matrix.targets))
        for peer in matrix.peers:
            cells = [matrix.cells.get((peer, target)) for target in matrix.targets]
            yield self._row(peer, zip(map(_to, matrix.targets), cells, strict=True))
        yield "</tbody></table></div>"

    def _by_target(self) -> Iterator[str]:
        groups = self._report.alike
        names = [_names(group) for group in groups]
        wider = [group[0].wider for group in groups]
        tables = "".join(
            self._of_target(target, dict.fromkeys(each for one in wider for each in one.get(target, ())))
            for target in self._targets()
        )
        yield "<h3>Who reaches each target</h3>"
        if not tables:
            yield "<p>No rule that counts lets anybody reach anything.</p>"
            return
        yield '<div class="wide"><table class="targets"><caption class="hidden">Who reaches each'
        yield f" target</caption>{heads('Peers', *map(escape, names)).removesuffix('<tbody>')}"
        yield f"{tables}</table></div>"

    def _targets(self) -> list[str]:
        return sorted({target for matrix in self._report.matrices for target in matrix.targets})

    def _of_target(self, target: str, wider: dict[str, None]) -> str:
        """Return the rows of a target; environments that agree in everything share a column."""
        groups = self._report.alike
        columns = [dict(group[0].column(target)) for group in groups]
        peers = sorted({peer for column in columns for peer in column})
        if not peers:
            return ""
        also = ""
        if wider:
            links = " ".join(f'<a href="#{target_id(each)}">{code(each)}</a>' for each in wider)
            also = f' <small class="also">and what stands under {links}</small>'
        head = f"Who reaches {code(target)}{also}"
        tall = ' class="tall"' if len(peers) > _TALL else ""
        first = f'<tr class="group"><th scope="rowgroup" colspan="{len(groups) + 1}">{head}</th></tr>'
        lines = [f'<tbody id="{target_id(target)}"{tall}>{first}']
        for peer in peers:
            cells = zip(map(_names, groups), (each.get(peer) for each in columns), strict=True)
            lines.append(self._row(peer, cells))
        return "\n".join([*lines, "</tbody>"])

    def _row(self, peer: str, cells: Iterable[tuple[str, Cell | None]]) -> str:
        labelled = list(cells)
        verdicts, rules = dict[str, None](), dict[str, Rule]()
        for _, each in labelled:
            verdicts[str(each.verdict if each else Verdict.NO_RULE)] = None
            rules |= {rule: self._rules[rule] for rule in (each.rules if each else ())}
        row = f'<tr data-verdicts="{listed(verdicts)}" data-owners="{owners_of(rules.values())}">'
        row += f'<th scope="row">{code(peer)}</th>'
        return row + "".join(self._cell(label, each) for label, each in labelled) + "</tr>"

    def _cell(self, label: str, found: Cell | None) -> str:
        if found is None:
            return cell(label, badge(Verdict.NO_RULE))
        shown = badge(found.verdict)
        if found.if_enforced not in {None, found.verdict}:
            shown += f" <small>if observing rules decided: {badge(Verdict(str(found.if_enforced)))}</small>"
        shown += "".join(f'<div class="behind">{self._behind(found, each)}</div>' for each in found.behind)
        return cell(label, shown)

    def _behind(self, found: Cell, each: RuleBehind) -> str:
        """Return a rule behind a verdict: its link, the requests that it is about, and what limits it."""
        rule = self._rules[each.rule]
        words = "" if each.allows else '<span class="not">denies</span> '
        if found.verdict is Verdict.DENIED:
            words = "<small>would allow</small> " if each.allows else ""
        shown = f"{link(each.rule)} {words}{_requests(rule)}"
        if not each.is_whole:
            shown += " <small>for some of them</small>"
        shown += _some(" <small>not for</small> ", each.not_for)
        if rule.needs_token:
            shown += " <small>with a token</small>"
        return shown + (f" {flag('observes only')}" if each.observe else "")


def _requests(rule: Rule) -> str:
    return _some("", rule.http) + _some(" <small>but not</small> ", rule.not_http)


def _some(word: str, values: tuple[object, ...]) -> str:
    """Return the first of some patterns after a word; the table of rules has all of them."""
    more = f" <small>and {len(values) - _SOME} more</small>" if len(values) > _SOME else ""
    return word + " ".join(code(str(each)) for each in values[:_SOME]) + more if values else ""


def _names(matrices: tuple[Matrix, ...]) -> str:
    return ", ".join(each.policy.environment.name for each in matrices)


def _to(target: str) -> str:
    return f"to {target}"
