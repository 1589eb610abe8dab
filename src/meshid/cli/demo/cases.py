"""Who visits the server, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from typing_extensions import Unpack

from meshid.cli.demo.clients import Client
from meshid.cli.demo.server import CHECKOUT, SHOP, DemoServer
from meshid.cli.demo.table import STAR, Case
from meshid.reasons import Reason
from meshid.testing import CA, Issued, Shape

CHECKOUT_ID = f"spiffe://prod.example.org{CHECKOUT}"

Issue = Callable[[DemoServer], Issued | None]
"""Issues what a client presents, by an authority of the server's world; None for no certificate."""


def admitted_checkout(what: str) -> Case:
    """Return the case of a peer that a rule of prod admits."""
    return Case(what, Reason.ALLOWED, "checkout-charges", CHECKOUT_ID)


def admitted_shop(what: str) -> Case:
    """Return the case of a Linkerd peer that a rule admits."""
    return Case(what, Reason.ALLOWED, "linkerd-shop", SHOP)


def _prod(path: str = CHECKOUT, **shape: Unpack[Shape]) -> Issue:
    return lambda server: server.prod.issue(path, **shape)


def _with_intermediate(server: DemoServer) -> Issued:
    return server.prod.intermediate().issue(CHECKOUT)


def _without_its_intermediate(server: DemoServer) -> Issued:
    leaf = _with_intermediate(server)
    return Issued(leaf.certificate, leaf.key, ())


def _self_signed(_: DemoServer) -> Issued:
    """Return a leaf that its own key signed, and that is right in everything else."""
    own = CA(
        "prod.example.org",
        subject="CN=self-signed",
        uris=[CHECKOUT_ID],
        ca=False,
        usages={"digital_signature"},
        purposes={"client", "server"},
    )
    return Issued(own.certificate, own.key, ())


_NOW = datetime.now(UTC)
_DAY = timedelta(days=1)
_TWO_URIS = [CHECKOUT_ID, f"{CHECKOUT_ID}-2"]
_SIGNS = {"digital_signature", "key_cert_sign"}
_ASYNCIO, _BLOCKING, _OPENSSL = Client

CASES: tuple[tuple[Case, Client, Issue], ...] = (
    (admitted_checkout("allowed by a rule"), _ASYNCIO, _with_intermediate),
    (Case("denied by a rule", Reason.DENIED, "no-build-agents"), _BLOCKING, _prod("/ns/ci/sa/runner")),
    (Case("no rule for it", Reason.NO_RULE), _OPENSSL, _prod("/ns/reports/sa/batch")),
    (
        Case("the same workload, from dev", Reason.NO_RULE),
        _ASYNCIO,
        lambda server: server.dev.issue(CHECKOUT),
    ),
    (
        Case(f"{STAR} a dev CA mints a prod name", Reason.FOREIGN_AUTHORITY),
        _OPENSSL,
        lambda server: server.dev.issue(CHECKOUT_ID),
    ),
    (
        Case("unknown trust domain", Reason.UNKNOWN_TRUST_DOMAIN),
        _BLOCKING,
        lambda _: CA("elsewhere.example").issue(CHECKOUT),
    ),
    (Case("self-signed", Reason.SELF_SIGNED), _ASYNCIO, _self_signed),
    (Case("missing intermediate", Reason.UNKNOWN_AUTHORITY), _OPENSSL, _without_its_intermediate),
    (Case("expired", Reason.EXPIRED), _BLOCKING, _prod(not_after=_NOW - _DAY / 24)),
    (
        Case("not yet valid", Reason.NOT_YET_VALID),
        _ASYNCIO,
        _prod(not_before=_NOW + _DAY, not_after=_NOW + 2 * _DAY),
    ),
    (Case("no URI SAN", Reason.NO_NAME), _OPENSSL, _prod(uris=[], dns=["checkout.prod.example.org"])),
    (Case("two URI SANs", Reason.MANY_NAMES), _BLOCKING, _prod(uris=_TWO_URIS)),
    (Case("a SPIFFE ID without a path", Reason.NAME_WITHOUT_PATH), _ASYNCIO, _prod("")),
    (Case("a CA certificate as leaf", Reason.LEAF_IS_CA), _OPENSSL, _prod(ca=True, usages=_SIGNS)),
    (Case("a leaf that may sign", Reason.LEAF_MAY_SIGN), _BLOCKING, _prod(usages=_SIGNS)),
    (Case("no digitalSignature", Reason.NO_DIGITAL_SIGNATURE), _ASYNCIO, _prod(usages={"key_agreement"})),
    (Case("no certificate at all", Reason.NO_CERTIFICATE), _BLOCKING, lambda _: None),
    (admitted_shop("a Linkerd name, by a rule"), _OPENSSL, DemoServer.issue_shop),
)
