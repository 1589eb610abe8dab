"""How `make docs` builds the site: the pages as they are in the repository, and a reference from the docstrings.

The source directory is the root of the repository, so that a relative link on a page means
the same on a forge and in the site. Nothing is fetched: no intersphinx, no fonts or scripts from elsewhere.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# In the order of previous and next.
PAGES = {
    "Use it": [
        "docs/guide",
        "docs/living-trust",
        "docs/kubernetes",
        "docs/policy",
        "docs/cli",
        "docs/testing",
        "docs/istio",
    ],
    "Look it up": ["docs/verification", "docs/reasons", "docs/performance", "docs/reference"],
    "The project": ["CONTRIBUTING", "SECURITY", "CHANGELOG"],
}
REFERENCE = [
    *("mesh", "decisions", "names", "trust", "verification", "policy", "operation", "errors"),
    *("sources", "http", "metrics", "testing", "istio"),
]
PUBLIC = ("meshid", *(f"meshid.{module}" for module in REFERENCE[8:]))

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
    "inherited-members": "BaseException,Enum,Formatter,Mapping,OSError,Protocol,SSLContext,_SSLContext,dict,str",
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 100

html_theme = "furo"
html_title = "meshid"
html_copy_source = False
html_extra_path = ["policy-1.schema.json"]


def add_table_of_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Give the README and the reference what a forge would show as a strange block of code."""
    for caption, pages in PAGES.items() if page == root_doc else ():
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
    if page == "docs/reference":
        source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(f"reference/{it}" for it in REFERENCE) + "\n```\n"


def name_public_bases(_app: Sphinx, _name: str, _kind: type, _options: object, bases: list[type]) -> None:
    """Show the bases of a private base in its place."""
    while private := [base for base in bases if base.__name__.startswith("_")]:
        at = bases.index(private[0])
        bases[at : at + 1] = private[0].__bases__


def find_in_other_modules(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Make `Mesh` a link in the docstrings of `meshid.sources`, too."""
    if node["refdomain"] != "py":
        return None
    python, name = env.domains.python_domain, node["reftarget"]
    found = (
        python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"{module}.{name}", node, content)
        for module in PUBLIC
    )
    return next(filter(None, found), None)


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("source-read", add_table_of_contents)
    app.connect("autodoc-process-bases", name_public_bases)
    app.connect("missing-reference", find_in_other_modules)
