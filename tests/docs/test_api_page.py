"""docs/api.md says what is public, in the words of the docstrings.

After a change: ``python tests/test_api_page.py > docs/api.md``
"""

from __future__ import annotations

import inspect
from pathlib import Path

import meshid
import meshid.http
import meshid.metrics
import meshid.sources
import meshid.testing

PAGE = Path(__file__).parents[2] / "docs" / "api.md"

HEAD = """\
# The public names

All of these come with `import meshid`; the other modules are imported by name.
Whatever is not listed here is private.
Each docstring says units, what is raised, and the clause that is enforced: `help(meshid.Mesh)`.
"""


def summary(thing: object) -> str:
    lines = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(lines.split()).replace("|", "\\|")


def signature(thing: object) -> str:
    # Defaults that are objects would show their addresses.
    names = inspect.signature(thing).parameters if callable(thing) else {}
    return ", ".join(name for name in names if name != "self")


def methods(kind: type) -> list[str]:
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        target = member.__func__ if isinstance(member, classmethod) else member
        if inspect.isfunction(target):
            rows.append(f"- `.{name}({signature(target).removeprefix('cls, ')})`: {summary(target)}")
        elif isinstance(member, property):
            rows.append(f"- `.{name}`: {summary(member)}")
    return rows


def section(module: object, name: str) -> list[str]:
    thing = getattr(module, name)
    if not inspect.isclass(thing):
        call = f"({signature(thing)})" if inspect.isfunction(thing) else ""
        text = summary(thing) if call else f"See `{type(thing).__name__}`: {summary(type(thing))}"
        return [f"### `{name}{call}`", "", text, ""]
    rows = [] if issubclass(thing, BaseException) else methods(thing)
    return [f"### `{name}`", "", summary(thing), *(["", *rows] if rows else []), ""]


def page() -> str:
    lines = [HEAD]
    for module in (meshid, meshid.sources, meshid.http, meshid.metrics, meshid.testing):
        lines += [f"## `{module.__name__}`", ""]
        for name in sorted(module.__all__, key=str.lower):
            lines += section(module, name)
    return "\n".join(lines)


def test_the_page_says_what_the_docstrings_say() -> None:
    assert page() == PAGE.read_text("utf-8"), "run: python tests/test_api_page.py > docs/api.md"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 - the page is the output
