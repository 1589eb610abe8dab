"""The questions that a mesh answers: may this peer be there, and may it still?"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from meshid.admission.admission import Admission
from meshid.admission.question import Expected, Question, checked_chain
from meshid.admission.snapshot import Snapshot
from meshid.admission.watched import End, WatchedConnection
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.decisions import Decision
from meshid.policy.requests import REQUEST_FOLLOWS, RequestLike, checked_keep, read_request
from meshid.support.types import check_type
from meshid.tokens.bearer_token import BearerToken
from meshid.verification.verifier import Peer


class Deciding:
    """Decides who may be at the other end of a connection; the half of `Mesh` that needs no TLS context.

    Args:
        admission: What decides.
        keep_encoded: What stays percent-encoded in the path of a request; as for `Request`.
    """

    def __init__(self, admission: Admission, keep_encoded: Collection[str] = ()) -> None:
        self._admission = admission
        self._keep_encoded = checked_keep(keep_encoded)

    @property
    def keep_encoded(self) -> tuple[str, ...]:
        """What stays percent-encoded in the paths of requests."""
        return self._keep_encoded

    @property
    def service(self) -> str | None:
        """The name of this service."""
        return self._admission.service

    @property
    def snapshot(self) -> Snapshot:
        """Everything in force at this instant."""
        return self._admission.snapshot

    def admit(
        self,
        chain: Sequence[bytes],
        *,
        target: str | None = None,
        request: RequestLike = None,
        expect: Expected | None = None,
        token: str | None = None,
    ) -> Peer:
        """Verify a chain and ask the policy; return the peer, or raise.

        Args:
            chain: DER certificates, leaf first, of a peer that has proved that it holds the leaf's key.
            target: What the peer wants to reach; this service if None.
            request: The request, as `Request` or ``"METHOD /path"``; `REQUEST_FOLLOWS` if
                the caller will `check` each one; None if there is none.
            expect: For a peer that is a server, in place of the policy: the SPIFFE ID, or a
                pattern of SPIFFE IDs, that its name must match; or several, one of which.
            token: The token that came with the request, as for `bind`.

        Raises:
            PeerRejected: If the peer may not be there, or if meshid fails.
            TypeError: If an argument has the wrong type.
            ValueError: If there is no target, or if *expect* is empty or has a host name; and if
                there is *expect* as well as *token*.
        """
        presented = None if token is None else BearerToken(token)
        # Error reporters show the variables of each frame.
        del token
        question = self._question(target, request, expect)
        return self._admission.admit(checked_chain(chain), question, token=presented)

    def decide(
        self,
        chain: Sequence[bytes],
        *,
        target: str | None = None,
        request: RequestLike = None,
        expect: Expected | None = None,
        token: str | None = None,
    ) -> Decision:
        """Decide about a chain as `admit` does, on record as well, and return the decision, whichever it is.

        For whoever answers for somebody else, as a proxy's authorizer does, and has no use for the peer.

        Args:
            chain: As for `admit`.
            target: As for `admit`.
            request: As for `admit`.
            expect: As for `admit`.
            token: As for `admit`.

        Raises:
            TypeError, ValueError: As for `admit`.
        """
        presented = None if token is None else BearerToken(token)
        question = self._question(target, request, expect)
        return self._admission.decide(checked_chain(chain), question, presented)

    def bind(self, peer: Peer, token: str) -> Peer:
        """Return a peer with what a token adds: who it is for the provider that has issued the token.

        The token must be of an issuer in the policy's environment, and must name the same peer as the
        certificate, or be bound to the certificate or its key (RFC 8705 section 3; RFC 7800 section 3.1).
        A token of anybody else is left to the application, and gives nothing; with
        ``Mesh(tokens="required")`` it is refused. Each `check` of the returned peer asks again about the
        token as well: its time, its key, and what the policy says of both names.

        Args:
            peer: The peer of the connection that the token came on, as it was admitted.
            token: The token alone, as it follows ``Bearer`` (RFC 6750 section 2.1).

        Returns:
            The peer with `Peer.token`; *peer* itself if the token is of no issuer in the policy.

        Raises:
            PeerRejected: If the token counts for nothing or is somebody else's, if the peer may not be
                there any more, or if meshid fails.
            TypeError: If an argument has the wrong type.
            ValueError: If the peer is a server.
        """
        presented = BearerToken(token)
        # Error reporters show the variables of each frame.
        del token
        return self._admission.bind(peer, presented)

    def check(
        self,
        peer: Peer,
        *,
        target: str | None = None,
        request: RequestLike = None,
        expect: Expected | None = None,
    ) -> Decision:
        """Decide again about a peer with an open connection: still valid, trusted, allowed?

        Of a peer that `bind` returned, its token is asked about, too. The grace of a leaf moves only its own
        end; all else counts as of now.

        Args:
            peer: The peer, as it was admitted.
            target: As for `admit`.
            request: As for `admit`.
            expect: As for `admit`; needed if the peer is a server.

        Returns:
            The decision, under the snapshot in force now.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: As for `admit`; and if *expect* does not fit what the peer is.
        """
        return self._admission.check(peer, self._question(target, request, expect))

    def watch(  # noqa: PLR0913  # what there is to say about a connection, all named
        self,
        peer: Peer,
        end: End,
        *,
        address: object = None,
        target: str | None = None,
        expect: Expected | None = None,
        http: bool = False,
        request: RequestLike = None,
    ) -> WatchedConnection:
        """Watch a connection that you read and write yourself: it ends as those of the mesh's contexts do.

        Call `WatchedConnection.done` when it is over, or use it in a ``with`` block; the mesh holds it until
        then. When the peer may no longer be there, that is recorded and the peer is None at once. *end* is
        called after what is the mesh's own was ended, on a daemon thread: it may block, and it may raise.

        Args:
            peer: The peer, as it was admitted; if `bind` returned it, its token must go on to count as well.
            end: Called with the `PeerRejected`, once; nobody may read or write any more when it returns.
            address: What its ``getpeername()`` returned, for the record; a Unix socket has no address.
            target: As for `admit`.
            expect: As for `admit`; needed if the peer is a server.
            http: The promise to `check` each request, as for `Mesh.server_context`.
            request: As for `admit`, in place of *http*: what you watch is one request, such as a stream.

        Raises:
            PeerRejected: If the peer may not be there any more; *end* is called all the same.
            TypeError: If an argument has the wrong type.
            ValueError: As for `check`; and if there is *request* as well as *http*.
        """
        if not callable(end):
            msg = f"end must be callable, not {type(end).__name__}"
            raise TypeError(msg)
        check_type(type(http), bool, "http", "True or False")
        if http and request is not None:
            msg = "http=True promises requests that follow; with request= there is one, and no other"
            raise ValueError(msg)
        question = self._question(target, REQUEST_FOLLOWS if http else request, expect)
        host, port = address_of(address)
        return self._admission.watch(peer, question, end, ConnectionInfo(address=host, port=port))

    def _question(self, target: str | None, request: RequestLike, expect: Expected | None) -> Question:
        if self._keep_encoded and isinstance(request, str):
            request = read_request(request, self._keep_encoded)
        return Question(target=self.service if target is None else target, request=request, expect=expect)
