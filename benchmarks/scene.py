"""What both benchmarks play in: one small policy, and nobody who listens to the audit."""

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
