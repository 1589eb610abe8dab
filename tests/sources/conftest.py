"""Fixtures that tests of sources share."""

from __future__ import annotations

import pytest

from meshid.sources import State
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import OWN, hurry
from tests.helpers.tls_peers import policy


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of waiting is a fiftieth of one."""
    hurry(monkeypatch)


@pytest.fixture
def own(prod_ca: CA) -> FakeSource:
    """All that a mesh needs, in one source."""
    return FakeSource(
        "own", State(credentials=prod_ca.issue(OWN).svid, bundles=(prod_ca.bundle(),), policy=policy())
    )
