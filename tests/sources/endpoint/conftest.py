"""A self-serving endpoint, for tests that change what it serves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshid.testing import CA
from tests.helpers.endpoints import ENDPOINT, Endpoint, document, serving


@pytest.fixture
def partner() -> CA:
    return CA("partner.example")


@pytest.fixture
def endpoint(partner: CA) -> Iterator[Endpoint]:
    """A self-serving endpoint that presents what it should."""
    with serving(partner.issue(ENDPOINT), document(partner)) as endpoint:
        yield endpoint
