"""`meshid demo`: a real server, good and bad peers, and each decision with its reason."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time

from meshid.audit.event import LOGGER
from meshid.cli.demo.cases import CASES
from meshid.cli.demo.changes import deny_a_certificate, reject_bad_updates, replace_the_authority
from meshid.cli.demo.clients import HOST, has_openssl
from meshid.cli.demo.server import ENVIRONMENT, POLICY, SERVICE, DemoServer
from meshid.cli.demo.table import CaseTable
from meshid.cli.terminal import Colour, paint_for_stdout
from meshid.reasons import Reason

# The reason alone leaves something open: which rule was near, and who signed.
_WITH_DETAIL = {Reason.NO_RULE, Reason.FOREIGN_AUTHORITY}
_NO_HANDLER = logging.NullHandler()


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(_: argparse.Namespace) -> int:
    """Run the demo; return 1 if a case is not as expected."""
    return 0 if asyncio.run(_demo()) else 1


async def _demo() -> bool:
    # The table shows the audit events; without a handler, `logging` would print the refusals to stderr, too.
    LOGGER.addHandler(_NO_HANDLER)
    began = time.monotonic()
    table, server = CaseTable(paint_for_stdout()), DemoServer()
    async with server.listening():
        _introduce(table, server.port)
        table.head()
        for case, client, issue in CASES:
            outcome = await server.visited_by(client, issue(server))
            table.add(case, outcome, note=outcome.detail if case.reason in _WITH_DETAIL else "")
        await deny_a_certificate(server, table)
        await replace_the_authority(server, table)
        await reject_bad_updates(server, table)
    _sum_up(table, time.monotonic() - began)
    return not table.wrong


def _introduce(table: CaseTable, port: int) -> None:
    table.say(f"The service {SERVICE} listens on {HOST}:{port}: asyncio, TLS 1.3, real handshakes.")
    table.say(f"Its policy, loaded for the environment {ENVIRONMENT}:")
    table.say()
    for line in POLICY.splitlines():
        table.say(f"    {line}".rstrip(), Colour.QUIET)
    if not has_openssl():
        table.say()
        table.say("There is no openssl command here: the blocking client takes its place.")


def _sum_up(table: CaseTable, seconds: float) -> None:
    right = table.rows - len(table.wrong)
    colour = Colour.BAD if table.wrong else Colour.GOOD
    table.say()
    table.say(f"{right} of {table.rows} as expected, in {seconds:.1f} s.", colour)
    if table.wrong:
        table.say(f"Not as expected: {', '.join(map(str, table.wrong))}.", Colour.BAD)
    table.say()
    table.say("Read next:")
    table.say("  README.md        the lines that put this into your own server")
    table.say("  docs/guide.md    servers, clients, calls and updates, step by step")
    table.say("  docs/reasons.md  every reason, the clause that it enforces, and what to do")
