"""Where credentials, trust, revocations and policies come from, and go on coming from."""

from meshid.sources.state import Source, State

__all__ = ["Source", "State"]
