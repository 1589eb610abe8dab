"""What is refused as a token is refused where a peer presents it, for the same reason and as silently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meshid import AuditEvent, BundleSet, Mesh, PeerRejected, Policy
from meshid.reasons import Reason
from meshid.testing import CA
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.hostile_tokens import HOSTILE
from tests.helpers.token_scene import AUDIENCE, ISS, NOW, token_scene

POLICY = f"""
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[environments.prod.issuers.acme]
profile = "oidc"
issuer = "{ISS}"
audience = ["{AUDIENCE}", "payments"]
pins = {{ tenant = "t-1" }}
[[peers]]
name = "web"
spiffe = ["/web"]
tokens = [{{ issuer = "acme", principal = "api" }}]
[[allow]]
id = "all"
from = ["/**"]
to = ["payments"]
"""


def test_each_hostile_token_is_refused_with_its_peer_and_none_is_on_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = token_scene()
    now, hour = datetime.fromtimestamp(NOW, UTC), timedelta(hours=1)
    ca = CA("prod.example.org", not_before=now - hour, not_after=now + hour)
    heard: list[AuditEvent] = []
    mesh = Mesh(
        bundles=BundleSet([ca.bundle()]),
        policy=Policy.from_toml(POLICY, environment="prod"),
        keys=KeySets([KeySet.from_json("acme", scene.issuer.jwks())]),
        service="payments",
        audit=heard.append,
        clock=lambda: NOW,
    )
    peer = mesh.admit(ca.issue("/web", not_before=now - hour, not_after=now + hour).chain)
    assert mesh.bind(peer, scene.token()).token is not None
    tokens = [hostile.make(scene) for hostile in HOSTILE]
    judged: dict[str, Reason | None] = {}
    for hostile, token in zip(HOSTILE, tokens, strict=True):
        try:
            judged[hostile.name] = None if mesh.bind(peer, token) is peer else Reason.ALLOWED
        except PeerRejected as rejection:
            judged[hostile.name] = rejection.reason
    assert judged == {hostile.name: hostile.reason for hostile in HOSTILE}
    written = caplog.text + "".join(f"{event}{event.as_dict()}" for event in heard)
    parts = {part for token in tokens for part in token.split(".") if len(part) > 30}
    assert not [part for part in parts if part in written]
