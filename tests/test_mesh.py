"""The TLS contexts of a mesh ask the right question, or are not made at all."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from meshid import InvalidCredentials, InvalidPattern, Mesh, MeshContext, PeerRejected, Reason, peer_of
from meshid.testing import CA
from tests.helpers.tls_peers import PATH, POLICY, Heard, Memory, mesh_of, policy, stranger

SUPPORT = "/ns/support/sa/desk"

MORE_RULES = """
[[allow]]
id = "web-to-admin"
from = ["/ns/shop/sa/web"]
to = ["admin"]
[[deny]]
id = "no-deletes"
from = ["/ns/shop/**"]
to = ["payments"]
http = ["DELETE /**"]
"""


@pytest.fixture
def mesh(prod_ca: CA, heard: Heard) -> Mesh:
    return mesh_of(prod_ca, policy=policy(POLICY + MORE_RULES), audit=heard)


def visit(context: MeshContext, authority: CA, path: str) -> Reason | None:
    """Let a client connect; return why it was refused, or None if it was not."""
    both = Memory(context, stranger(authority.issue(path)))
    try:
        both.shake_hands()
    except PeerRejected as rejection:
        return rejection.reason
    return None


class TestAServerContext:
    @pytest.mark.parametrize(
        ("path", "http", "reason", "rule"),
        [
            # Without the promise to ask, an allow rule with http conditions matches nothing ...
            (SUPPORT, False, Reason.NO_RULE, None),
            (SUPPORT, True, Reason.REQUEST_AWAITED, "support"),
            # ... and a deny rule with them matches whatever its `from` and `to` match.
            (PATH, False, Reason.DENIED, "no-deletes"),
            (PATH, True, Reason.ALLOWED, "shop"),
            ("/ns/other/x", False, Reason.NO_RULE, None),
            ("/ns/other/x", True, Reason.NO_RULE, None),
        ],
    )
    def test_asks_about_requests_only_if_each_will_be_asked_about(  # noqa: PLR0913  # a table
        self,
        *,
        path: str,
        http: bool,
        reason: Reason,
        rule: str | None,
        mesh: Mesh,
        prod_ca: CA,
        heard: Heard,
    ) -> None:
        admitted = reason in {Reason.ALLOWED, Reason.REQUEST_AWAITED}
        assert visit(mesh.server_context(http=http), prod_ca, path) is (None if admitted else reason)
        decision = heard.next().decision
        assert (decision.reason, decision.rule) == (reason, rule)

    def test_asks_about_its_own_target(self, mesh: Mesh, prod_ca: CA, heard: Heard) -> None:
        assert visit(mesh.server_context(target="admin"), prod_ca, PATH) is None
        assert visit(mesh.server_context(), prod_ca, PATH) is Reason.DENIED
        assert [heard.next().decision.target, heard.next().decision.target] == ["admin", "payments"]

    def test_needs_a_target_when_it_is_made(self, prod_ca: CA) -> None:
        mesh = mesh_of(prod_ca, service=None)
        with pytest.raises(ValueError, match="no target: pass target="):
            mesh.server_context()
        assert visit(mesh.server_context(target="payments"), prod_ca, PATH) is None

    def test_needs_credentials_when_it_is_made(self) -> None:
        with pytest.raises(InvalidCredentials, match="give the Mesh credentials"):
            Mesh(service="payments").server_context()


class TestAClientContext:
    @pytest.mark.parametrize(
        ("expect", "expected"),
        [
            (["/ns/pay/sa/payments"], True),
            (["/ns/x/**", "/ns/pay/*/*"], True),
            (["spiffe://prod.example.org/ns/pay/**"], True),
            (["spiffe://dev.example.org/ns/pay/**"], False),
            (["/ns/pay/sa/payment"], False),
        ],
    )
    def test_expects_the_server_by_its_name(
        self, *, expect: list[str], expected: bool, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        client = mesh_of(prod_ca, credentials=prod_ca.issue(PATH).svid, audit=heard)
        both = Memory(mesh.server_context(target="admin"), client.client_context(expect))
        if expected:
            both.shake_hands()
            assert peer_of(both.client).role == "server"
            assert peer_of(both.server).role == "client"
        else:
            with pytest.raises(PeerRejected):
                both.shake_hands()
        assert heard.reason() is (Reason.EXPECTED if expected else Reason.UNEXPECTED_SERVER)

    @pytest.mark.parametrize("pattern", ["ns/pay", "spiffe://*.example.org/x", "/ns//x"])
    def test_takes_patterns_only(self, pattern: str, mesh: Mesh) -> None:
        with pytest.raises(InvalidPattern):
            mesh.client_context(["/ns/pay/**", pattern])

    def test_needs_credentials_when_it_is_made(self) -> None:
        with pytest.raises(InvalidCredentials, match="give the Mesh credentials"):
            Mesh().client_context(["/ns/pay/**"])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda mesh: mesh.server_context(resumption=True, alpn=["h2"]), id="server"),
        pytest.param(lambda mesh: mesh.client_context(["/**"]), id="client"),
    ],
)
def test_a_mesh_and_its_contexts_hold_no_thread_and_no_file(
    make: Callable[[Mesh], MeshContext], mesh: Mesh
) -> None:
    def held() -> set[object]:
        gc.collect()
        return {*threading.enumerate(), *Path("/proc/self/fd").iterdir()}

    # What an earlier test started may end meanwhile, so the counts may fall.
    before = held()
    contexts = [make(mesh) for _ in range(20)]
    assert held() - before == set()
    assert len(contexts) == 20
