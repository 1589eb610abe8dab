"""Wrong calls, each of which mypy and pyright must report. Type-checked, never run.

Where one of them reports nothing, its ``ignore`` is unused, and that is an error.
"""

from __future__ import annotations

from meshid import Mesh, Peer, Policy, SpiffeId, TrustBundle, X509Svid
from meshid.sources import CredentialFiles


class HalfASource:
    name = "vault"

    def close(self) -> None:
        pass


def wrong_types(mesh: Mesh, chain: list[bytes], peer: Peer, policy: Policy, pem: str) -> None:
    mesh.admit(pem)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.admit([pem])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    mesh.admit(chain, expect=b"/ns/pay/sa/api")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.admit(chain, expect=[b"/ns/pay/sa/api"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    mesh.admit(chain, request=("GET", "/"))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.check("spiffe://prod.example.org/ns/pay/sa/api")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.bind(peer, b"token")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.admit(chain, token=b"token")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.watch(peer, policy)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.client_context(None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    mesh.client_context([1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    mesh.server_context(alpn=[b"h2"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    mesh.publish(policy="policy.toml")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    policy.decide("/ns/pay/sa/api", "payments")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    policy.decide(peer, None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    TrustBundle.from_pem("prod.example.org", pem)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    X509Svid.from_pem(pem)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    CredentialFiles(pem, layout=True)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Mesh(tokens="always")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Mesh(policy=pem)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Mesh(audit=print, clock=0.0)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Mesh.from_sources([HalfASource()])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


def wrong_names(mesh: Mesh, chain: list[bytes], policy: Policy) -> None:
    mesh.publish(bundle=None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    mesh.admit(chain, "payments")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    mesh.client_context()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    mesh.server_context(expect="/ns/pay/sa/api")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Mesh.from_env(service="payments")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    Policy.load("policy.toml")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    policy.allows("/ns/pay/sa/api")  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def frozen_values(peer: Peer, name: SpiffeId) -> None:
    peer.spiffe_id = name  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    name.path = "/ns/pay/sa/api"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    Peer(name)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def what_may_be_none(mesh: Mesh, peer: Peer) -> tuple[str, str, str]:
    issuer = peer.token.issuer  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
    path = mesh.snapshot.name.path  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
    return mesh.service.upper(), path, issuer  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
