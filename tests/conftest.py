"""Fixtures that several rooms share."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from unittest import mock

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from meshid import Mesh
from meshid.support import logs
from meshid.testing import CA
from tests.helpers.tls_peers import Heard, mesh_of
from tests.helpers.world import Clock, World

pytest_plugins = ["meshid.testing.fixtures"]

# No deadline: a shared machine is slow at times. A test that hangs runs into pytest's own timeout.
settings.register_profile("meshid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshid")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup() -> None:
    """Let no test see the lines that another one's handlers have lost, nor hear those that it asked for."""
    # A framework that a test has made may have asked for every line of the process.
    logging.getLogger().setLevel(logging.WARNING)
    logs._LOST.clear()  # noqa: SLF001 - only a line that goes through does this


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Do not measure coverage in slow tests, nor in the processes that they start.

    Measured, they take three to four times as long. And brute force touches every line: without
    it, a line that no other test is about shows up as not covered.
    """
    coverage = Coverage.current()
    if coverage is None or item.get_closest_marker("slow") is None:
        return (yield)
    with mock.patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("COVERAGE")]:
            del os.environ[name]
        coverage.stop()
        try:
            return (yield)
        finally:
            coverage.start()


@pytest.fixture(scope="session")
def world() -> World:
    """The authorities of all cases; nothing in it changes."""
    return World()


@pytest.fixture
def clock() -> Clock:
    """A clock that the test sets; it starts at the real time."""
    return Clock()


@pytest.fixture
def heard() -> Heard:
    """The audit sink of `mesh`."""
    return Heard()


@pytest.fixture
def mesh(prod_ca: CA, heard: Heard, clock: Clock) -> Mesh:
    """A mesh of the service ``payments`` that trusts `prod_ca` and allows ``/ns/shop/**``."""
    return mesh_of(prod_ca, audit=heard, clock=clock)
