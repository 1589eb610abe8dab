"""What an operator sets: variables, files of a directory, a TOML file; and from where each value came."""

from meshid.settings.keys import BY_NAME, KEYS, Key
from meshid.settings.settings import Settings
from meshid.settings.trust import Trust

__all__ = ["BY_NAME", "KEYS", "Key", "Settings", "Trust"]
