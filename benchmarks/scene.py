"""The scene of the benchmarks of admission and handshakes: one small policy, and no audit log."""

from __future__ import annotations

import logging

from meshid import Policy

POLICY = Policy.from_toml(
    """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "checkout-charges-cards"
from = ["/ns/checkout/sa/*"]
to = ["payments"]
""",
    environment="prod",
)

logging.getLogger("meshid.audit").setLevel(logging.CRITICAL)
