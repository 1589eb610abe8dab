"""A mesh that follows its sources."""

from meshid.refresh.refresher import START_SECONDS, Refresher
from meshid.refresh.state_file import HEARTBEAT_SECONDS

__all__ = ["HEARTBEAT_SECONDS", "START_SECONDS", "Refresher"]
