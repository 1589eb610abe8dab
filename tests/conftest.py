"""Fixtures that several rooms share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.world import Clock, World

pytest_plugins = ["meshid.testing.fixtures"]

# A shared machine is slow at times, which is no failure; a test that hangs meets pytest's own timeout.
settings.register_profile("meshid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshid")


@pytest.fixture(scope="session")
def world() -> World:
    """The authorities of all cases; nothing in it ever changes."""
    return World()


@pytest.fixture
def clock() -> Clock:
    """A clock that a test sets; it begins with the real time."""
    return Clock()
