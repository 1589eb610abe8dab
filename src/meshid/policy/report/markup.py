"""Pieces of the page that all of it uses: patterns, badges, tables, links to rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

from meshid.policy.report.verdicts import Verdict
from meshid.policy.rules import Rule

_MARKS = {
    Verdict.ALLOWED: "✓",
    Verdict.REQUESTS: "◐",
    Verdict.PARTLY: "◔",
    Verdict.DENIED: "✕",
    Verdict.NO_RULE: "-",
}

_PATTERN = re.compile(
    r"""(?:(?<![^\s"'(])(?:[A-Z][A-Z0-9_.-]*|[*])[ ](?=/))?"""
    r"""[^\s,;"'()/]*/(?:[^\s,;:"'()]|[,;:](?=[^\s,;:"'()])|\([^\s()]*\))*|(?<!\S)[*]{2}(?!\S)"""
)
"""A pattern, or a condition, within a sentence; a comma or a colon after it is of the sentence."""

_WHOLE = 24
"""Characters up to which a pattern never breaks, nor any of its segments."""


def code(text: str) -> str:
    """Return a pattern or a condition.

    A line may end after a "/" only, and only before a segment that is no wildcard: a `**` alone on a line
    would read as another pattern. What breaks nevertheless is indented, and framed as one. A segment breaks
    only if it fits on no telephone.
    """
    if len(text) <= _WHOLE:
        return f"<code>{escape(text)}</code>"
    scheme, mark, rest = text.rpartition("://")
    first, *segments = rest.split("/")
    pieces = [f"{scheme}{mark}{first}"]
    for segment in segments:
        # A browser would break after any "/" and "-" by itself: within a piece, it may not.
        if segment.strip("*") and pieces != [""]:
            pieces[-1] += "/"
            pieces.append(segment)
        else:
            pieces[-1] += f"/{segment}"
    short = [each[at : at + _WHOLE * 2] for each in pieces for at in range(0, len(each) or 1, _WHOLE * 2)]
    return f"<code>{'<wbr>'.join(f'<span>{escape(each)}</span>' for each in short)}</code>"


def prose(text: str) -> str:
    """Return a sentence; each pattern in it stands as `code` shows it, with its method and without quotes."""
    shown, at = "", 0
    for found in _PATTERN.finditer(text):
        start, end = found.span()
        is_quoted = text[at:start].endswith("'") and text.startswith("'", end)
        shown += escape(text[at : start - is_quoted]) + code(found[0])
        at = end + is_quoted
    return shown + escape(text[at:])


def codes(texts: Iterable[object]) -> str:
    """Return patterns, each on a line of its own."""
    return "".join(f"<div>{code(str(each))}</div>" for each in texts)


def badge(verdict: Verdict, word: str = "") -> str:
    """Return a verdict with its mark."""
    kind = verdict.value.replace(" ", "-")
    mark = f'<span aria-hidden="true">{_MARKS[verdict]}</span>'
    return f'<span class="badge {kind}">{mark} {escape(word or verdict)}</span>'


def flag(text: str) -> str:
    """Return a warning of a few words."""
    return f'<span class="flag">{escape(text)}</span>'


def link(rule: str) -> str:
    """Return a link to a rule."""
    return f'<a href="#rule-{escape(rule)}">{escape(rule)}</a>'


def target_id(target: str) -> str:
    """Return the id of the table of a target."""
    return "to-" + "".join(each if each.isalnum() or each in "-_." else f"~{ord(each):x}~" for each in target)


def heads(*names: str) -> str:
    """Return the heads of a table, and begin its body."""
    cells = "".join(f'<th scope="col">{head}</th>' for head in names)
    return f"<thead><tr>{cells}</tr></thead><tbody>"


def cell(label: str, content: str, *, more: str = "") -> str:
    """Return a cell; its label stands beside it where there is no room for heads."""
    return f'<td data-label="{escape(label)}"{more}>{content}</td>'


def table(caption: str, names: Iterable[str], rows: Iterable[str], kind: str = "") -> Iterator[str]:
    """Yield a table of rows of cells.

    Args:
        caption: What it is about, for readers of the screen.
        names: The heads.
        rows: The cells of each row.
        kind: A class.
    """
    yield f'<div class="wide"><table class="{kind or "plain"}">'
    yield f'<caption class="hidden">{escape(caption)}</caption>'
    yield heads(*map(escape, names))
    yield from (f"<tr>{row}</tr>" for row in rows)
    yield "</tbody></table></div>"


def owners_of(rules: Iterable[Rule]) -> str:
    """Return the owners of rules, for the filter."""
    return listed(" ".join(rule.owner.split()) for rule in rules)


def listed(values: Iterable[str]) -> str:
    """Return different values for a filter, in line feeds, of which no value has any."""
    return escape("".join(f"\n{each}" for each in dict.fromkeys(values)) + "\n")
