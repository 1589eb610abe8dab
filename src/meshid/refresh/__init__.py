"""A mesh that follows its sources."""

from meshid.refresh.refresher import START_SECONDS, Refresher

__all__ = ["START_SECONDS", "Refresher"]
