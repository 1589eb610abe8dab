"""What `import meshid` gives, and what it must not bring along."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
import typing
from types import ModuleType

import pytest

import meshid
import meshid.sources
import meshid.testing

PUBLIC = [(name, getattr(meshid, name, None)) for name in meshid.__all__]
OPTIONAL = [
    "meshid.__main__",
    "meshid.cli",
    "meshid.envoy",
    "meshid.grpc",
    "meshid.http",
    "meshid.istio",
    "meshid.metrics",
    "meshid.testing",
]
LOADED_WHEN_USED = [
    "meshid.audit.replay",
    "meshid.cli",
    "meshid.envoy",
    "meshid.grpc",
    "meshid.health.state_file",
    "meshid.http",
    "meshid.istio",
    "meshid.metrics",
    "meshid.policy.analysis.automata",
    "meshid.policy.analysis.boxes",
    "meshid.policy.analysis.diff",
    "meshid.policy.analysis.lint",
    "meshid.policy.analysis.prove",
    "meshid.policy.analysis.regions",
    "meshid.policy.analysis.typos",
    "meshid.policy.file",
    "meshid.policy.report",
    "meshid.settings.lookup",
    "meshid.settings.parsing",
    "meshid.sources.alarms",
    "meshid.sources.endpoint",
    "meshid.sources.files",
    "meshid.sources.https",
    "meshid.sources.merging",
    "meshid.sources.refresher",
    "meshid.sources.token_keys",
    "meshid.sources.workload",
    "meshid.support.did_you_mean",
    "meshid.support.documents",
    "meshid.testing",
    "meshid.trust.deny_list_document",
]
ONLY_FOR_TESTS = ["hypothesis", "pytest"]


def test_the_public_names_are_sorted_and_listed_once() -> None:
    def constants_then_classes_then_functions(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert list(meshid.__all__) == sorted(set(meshid.__all__), key=constants_then_classes_then_functions)


@pytest.mark.parametrize("name", meshid.__all__)
def test_a_public_name_is_there_and_is_not_a_module(name: str) -> None:
    assert not isinstance(getattr(meshid, name), ModuleType)


def test_no_thing_has_two_public_names() -> None:
    names = {id(thing): name for name, thing in PUBLIC}
    assert sorted(names.values()) == sorted(meshid.__all__)


def test_nothing_that_looks_public_is_left_out() -> None:
    public = {
        name
        for name, thing in vars(meshid).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType) and name != "annotations"
    }
    assert public == {name for name in meshid.__all__ if not name.startswith("_")}


@pytest.mark.parametrize(("name", "thing"), [(name, thing) for name, thing in PUBLIC if callable(thing)])
def test_a_public_class_or_function_says_what_it_is_for(name: str, thing: object) -> None:
    assert (thing.__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("room", LOADED_WHEN_USED)
def test_a_room_that_is_loaded_when_it_is_used_is_there(room: str) -> None:
    assert importlib.util.find_spec(room) is not None


def test_importing_meshid_loads_only_what_its_public_names_need() -> None:
    code = "import sys, meshid; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = run.stdout.split()
    assert "meshid" in imported
    # A room comes with its package, so the package is enough to look for.
    assert not {*LOADED_WHEN_USED, *ONLY_FOR_TESTS} & set(imported)


def routines(kind: type) -> list[object]:
    members = [inspect.getattr_static(kind, name) for name in dir(kind)]
    return [getattr(each, "__func__", getattr(each, "fget", each)) for each in members]


@pytest.mark.parametrize("module", [meshid, meshid.sources, meshid.testing])
def test_the_types_of_what_is_public_can_be_asked_for(module: ModuleType) -> None:
    """As dependency injection and generators of documentation do."""
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing):
            typing.get_type_hints(thing)
            for each in filter(inspect.isfunction, routines(thing)):
                typing.get_type_hints(each)
        elif inspect.isfunction(thing):
            typing.get_type_hints(thing)


def test_a_name_that_there_is_not_is_an_error_of_an_attribute() -> None:
    with pytest.raises(AttributeError, match=r"^module 'meshid\.sources' has no attribute 'WorkloadAPI'$"):
        _ = meshid.sources.WorkloadAPI  # type: ignore[attr-defined]
    assert sorted(dir(meshid.sources)) == meshid.sources.__all__
