"""How `make docs` builds the site: the pages as they are, and a reference made from the docstrings.

The source directory is the root of the repository, so that a relative link on a page means
the same on a forge and in the site. Nothing is fetched: no intersphinx, no fonts or scripts
from elsewhere.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping

import attrs
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# In the order of previous and next.
PAGES = {
    "Use it": ["guide", "tls", "reloading", "kubernetes", "policy", "tokens", "cli", "testing", "istio"],
    "With your framework": [
        "frameworks",
        "asgi",
        "wsgi",
        "asyncio",
        "threads",
        "twisted",
        "grpc",
        "clients",
    ],
    "With a proxy": ["proxies", "port", "authorizer", "nginx", "haproxy", "envoy", "caddy", "custom-proxy"],
    "Look it up": ["verification", "reasons", "performance", "reference"],
    "The project": ["/CONTRIBUTING", "/SECURITY", "/CHANGELOG"],
}
MODULES = ["sources", "http", "grpc", "port", "tokens", "metrics", "testing", "istio", "envoy"]
PUBLIC = [importlib.import_module(name) for name in ("meshid", *(f"meshid.{it}" for it in MODULES))]
REFERENCE = [
    "mesh",
    "decisions",
    "names",
    "trust",
    "verification",
    "policy",
    "operation",
    "errors",
    *MODULES,
    "fields",
]

project = "meshid"
project_copyright = "The meshid authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/reference/*.rst"]
exclude_patterns = [".*", "benchmarks", "build", "dist", "src", "tests"]

myst_heading_anchors = 3

# A name in single backticks is a link where there is such a name, and code where there is none.
default_role = "py:obj"
autodoc_default_options = {
    "members": True,
    # From our own bases, and not from these.
    "inherited-members": "BaseException, Enum, Formatter, Mapping, OSError, Protocol, SSLContext,"
    "_SSLContext, dict, str",
}
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 100

html_theme = "furo"
html_title = "meshid"
html_copy_source = False
html_extra_path = ["policy-1.schema.json"]


def add_table_of_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add what a forge would show as a block of code."""
    if page == root_doc:
        for caption, pages in PAGES.items():
            source[0] += toctree(
                [f"/docs/{it}" if it[0] != "/" else it for it in pages], f":caption: {caption}"
            )
    if page == "docs/reference":
        source[0] += toctree([f"reference/{it}" for it in REFERENCE])
    if page == "docs/reference/fields":
        named = {it for module in PUBLIC for it in vars(module).values() if inspect.isclass(it)}
        for kind in sorted(with_types_of_fields(named) - named, key=lambda it: it.__name__):
            source[0] += f"\n.. autoclass:: {kind.__module__}.{kind.__name__}\n"


def with_types_of_fields(kinds: set[type]) -> set[type]:
    """Return the classes of a package with those of it that their fields have."""
    packages = {kind.__module__.partition(".")[0] for kind in kinds}
    found = {
        each
        for kind in kinds
        if attrs.has(kind)
        for field in attrs.fields(kind)
        if not field.name.startswith("_")
        for each in classes_in(field.type, vars(sys.modules[kind.__module__]))
        if each.__module__.partition(".")[0] in packages
    }
    return kinds if found <= kinds else with_types_of_fields(kinds | found)


def classes_in(annotation: object, names: Mapping[str, object]) -> Iterator[type]:
    """Yield the classes in an annotation; a string may have names that only a type checker knows."""
    if inspect.isclass(annotation):
        yield annotation
    words = re.findall(r"\w+", annotation) if isinstance(annotation, str) else ()
    for part in (*(names.get(word) for word in words), *typing.get_args(annotation)):
        yield from classes_in(part, names)


def toctree(pages: list[str], *options: str) -> str:
    """Return a table of contents for the sidebar, not for the page."""
    return "\n".join(["", "```{toctree}", ":hidden:", *options, "", *pages, "```", ""])


def name_public_bases(_app: Sphinx, _name: str, _kind: type, _options: object, bases: list[type]) -> None:
    """Show the bases of a private base in its place."""
    while private := [base for base in bases if base.__name__.startswith("_")]:
        at = bases.index(private[0])
        bases[at : at + 1] = private[0].__bases__


def shorten_types(
    _app: Sphinx, _kind: str, _name: str, _thing: object, _options: object, doc: list[str]
) -> None:
    """Say `SpiffeId` of a field's type, and not where it is defined."""
    doc[:] = [re.sub(r"(?:\w+\.)+\w+", r"~\g<0>", line) if ":type:" in line else line for line in doc]


def find_in_other_modules(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Make `Mesh` a link in the docstrings of `meshid.sources`, too."""
    if node["refdomain"] != "py":
        return None
    python, name = env.domains.python_domain, node["reftarget"]
    found = (
        python.resolve_xref(
            env, node["refdoc"], app.builder, "obj", f"{module.__name__}.{name}", node, content
        )
        for module in PUBLIC
    )
    return next(filter(None, found), None)


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", add_table_of_contents)
    app.connect("autodoc-process-docstring", shorten_types, priority=600)  # after Napoleon
    app.connect("autodoc-process-bases", name_public_bases)
    app.connect("missing-reference", find_in_other_modules)
