"""A call of `grpc.server`, whose handlers run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
from typing_extensions import override

from meshid.errors import ConnectionEnded, PeerRejected
from meshid.grpc.call_judge import CallJudge
from meshid.grpc.judged_call import NO_METHOD, REFUSED, Handler, JudgedCall, status_of

NOT_DECODED = "Exception deserializing request!"
NOT_ENCODED = "Failed to serialize response!"
"""gRPC's own texts for what it does itself, with a handler for one message."""


class ThreadCall(JudgedCall):
    """One call.

    Args:
        judge: Decides about it.
        details: What gRPC knows of it.
        find: Finds its handler.
    """

    def __init__(
        self,
        judge: CallJudge,
        details: grpc.HandlerCallDetails,
        find: Callable[[grpc.HandlerCallDetails], Handler | None],
    ) -> None:
        super().__init__(judge, details)
        self._find = find

    def respond(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[object]:
        """Answer the call."""
        try:
            watched = self.watch(context, context.cancel)
        except PeerRejected as rejection:
            context.abort(status_of(rejection), REFUSED)
        try:
            # No `finally`: a handler may go on when its client has gone.
            if not context.add_callback(watched.done):
                watched.done()
                return
            yield from self._answer(requests, context)
        except ConnectionEnded:
            if watched.rejection is None:
                raise
            context.abort(grpc.StatusCode.CANCELLED, REFUSED)

    def _answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[object]:
        handler = self._find(self._details)
        if handler is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD)
        behavior = self.behavior_of(handler)
        messages = map(partial(_decoded, handler, context), requests)
        argument = messages if handler.request_streaming else self._only_one(messages, context)
        answer = behavior(argument, context)
        if not handler.response_streaming:
            if answer is None:
                context.abort(grpc.StatusCode.INTERNAL, NOT_ENCODED)
            answer = (answer,)
        for message in answer:
            self.raise_if_rejected()
            yield message

    def _only_one(self, messages: Iterator[object], context: grpc.ServicerContext) -> object:
        message = next(messages, None)
        if message is None:
            text = f'"{self._method}" requires exactly one request message.'
            context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        return message

    @override
    def read(self, message: bytes) -> object:
        # Not here: if that fails, gRPC sends two statuses, and never forgets the call.
        return message


def _decoded(handler: Handler, context: grpc.ServicerContext, message: bytes) -> Any:  # noqa: ANN401 - the application's
    if handler.request_deserializer is None:
        return message
    try:
        return handler.request_deserializer(message)
    except Exception:  # noqa: BLE001 - the application's, which may raise anything
        context.abort(grpc.StatusCode.INTERNAL, NOT_DECODED)
