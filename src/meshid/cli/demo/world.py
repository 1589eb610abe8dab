"""The world of the demo: three trust domains, one policy file, and a service called payments."""

from __future__ import annotations

import attrs

from meshid.audit.event import Sink
from meshid.mesh import Mesh
from meshid.policy import Policy
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet

SERVICE = "payments"
ENVIRONMENT = "prod"

CHECKOUT = "/ns/checkout/sa/api"
CHECKOUT_ID = f"spiffe://prod.example.org{CHECKOUT}"
CHECKOUT_RULE = "checkout-charges"

BUILD_AGENT = "/ns/ci/sa/runner"
BUILD_AGENT_RULE = "no-build-agents"

SHOP_HOST = "web.shop.serviceaccount.identity.linkerd.cluster.local"
SHOP_ID = "spiffe://cluster.local/ns/shop/sa/web"
SHOP_RULE = "linkerd-shop"

POLICY = f"""\
version = 1

[environments.prod]
trust_domains  = ["prod.example.org"]
federates_with = ["dev.example.org", "cluster.local"]

[environments.dev]
trust_domains  = ["dev.example.org"]
federates_with = ["cluster.local"]

[[allow]]
id   = "{CHECKOUT_RULE}"
from = ["{CHECKOUT}"]     # no trust domain: this environment's own
to   = ["{SERVICE}"]

[[allow]]
id   = "{SHOP_RULE}"
from = ["{SHOP_ID}"]
to   = ["{SERVICE}"]

[[deny]]
id   = "{BUILD_AGENT_RULE}"
from = ["/ns/ci/**"]
to   = ["**"]
"""


def _successor() -> CA:
    return CA("prod.example.org", subject="CN=root 2,O=prod.example.org")


@attrs.frozen(kw_only=True)
class World:
    """The authorities.

    Attributes:
        prod: That of the server's own trust domain.
        successor: The one that replaces it, while the server runs.
        dev: That of another environment, which prod federates with.
        linkerd: That of a Linkerd mesh in the same cluster.
    """

    prod: CA = attrs.field(factory=lambda: CA("prod.example.org"))
    successor: CA = attrs.field(factory=_successor)
    dev: CA = attrs.field(factory=lambda: CA("dev.example.org"))
    linkerd: CA = attrs.field(factory=lambda: CA("cluster.local"))

    def bundles(self, prod: CA) -> BundleSet:
        """Return the bundles that the server trusts, with *prod* as the authority of its own trust domain."""
        return BundleSet([prod.bundle(), self.dev.bundle(), self.linkerd.bundle(profile="linkerd")])

    @staticmethod
    def own_credentials(prod: CA) -> Issued:
        """Return credentials of the server that *prod* has issued."""
        return prod.issue("/ns/payments/sa/api")

    def shop(self) -> Issued:
        """Return what the Linkerd mesh has issued to the shop."""
        return self.linkerd.issue(uris=[], dns=[SHOP_HOST])

    def mesh(self, audit: Sink) -> Mesh:
        """Return the mesh of the server, as it starts."""
        return Mesh(
            credentials=self.own_credentials(self.prod).svid,
            bundles=self.bundles(self.prod),
            policy=Policy.from_toml(POLICY, ENVIRONMENT),
            service=SERVICE,
            audit=audit,
        )
