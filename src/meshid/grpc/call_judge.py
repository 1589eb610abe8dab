"""The decision about one call, from what gRPC tells of its connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias
from urllib.parse import quote, unquote

from meshid.admission.question import Question
from meshid.admission.watched import End, WatchedConnection
from meshid.certificates.pem import decoded, pem_blocks
from meshid.mesh import Mesh
from meshid.policy.requests import Request, read_request
from meshid.support.sieve import Sieve
from meshid.support.types import check_type
from meshid.tokens.authorization import token_in

MOST_REMEMBERED = 1024
"""Methods that were called, and chains that were admitted, each."""

LONGEST_METHOD = 512
"""The most characters of a method that is remembered: 1 MB in all."""

LONGEST_PEM = 16 * 1024
"""The most bytes of the PEM text of a chain that is remembered: 32 MB in all, with the chains."""

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]] | None
"""What a client has sent with a call; None for nothing."""

_AUTHORIZATION = "authorization"

_LEAF, _OTHERS = "x509_pem_cert", "x509_pem_cert_chain"
"""Keys of gRPC's authentication context; a resumed session has both, too."""


class CallContext(Protocol):
    """What both kinds of a gRPC server know of the connection of a call."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """Return what is known of the other end; nothing without TLS."""

    def peer(self) -> str:
        """Return the address of the other end, as a URI."""


class CallJudge:
    """Decides about calls.

    Args:
        mesh: Decides.
        target: What peers reach by calling; the mesh's service if None.

    Raises:
        TypeError, ValueError: If there is no target, or if it is no text.
    """

    def __init__(self, mesh: Mesh, target: str | None) -> None:
        check_type(type(mesh), Mesh, "mesh", "a Mesh")
        self._mesh = mesh
        self._target = target
        # A target of the wrong type, or none, is a mistake to hear of now.
        Question(target=mesh.service if target is None else target)
        self._requests: Sieve[str, Request] = Sieve(MOST_REMEMBERED)
        self._chains: Sieve[tuple[bytes, bytes], tuple[bytes, ...]] = Sieve(MOST_REMEMBERED)

    def watch(self, method: str, metadata: Metadata, context: CallContext, end: End) -> WatchedConnection:
        """Admit the peer that makes a call, and watch the call.

        Args:
            method: The full name of the method, as gRPC looks up its handler (``/package.Service/Method``).
            metadata: What the client has sent with the call, its token among it.
            context: The call.
            end: Ends the call; as for `Mesh.watch`.

        Raises:
            PeerRejected: If the peer may not make this call.
        """
        presented = _presented(context)
        known_chain, known_request = self._chains.get(presented), self._requests.get(method)
        chain = known_chain or _chain_of(presented)
        # Encoded, as gRPC decodes nothing: '/a.B/%43' and '/a.B/C?' are other methods than '/a.B/C'.
        text = f"POST {quote(method, safe='/')}"
        request = known_request or read_request(text, self._mesh.keep_encoded)
        token = token_in(_authorization_in(metadata))
        peer = self._mesh.admit(chain, target=self._target, request=request, token=token)
        # Only after a yes: whoever is refused chooses what is asked, and would push out what is asked again.
        if known_chain is None and sum(map(len, presented)) <= LONGEST_PEM:
            self._chains.put(presented, chain)
        if known_request is None and isinstance(request, Request) and len(method) <= LONGEST_METHOD:
            self._requests.put(method, request)
        address = address_in(context.peer())
        return self._mesh.watch(peer, end, address=address, target=self._target, request=request)


def address_in(uri: str) -> tuple[str, int] | None:
    """Return the host and the port in what gRPC calls a peer: ``ipv4:127.0.0.1:80``, ``ipv6:%5B::1%5D:80``.

    None for a Unix socket, and for what it does not know either.
    """
    scheme, _, rest = uri.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if scheme not in {"ipv4", "ipv6"} or not (port.isascii() and port.isdigit()):
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


def _authorization_in(metadata: Metadata) -> str | None:
    found = [value for key, value in metadata or () if key == _AUTHORIZATION]
    # gRPC has keys in lower case, and a value in bytes only where the key ends in "-bin".
    return ", ".join(map(str, found)) if found else None


def _presented(context: CallContext) -> tuple[bytes, bytes]:
    """Return the PEM texts of the leaf, and of the certificates that came with it."""
    known = context.auth_context()
    return b"".join(known.get(_LEAF, ())), b"".join(known.get(_OTHERS, ()))


def _chain_of(presented: tuple[bytes, bytes]) -> tuple[bytes, ...]:
    leaf, others = presented
    if not leaf:
        return ()
    try:
        return tuple(decoded(block) for _, block in pem_blocks(leaf + others))
    except ValueError:
        # gRPC has made the text, and this cannot be; as a chain it is refused, and so on record.
        return presented
