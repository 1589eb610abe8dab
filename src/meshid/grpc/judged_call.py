"""A call that is judged first: nothing of a refused peer reaches the code of the application.

gRPC asks an interceptor for a handler before anybody knows who calls, and has read and decoded the only
message of a unary call when it calls the handler. So what it gets is a handler of ours, the same one for
each kind of call and for a method that there is not: it takes a stream of bytes, of which it reads
nothing before the peer was admitted. Only then the other interceptors and the application's handler are
asked for, and no refused peer learns which methods there are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

import grpc

from meshid.admission.watched import WatchedConnection
from meshid.errors import ConnectionEnded, NoPeer, PeerRejected
from meshid.grpc.call_judge import CallJudge
from meshid.reasons import Reason
from meshid.tls.connection_of import find_in
from meshid.tokens.authorization import challenge_for
from meshid.verification.verifier import Peer

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

REFUSED = "peer rejected"
"""The text of every refusal: a stranger learns nothing."""

NO_METHOD = "Method not found!"
"""gRPC's own text, for a method that there is not."""

_KINDS = {
    (False, False): "unary_unary",
    (False, True): "unary_stream",
    (True, False): "stream_unary",
    (True, True): "stream_stream",
}

_THIS_CALL: ContextVar[JudgedCall] = ContextVar("meshid_call")


class JudgedCall:
    """One call.

    Args:
        judge: Decides about it.
        details: What gRPC knows of it.

    Attributes:
        context: What its handler has of it, as soon as the peer was admitted.
    """

    context: object
    _watched: WatchedConnection

    def __init__(self, judge: CallJudge, details: grpc.HandlerCallDetails) -> None:
        self._judge = judge
        self._details = details
        self._method = details.method
        self._read: Callable[[bytes], object] | None = None
        self._write: Callable[[Any], bytes] | None = None

    def handler_of(self, behavior: Callable[..., object]) -> Handler:
        """Return the handler that gRPC gets: *behavior* takes the requests and the context."""
        return grpc.stream_stream_rpc_method_handler(behavior, self.read, self.write)

    def watch(self, context: Any, end: Callable[[], object]) -> WatchedConnection:  # noqa: ANN401 - of both kinds
        """Admit the peer, and watch the call, whose context is known to `peer_of` from now on.

        Raises:
            PeerRejected: If the peer may not make this call.
        """
        metadata = self._details.invocation_metadata
        self._watched = self._judge.watch(self._method, metadata, context, lambda _: end())
        self.context = context
        _THIS_CALL.set(self)
        return self._watched

    def behavior_of(self, handler: Handler) -> Callable[..., Any]:
        """Take the application's handler for this call; return what answers it."""
        # gRPC decodes the message of a unary call before it calls; a failure there has a status of its own.
        self._read = handler.request_deserializer if handler.request_streaming else None
        self._write = handler.response_serializer
        behavior: Callable[..., Any] = getattr(
            handler, _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
        )
        return behavior

    def read(self, message: bytes) -> object:
        """Decode a message of the peer, in a stream of them."""
        return message if self._read is None else self._read(message)

    def write(self, message: Any) -> bytes:  # noqa: ANN401 - of the application
        """Encode a message for the peer."""
        return cast("bytes", message) if self._write is None else self._write(message)

    @property
    def peer(self) -> Peer | None:
        """Who calls; None when the call is over."""
        return self._watched.peer

    def raise_if_ended(self) -> None:
        """Raise if there is no peer any more.

        Raises:
            ConnectionEnded: If it may no longer be there.
            NoPeer: If the call is over.
        """
        self.raise_if_rejected()
        if self.peer is None:
            msg = "the call is over"
            raise NoPeer(msg)

    def raise_if_rejected(self) -> None:
        """Raise the refusal, if there is one.

        Raises:
            ConnectionEnded: If the peer may no longer be there.
        """
        if (rejection := self._watched.rejection) is not None:
            # A new one: with its traceback, the old one would hold the handler that is to end.
            raise ConnectionEnded(rejection.decision)

    @staticmethod
    def of(context: object) -> JudgedCall | None:
        """Return the call that has this context, for who is called in it."""
        call = _THIS_CALL.get(None)
        # A thread or a task that was started in a call has the same variable, and goes on after it.
        return call if call is not None and call.context is context else None


def status_of(rejection: PeerRejected) -> grpc.StatusCode:
    """Return the status of a refusal."""
    if rejection.reason is Reason.NO_CERTIFICATE or challenge_for(rejection.reason) is not None:
        return grpc.StatusCode.UNAUTHENTICATED
    return grpc.StatusCode.PERMISSION_DENIED


# The context of a call is the object that a handler has.
find_in("grpc", JudgedCall.of)
