"""A mesh of the service ``payments``, and an ear at its door."""

from __future__ import annotations

import pytest

from meshid import Mesh
from meshid.testing import CA
from tests.helpers.tls_peers import Heard, mesh_of
from tests.helpers.world import Clock


@pytest.fixture
def heard() -> Heard:
    """What the mesh tells its audit."""
    return Heard()


@pytest.fixture
def mesh(prod_ca: CA, heard: Heard, clock: Clock) -> Mesh:
    """A mesh that trusts `prod_ca` and lets ``/ns/shop/**`` in."""
    return mesh_of(prod_ca, audit=heard, clock=clock)
