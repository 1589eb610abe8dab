"""A mesh with a rule that ends at the end of this day, and a clock that a test moves there."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Unpack

from meshid import Mesh, Policy
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import Parts, mesh_of
from tests.helpers.world import DAY, Clock

ENDING, STAYING = "/ns/ending/sa/a", "/ns/staying/sa/a"
"""Who is let in by the rule that ends, and by one that does not."""

_EACH = timedelta(microseconds=1)


class EndingRule:
    """The authority, the clock and the policy; *mesh* makes a mesh of them.

    Attributes:
        ca: Issues certificates, which outlast the rule.
        clock: The clock, at noon of the rule's last day.
        policy: The policy.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self._far = self.clock.now + 4 * DAY
        self.ca = CA("prod.example.org", not_after=self._far)
        self.policy = policy_until(str(self.clock.now.date()))

    @property
    def end(self) -> datetime:
        """When the rule ends."""
        until = self.policy.rules[0].until
        assert until is not None
        return datetime.combine(until + DAY, time(), UTC)

    def issue(self, path: str) -> Issued:
        return self.ca.issue(path, not_after=self._far)

    def mesh(self, **parts: Unpack[Parts]) -> Mesh:
        own = self.issue("/ns/pay/sa/payments").svid
        return mesh_of(self.ca, **({"policy": self.policy, "clock": self.clock, "credentials": own} | parts))

    def before_the_end(self) -> None:
        """Move the clock to the last instant of the last day."""
        self.clock.now = self.end - _EACH

    def at_the_end(self) -> None:
        """Move the clock to the end."""
        self.clock.now = self.end


def policy_until(day: str) -> Policy:
    return Policy.from_toml(
        f"""
        version = 1
        [environments.prod]
        trust_domains = ["prod.example.org"]
        [[allow]]
        id = "ending"
        from = ["/ns/ending/**"]
        to = ["payments"]
        until = {day}
        [[allow]]
        id = "staying"
        from = ["/ns/staying/**"]
        to = ["payments"]
        """,
        "prod",
    )
