"""Subprocesses that are forked, interrupted or killed."""

from __future__ import annotations

import os

UNMEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""Their environment, without coverage: it holds a lock, which an interrupt or a fork at a bad moment leaves
locked for ever."""
