"""What changes while the server runs, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from meshid.certificates.reading import fingerprint
from meshid.cli.demo.cases import admitted_checkout, admitted_shop
from meshid.cli.demo.clients import SERVED, BlockingClient, Client, HeldConnection, connected
from meshid.cli.demo.server import CHECKOUT, ENVIRONMENT, OWN, POLICY, DemoServer
from meshid.cli.demo.table import Case, CaseTable, Outcome
from meshid.decisions import Call
from meshid.errors import InvalidInput
from meshid.policy import Policy
from meshid.reasons import Reason
from meshid.support.quoting import one_line
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations


async def deny_a_certificate(server: DemoServer, table: CaseTable) -> None:
    """Put a certificate on the deny list while OpenSSL goes on resuming its session."""
    table.section("While it runs, a certificate is put on the deny list: mesh.publish(revocations=...)")
    credentials = server.prod.issue(CHECKOUT)
    client = BlockingClient(credentials)
    wrong = await _begin_session(server, client)
    server.mesh.publish(revocations=Revocations(deny=[fingerprint(credentials.chain[0])]))
    outcome = await _visit_again(server, client)
    if not client.resumed:
        wrong.append("OpenSSL must have resumed the session, so that meshid alone refuses it")
    table.add(Case("its session, offered again", Reason.DENY_LISTED), outcome, wrong)


async def replace_the_authority(server: DemoServer, table: CaseTable) -> None:
    """Replace the prod CA under open connections."""

    async def publish() -> str:
        svid = server.successor.issue(OWN).svid
        server.mesh.publish(credentials=svid, bundles=server.bundles(server.successor))
        return await old_connection.listen()

    def refused(what: str, call: Call = Call.ADMIT) -> Case:
        return Case(what, Reason.UNKNOWN_AUTHORITY, call=call)

    old, shop = server.prod.issue(CHECKOUT), server.issue_shop()
    client = BlockingClient(old)
    not_resumed = await _begin_session(server, client)
    async with connected(server.port, old) as old_connection, connected(server.port, shop) as shop_connection:
        not_served = [await _mismatch_of_hello(each) for each in (old_connection, shop_connection)]
        table.section(
            "The prod CA is replaced: mesh.publish(credentials=..., bundles=...); the listener stays"
        )
        ended = await server.outcome_of(Client.ASYNCIO, publish())
        table.add(refused("a peer of the old CA"), await server.visited_by(Client.OPENSSL, old))
        table.add(refused("its session, offered again"), await _visit_again(server, client), not_resumed)
        table.add(refused("its open connection, at once", Call.REVIEW), ended, not_served[0])
        served = await server.outcome_of(Client.ASYNCIO, shop_connection.say_hello())
        goes_on = attrs.evolve(admitted_shop("Linkerd's open connection"), call=Call.CHECK)
        table.add(goes_on, served, not_served[1])
    outcome = await server.visited_by(Client.BLOCKING, server.successor.issue(CHECKOUT))
    table.add(admitted_checkout("a peer of the new CA"), outcome)


async def reject_bad_updates(server: DemoServer, table: CaseTable) -> None:
    """Try two bad updates; the state before them stays in force."""
    table.section("Two updates are wrong: each is rejected, and the state before it stays in force")
    chain, key = server.successor.issue(CHECKOUT).chain_pem, server.successor.issue(CHECKOUT).key_pem
    typo = POLICY.replace("from =", "form =", 1)
    updates: tuple[tuple[str, Client, Callable[[], object]], ...] = (
        (
            "a key that does not match",
            Client.ASYNCIO,
            lambda: server.mesh.publish(credentials=X509Svid.from_pem(chain, key)),
        ),
        (
            "a policy with a typo",
            Client.OPENSSL,
            lambda: server.mesh.publish(policy=Policy.from_toml(typo, ENVIRONMENT)),
        ),
    )
    for what, client, update in updates:
        before, wrong, note = server.mesh.snapshot, [], ""
        try:
            update()
            wrong.append("the update must be rejected, and was accepted")
        except InvalidInput as error:
            note = f"{type(error).__name__}: {one_line(error)}"
        if server.mesh.snapshot is not before:
            wrong.append("the snapshot in force must be the one before the update")
        outcome = await server.visited_by(client, server.successor.issue(CHECKOUT))
        table.add(admitted_checkout(what), outcome, wrong, note)


async def _visit_again(server: DemoServer, client: BlockingClient) -> Outcome:
    return await server.outcome_of(Client.BLOCKING, client.visit(server.port))


async def _begin_session(server: DemoServer, client: BlockingClient) -> list[str]:
    """Visit twice: if a session cannot be resumed before the change, a refusal after it proves nothing."""
    saw = [await client.visit(server.port) for _ in range(2)]
    return [] if client.resumed else [f"the session could not even be resumed before the change: {saw}"]


async def _mismatch_of_hello(connection: HeldConnection) -> list[str]:
    saw = await connection.say_hello()
    return [] if saw.startswith(SERVED) else [f"the connection was not even served before the change: {saw}"]
