"""docs/frameworks.md: the tables, made from docs/frameworks.json.

After a change of rows.py: ``make frameworks``
"""

from __future__ import annotations


def write() -> None:
    """Write the tables into the page."""
