"""Who knocks at the server, and what must come of it: the table of the demo."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

from meshid.cli.demo.clients import Client
from meshid.cli.demo.table import STAR
from meshid.cli.demo.verdicts import Expected
from meshid.cli.demo.world import (
    BUILD_AGENT,
    BUILD_AGENT_RULE,
    CHECKOUT,
    CHECKOUT_ID,
    CHECKOUT_RULE,
    SHOP_ID,
    SHOP_RULE,
    World,
)
from meshid.reasons import Reason
from meshid.testing import CA, Issued

CHECKOUT_ADMITTED = Expected(reason=Reason.ALLOWED, rule=CHECKOUT_RULE, name=CHECKOUT_ID)
SHOP_ADMITTED = Expected(reason=Reason.ALLOWED, rule=SHOP_RULE, name=SHOP_ID)


@attrs.frozen
class Case:
    """One peer, or one that would be.

    Attributes:
        what: What it is.
        client: The kind of client that it uses.
        credentials: What it presents.
        expected: What must come of it.
    """

    what: str
    client: Client
    credentials: Callable[[World], Issued | None]
    expected: Expected


def self_signed(_: World) -> Issued:
    """Return a leaf that is signed with its own key, and looks right otherwise."""
    own = CA(
        "prod.example.org",
        subject="CN=self-signed",
        uris=[CHECKOUT_ID],
        ca=False,
        usages={"digital_signature"},
        purposes={"client", "server"},
    )
    return Issued(own.certificate, own.key, ())


def without_its_intermediate(world: World) -> Issued:
    """Return a good leaf whose intermediate is not sent along."""
    leaf = world.prod.intermediate().issue(CHECKOUT)
    return Issued(leaf.certificate, leaf.key, ())


def _from_now(hours: int) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


CASES = (
    Case(
        "allowed by a rule",
        Client.ASYNCIO,
        lambda world: world.prod.intermediate().issue(CHECKOUT),
        CHECKOUT_ADMITTED,
    ),
    Case(
        "denied by a rule",
        Client.BLOCKING,
        lambda world: world.prod.issue(BUILD_AGENT),
        Expected(reason=Reason.DENIED, rule=BUILD_AGENT_RULE),
    ),
    Case(
        "no rule for it",
        Client.OPENSSL,
        lambda world: world.prod.issue("/ns/reports/sa/batch"),
        Expected(reason=Reason.NO_RULE),
    ),
    Case(
        "the same workload, from dev",
        Client.ASYNCIO,
        lambda world: world.dev.issue(CHECKOUT),
        Expected(reason=Reason.NO_RULE),
    ),
    Case(
        f"{STAR} a dev CA mints a prod name",
        Client.OPENSSL,
        lambda world: world.dev.issue(CHECKOUT_ID),
        Expected(reason=Reason.FOREIGN_AUTHORITY),
    ),
    Case(
        "unknown trust domain",
        Client.BLOCKING,
        lambda _: CA("elsewhere.example").issue(CHECKOUT),
        Expected(reason=Reason.UNKNOWN_TRUST_DOMAIN),
    ),
    Case("self-signed", Client.ASYNCIO, self_signed, Expected(reason=Reason.SELF_SIGNED)),
    Case(
        "missing intermediate",
        Client.OPENSSL,
        without_its_intermediate,
        Expected(reason=Reason.UNKNOWN_AUTHORITY),
    ),
    Case(
        "expired",
        Client.BLOCKING,
        lambda world: world.prod.issue(CHECKOUT, not_after=_from_now(-1)),
        Expected(reason=Reason.EXPIRED),
    ),
    Case(
        "not yet valid",
        Client.ASYNCIO,
        lambda world: world.prod.issue(CHECKOUT, not_before=_from_now(1), not_after=_from_now(2)),
        Expected(reason=Reason.NOT_YET_VALID),
    ),
    Case(
        "no URI SAN",
        Client.OPENSSL,
        lambda world: world.prod.issue(uris=[], dns=["checkout.prod.example.org"]),
        Expected(reason=Reason.NO_NAME),
    ),
    Case(
        "two URI SANs",
        Client.BLOCKING,
        lambda world: world.prod.issue(uris=[CHECKOUT_ID, f"{CHECKOUT_ID}-2"]),
        Expected(reason=Reason.MANY_NAMES),
    ),
    Case(
        "a SPIFFE ID without a path",
        Client.ASYNCIO,
        lambda world: world.prod.issue(""),
        Expected(reason=Reason.NAME_WITHOUT_PATH),
    ),
    Case(
        "a CA certificate as leaf",
        Client.OPENSSL,
        lambda world: world.prod.issue(CHECKOUT, ca=True, usages={"digital_signature", "key_cert_sign"}),
        Expected(reason=Reason.LEAF_IS_CA),
    ),
    Case(
        "a leaf that may sign",
        Client.BLOCKING,
        lambda world: world.prod.issue(CHECKOUT, usages={"digital_signature", "key_cert_sign"}),
        Expected(reason=Reason.LEAF_MAY_SIGN),
    ),
    Case(
        "no digitalSignature",
        Client.ASYNCIO,
        lambda world: world.prod.issue(CHECKOUT, usages={"key_agreement"}),
        Expected(reason=Reason.NO_DIGITAL_SIGNATURE),
    ),
    Case("no certificate at all", Client.BLOCKING, lambda _: None, Expected(reason=Reason.NO_CERTIFICATE)),
    Case(
        "a Linkerd name, by a rule",
        Client.OPENSSL,
        World.shop,
        SHOP_ADMITTED,
    ),
)
