"""What changes while the server runs, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import attrs

from meshid.certificates.reading import fingerprint
from meshid.cli.demo.cases import CHECKOUT_ADMITTED, SHOP_ADMITTED
from meshid.cli.demo.clients import SERVED, Client, Line, ReturningClient, connection
from meshid.cli.demo.stage import Stage
from meshid.cli.demo.verdicts import Evidence, Expected
from meshid.cli.demo.world import CHECKOUT, ENVIRONMENT, POLICY
from meshid.decisions import Call
from meshid.errors import InvalidInput
from meshid.policy import Policy
from meshid.reasons import Reason
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations

OLD_AUTHORITY = Expected(reason=Reason.UNKNOWN_AUTHORITY)


async def deny_a_certificate(stage: Stage) -> None:
    """Put a certificate on the deny list whose session OpenSSL goes on resuming."""
    stage.table.section("While it runs, a certificate is put on the deny list: mesh.publish(revocations=...)")
    credentials = stage.world.prod.issue(CHECKOUT)
    client = ReturningClient(credentials)
    faults = await _faults_of_session(stage, client)
    stage.server.mesh.publish(revocations=Revocations(deny=[fingerprint(credentials.chain[0])]))
    evidence = await _visit(stage, client)
    if not client.resumed:
        faults.append("OpenSSL must have resumed the session, so that meshid alone refuses it")
    stage.show("its session, offered again", Expected(reason=Reason.DENY_LISTED), evidence, faults)


async def replace_the_authority(stage: Stage) -> None:
    """Replace the prod CA under connections that are open; the listener stays."""
    old, shop = stage.world.prod.issue(CHECKOUT), stage.world.shop()
    client = ReturningClient(old)
    faults = await _faults_of_session(stage, client)
    port = stage.server.port
    async with connection(port, old) as old_line, connection(port, shop) as shop_line:
        lines = {line: await _faults_of_line(line) for line in (old_line, shop_line)}
        stage.table.section(
            "The prod CA is replaced: mesh.publish(credentials=..., bundles=...); the listener stays"
        )
        ended = await stage.watch(Client.ASYNCIO, _publish_successor(stage, old_line))
        stage.show("a peer of the old CA", OLD_AUTHORITY, await stage.knock(Client.OPENSSL, old))
        stage.show("its session, offered again", OLD_AUTHORITY, await _visit(stage, client), faults)
        at_once = attrs.evolve(OLD_AUTHORITY, call=Call.REVIEW)
        stage.show("its open connection, at once", at_once, ended, lines[old_line])
        goes_on = await stage.watch(Client.ASYNCIO, shop_line.say_hello())
        checked = attrs.evolve(SHOP_ADMITTED, call=Call.CHECK)
        stage.show("Linkerd's open connection", checked, goes_on, lines[shop_line])
    new = stage.world.successor.issue(CHECKOUT)
    stage.show("a peer of the new CA", CHECKOUT_ADMITTED, await stage.knock(Client.BLOCKING, new))


async def reject_wrong_updates(stage: Stage) -> None:
    """Try two updates that are wrong; the state before them serves on."""
    stage.table.section("Two updates are wrong: each is rejected, and the state before it serves on")
    mesh, successor = stage.server.mesh, stage.world.successor
    chain, key = successor.issue(CHECKOUT).chain_pem, successor.issue(CHECKOUT).key_pem
    typo = POLICY.replace("from =", "form =", 1)
    await _reject(
        stage,
        "a key that does not match",
        lambda: mesh.publish(credentials=X509Svid.from_pem(chain, key)),
        Client.ASYNCIO,
    )
    await _reject(
        stage,
        "a policy with a typo",
        lambda: mesh.publish(policy=Policy.from_toml(typo, ENVIRONMENT)),
        Client.OPENSSL,
    )


async def _publish_successor(stage: Stage, line: Line) -> str:
    """Publish the new CA, and return what the client of an open connection saw of it."""
    world = stage.world
    stage.server.mesh.publish(
        credentials=world.own_credentials(world.successor).svid, bundles=world.bundles(world.successor)
    )
    return await line.listen()


async def _reject(stage: Stage, what: str, update: Callable[[], object], client: Client) -> None:
    before = stage.server.mesh.snapshot
    faults = []
    try:
        update()
    except InvalidInput as error:
        note = f"{type(error).__name__}: {'; '.join(str(error).splitlines())}"
    else:
        note = ""
        faults.append("the update must be rejected, and was accepted")
    if stage.server.mesh.snapshot is not before:
        faults.append("the snapshot in force must be the one before the update")
    evidence = await stage.knock(client, stage.world.successor.issue(CHECKOUT))
    stage.show(what, CHECKOUT_ADMITTED, evidence, faults, note=note)


async def _visit(stage: Stage, client: ReturningClient) -> Evidence:
    return await stage.watch(Client.BLOCKING, asyncio.to_thread(client.knock, stage.server.port))


async def _faults_of_session(stage: Stage, client: ReturningClient) -> list[str]:
    """Without a session that can be resumed before the change, a refusal after it would prove nothing."""
    seen = [(await _visit(stage, client)).saw for _ in range(2)]
    return [] if client.resumed else [f"the session could not even be resumed before the change: {seen}"]


async def _faults_of_line(line: Line) -> list[str]:
    saw = await line.say_hello()
    return [] if saw.startswith(SERVED) else [f"the connection was not even served before the change: {saw}"]
