"""`meshid policy …`: each question about a policy is a command."""

from __future__ import annotations

from meshid.cli.parsers import Group
from meshid.cli.policy import check, diff, explain, lint, prove, replay, report, schema
from meshid.cli.policy import import_istio as imports

__all__ = ["POLICY"]

POLICY = Group(
    "check a policy, and ask what it means",
    {
        "check": check,
        "explain": explain,
        "lint": lint,
        "diff": diff,
        "prove": prove,
        "replay": replay,
        "import": Group("make a policy file of another form", {"istio": imports}),
        "report": report,
        "schema": schema,
    },
)
