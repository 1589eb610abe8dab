"""Processes of their own that are forked, interrupted or killed."""

from __future__ import annotations

import os

UNMEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""Their environment, without the measuring of coverage: it has a lock of its own, which an interrupt or
a fork at a bad moment leaves locked for ever."""
