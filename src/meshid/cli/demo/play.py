"""The play: the world, the server, everybody who knocks, and how it ended."""

from __future__ import annotations

import logging
import time

from meshid.audit.event import LOGGER, AuditEvent
from meshid.cli.demo.cases import CASES
from meshid.cli.demo.changes import deny_a_certificate, reject_wrong_updates, replace_the_authority
from meshid.cli.demo.clients import HOST, Client, kinds_of_clients
from meshid.cli.demo.server import Server
from meshid.cli.demo.stage import Stage
from meshid.cli.demo.table import Table
from meshid.cli.demo.world import ENVIRONMENT, POLICY, SERVICE, World
from meshid.cli.terminal import Colour, paint_for_stdout
from meshid.reasons import Reason

READ_NEXT = (
    "README.md        the lines that put this into your own server",
    "docs/guide.md    servers, clients, calls and updates, step by step",
    "docs/reasons.md  every reason, the clause that it enforces, and what to do",
)

# Where the name of the reason leaves the question open: which rule was near, and who signed.
_TELLING = {Reason.NO_RULE, Reason.FOREIGN_AUTHORITY}
_NOWHERE = logging.NullHandler()


async def play() -> bool:
    """Play the whole demo on standard output, and return whether all of it was as it must be."""
    # The table shows what the audit hears; without a handler, `logging` would print it once more.
    LOGGER.addHandler(_NOWHERE)
    began = time.monotonic()
    table = Table(paint_for_stdout())
    world, events = World(), list[AuditEvent]()
    server = Server(world.mesh(events.append))
    async with server.listening():
        stage = Stage(world, server, events, kinds_of_clients(), table)
        _introduce(stage)
        await _let_them_knock(stage)
        await deny_a_certificate(stage)
        await replace_the_authority(stage)
        await reject_wrong_updates(stage)
    _sum_up(table, time.monotonic() - began)
    return not table.wrong


def _introduce(stage: Stage) -> None:
    say = stage.table.say
    say(f"The service {SERVICE} listens on {HOST}:{stage.server.port}: asyncio, TLS 1.3, real handshakes.")
    say(f"Its policy, loaded for the environment {ENVIRONMENT}:")
    say()
    for line in POLICY.splitlines():
        say(f"    {line}".rstrip(), Colour.QUIET)
    if Client.OPENSSL not in stage.clients:
        say()
        say("There is no openssl command here: the blocking client stands in for it.")


async def _let_them_knock(stage: Stage) -> None:
    stage.table.head()
    for case in CASES:
        evidence = await stage.knock(case.client, case.credentials(stage.world))
        note = evidence.detail if case.expected.reason in _TELLING else ""
        stage.show(case.what, case.expected, evidence, note=note)


def _sum_up(table: Table, seconds: float) -> None:
    right = table.rows - len(table.wrong)
    table.say()
    table.say(
        f"{right} of {table.rows} as they must be, in {seconds:.1f} s.",
        Colour.BAD if table.wrong else Colour.GOOD,
    )
    if table.wrong:
        table.say(f"Not as they must be: {', '.join(map(str, table.wrong))}.", Colour.BAD)
    table.say()
    table.say("Read next:")
    for line in READ_NEXT:
        table.say(f"  {line}")
