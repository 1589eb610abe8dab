"""`python -m meshid`, and the `meshid` command."""

from __future__ import annotations

import sys

from meshid.cli.commands import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
