"""The site builds without a warning, needs no network, and its reference has every public name.

What is public is read from the code: the `__all__` of the public modules, and of each class the
methods, properties, fields, enum members and attributes that it or a base of ours has. Sphinx
lists a member only if it has a docstring, an entry under "Attributes:", or a string after it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import re
import runpy
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from sphinx.util.inventory import InventoryFile

import meshid

ROOT = Path(__file__).parents[2]
MODULES = (
    "meshid",
    *(
        f"meshid.{name}"
        for name in ("envoy", "grpc", "http", "istio", "metrics", "sources", "testing", "tokens")
    ),
)

with_types_of_fields = runpy.run_path(str(ROOT / "docs" / "conf.py"))["with_types_of_fields"]


def build(source: Path, site: Path, *options: str) -> None:
    command = ["-m", "sphinx", "-q", "-c", str(ROOT / "docs"), *options, str(source), str(site)]
    ran = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def documented(site: Path) -> set[str]:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind, names in inventory.data.items() if kind.startswith("py:") for name in names}


# -- What is public -------------------------------------------------------------------------------


def is_ours(kind: type, package: str) -> bool:
    return kind.__module__.partition(".")[0] == package


def assigned_to_self(kind: type) -> Iterator[str]:
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind)))):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def members(kind: type) -> set[str]:
    package = kind.__module__.partition(".")[0]
    names: set[str] = set()
    for base in kind.__mro__:
        if is_ours(base, package):
            names |= {*vars(base), *inspect.get_annotations(base), *assigned_to_self(base)}
    elsewhere = {name for base in kind.__mro__ if not is_ours(base, package) for name in vars(base)}
    return {name for name in names - elsewhere if not name.startswith("_")}


def public_names(module: ModuleType) -> Iterator[str]:
    for name in module.__all__:
        yield f"{module.__name__}.{name}"
        thing = getattr(module, name)
        if inspect.isclass(thing):
            yield from (f"{module.__name__}.{name}.{member}" for member in members(thing))


def things(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the public classes, functions and methods."""
    for name in module.__all__:
        thing = getattr(module, name)
        yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            for member in members(thing):
                if inspect.isroutine(value := getattr(thing, member, None)):
                    yield f"{module.__name__}.{name}.{member}", value


def undocumented_arguments(module: ModuleType) -> Iterator[str]:
    """Yield what is neither under "Args:" or "Attributes:", nor written as *name* in the text."""
    for path, thing in things(module):
        text = inspect.getdoc(thing) or ""
        for name in arguments(thing):
            if not re.search(rf"^ +\*{{0,2}}{name}:|\*{name}\*", text, re.MULTILINE):
                yield f"{path}({name})"


def arguments(thing: object) -> Iterator[str]:
    if inspect.isclass(thing):
        if not is_made_by_users(thing):
            return
        private = {name.lstrip("_") for name in inspect.get_annotations(thing) if name.startswith("_")}
        thing = vars(thing)["__init__"]
    else:
        private = set()
    if callable(thing):
        yield from inspect.signature(thing).parameters.keys() - private - {"self"}


def is_made_by_users(kind: type) -> bool:
    if (
        issubclass(kind, BaseException)
        or getattr(kind, "_is_protocol", False)
        or "__init__" not in vars(kind)
    ):
        return False
    # What only meshid has, only meshid can pass.
    types = " ".join(map(str, inspect.get_annotations(vars(kind)["__init__"]).values()))
    return not {"Admission", "Question"} & set(re.findall(r"\w+", types))


PUBLIC = [importlib.import_module(name) for name in MODULES]


# -- The site -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    build(ROOT, path, "--fail-on-warning", "--keep-going")
    return path


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    public = {name for module in PUBLIC for name in public_names(module)}
    assert sorted(public - documented(site)) == []


def test_what_a_user_gets_from_a_field_is_in_the_reference(site: Path) -> None:
    public = {thing for module in PUBLIC for _, thing in things(module) if inspect.isclass(thing)}
    unnamed = with_types_of_fields(public) - public
    names = {f"{kind.__module__}.{kind.__name__}.{member}" for kind in unnamed for member in members(kind)}
    assert len(names) > len(unnamed) > 0
    assert sorted(names - documented(site)) == []


def test_every_public_class_and_function_has_a_docstring() -> None:
    assert [path for module in PUBLIC for path, thing in things(module) if not thing.__doc__] == []


def test_every_argument_is_documented() -> None:
    assert [argument for module in PUBLIC for argument in undocumented_arguments(module)] == []


def test_help_names_no_private_class_and_tells_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2")
    text = pydoc.plain(pydoc.render_doc(meshid.Mesh))
    assert not re.search(r"\b_[A-Z]", text)
    assert not [
        path for module in PUBLIC for path, thing in things(module) if "hunter2" in pydoc.render_doc(thing)
    ]


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    texts = [
        path.read_text("utf-8")
        for path in site.glob("**/*")
        if path.suffix in {".css", ".html", ".js"} and "_modules" not in path.parts
    ]
    assert len(texts) > len(PUBLIC)
    assert [found for text in texts for found in loads_from_elsewhere(text)] == []


def loads_from_elsewhere(text: str) -> Iterable[str]:
    tags = r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
    return re.findall(rf"{tags}|url\([\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", text)


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/x.js">',
        '<link rel="stylesheet" href="//fonts.example/css">',
        "src: url(https://fonts.example/a.woff2)",
        "@import 'https://fonts.example/css';",
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(text: str) -> None:
    assert len(list(loads_from_elsewhere(text))) == 1


# -- Planted ---------------------------------------------------------------------------------------

PLANTED = '''
import enum
import attrs

__all__ = ["Colour", "Thing", "paint"]

class Colour(enum.StrEnum):
    """A colour."""

    RED = "red"
    """It is said."""
    BLUE = "blue"

@attrs.frozen
class Thing:
    """A thing.

    Attributes:
        size: In metres.
        colours: On each side.
    """

    size: float
    weight: float
    colours: tuple[Colour, ...] = ()

    def move(self) -> None:
        """Move it."""

    def lift(self) -> None:
        self.height = 1

    @property
    def area(self) -> float:
        return 0.0

def paint(thing: Thing, colour: Colour, *, coats: int) -> None:
    """Paint *thing*.

    Args:
        colour: The colour.
    """
'''


def test_what_is_not_documented_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(PLANTED, "utf-8")
    (tmp_path / "README.md").write_text("# Planted\n\n```{eval-rst}\n.. automodule:: planted\n```\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    build(tmp_path, tmp_path / "site")
    planted = importlib.import_module("planted")
    assert set(public_names(planted)) - documented(tmp_path / "site") == {
        "planted.Colour.BLUE",
        "planted.Thing.area",
        "planted.Thing.height",
        "planted.Thing.lift",
        "planted.Thing.weight",
    }
    assert with_types_of_fields({planted.Thing}) == {planted.Thing, planted.Colour}
    assert sorted(undocumented_arguments(planted)) == ["planted.Thing(weight)", "planted.paint(coats)"]
