"""The version of the package that runs."""

from __future__ import annotations

import importlib.metadata


def installed_version() -> str:
    """Return the version of the installed package, or that there is none."""
    try:
        return importlib.metadata.version("meshid")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: a source tree)"
