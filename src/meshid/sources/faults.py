"""What a source raises."""

from __future__ import annotations

from meshid.errors import MeshidError


class SourceUnavailable(MeshidError):
    """A source cannot be read now."""


class AmbiguousSources(MeshidError):
    """Two sources tell of one thing that only one may tell of."""
