"""`Mesh`: the door, and the TLS contexts that ask it."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from meshid.door import Door
from meshid.peer_patterns import PeerPattern
from meshid.policy import REQUEST_FOLLOWS
from meshid.questions import Question
from meshid.tls import MeshContext


class Mesh(Door):
    """Who may be at the other end of our connections, and the TLS contexts that ask.

    The arguments are those of `Door`. It holds no thread, no file and no socket.
    """

    def server_context(
        self,
        *,
        target: str | None = None,
        alpn: Iterable[str] = (),
        http: bool = False,
        resumption: bool = False,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> MeshContext:
        """Return a server's `ssl.SSLContext`: each client is admitted under the policy, or refused.

        Args:
            target: What clients of this listener reach; this service if None.
            alpn: The application protocols on offer, preferred first (RFC 7301).
            http: The promise that each request will be asked about with `check()`; without
                it, an allow rule with http conditions lets nobody in.
            resumption: Whether clients may resume TLS sessions; each is judged again, under
                what is in force then.
            minimum_version: The oldest TLS version that is accepted.

        Raises:
            InvalidCredentials: If the mesh has no credentials.
            ValueError: If neither *target* nor the mesh's service says what clients reach.
        """
        if target is None and self.service is None:
            msg = "no target: name it here, or give the Mesh a service"
            raise ValueError(msg)
        question = Question(target=target, request=REQUEST_FOLLOWS if http else None)
        return MeshContext(
            self, question=question, alpn=alpn, resumption=resumption, minimum_version=minimum_version
        )

    def client_context(
        self,
        expect: Iterable[str],
        alpn: Iterable[str] = (),
        *,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> MeshContext:
        """Return a client's `ssl.SSLContext`: the server's name must match a pattern, or it is refused.

        Args:
            expect: Patterns of SPIFFE IDs, such as ``/ns/pay/sa/api`` in our own trust
                domain, or ``spiffe://partner.example/ns/pay/**``; an empty one expects nobody.
            alpn: The application protocols to ask for, preferred first (RFC 7301).
            minimum_version: The oldest TLS version that is accepted.

        Raises:
            InvalidPattern: If one of the patterns is none.
            InvalidCredentials: If the mesh has no credentials.
            TypeError: If *expect* is one string: it would be taken apart.
        """
        if isinstance(expect, str):
            msg = f"expect is a list of patterns: write [{expect!r}]"
            raise TypeError(msg)
        question = Question(expect=tuple(PeerPattern.parse(text) for text in expect))
        return MeshContext(self, question=question, alpn=alpn, minimum_version=minimum_version)
