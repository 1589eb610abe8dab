"""Fixtures for tests of services that use meshid.

Put ``pytest_plugins = ["meshid.testing.fixtures"]`` into your top-level ``conftest.py``.
Making a key takes a tenth of a millisecond, so each test gets its own authorities.
"""

from __future__ import annotations

import pytest

from meshid.testing.ca import CA


@pytest.fixture
def prod_ca() -> CA:
    """The authority of ``prod.example.org``."""
    return CA("prod.example.org")


@pytest.fixture
def dev_ca() -> CA:
    """The authority of another trust domain, ``dev.example.org``."""
    return CA("dev.example.org")
