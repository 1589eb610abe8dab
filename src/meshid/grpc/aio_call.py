"""A call of `grpc.aio.server`, whose handlers run in a loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, cast

import grpc
from grpc import aio

from meshid.errors import PeerRejected
from meshid.grpc.call_judge import CallJudge
from meshid.grpc.judged_call import NO_METHOD, REFUSED, Handler, JudgedCall, status_of

Context: TypeAlias = "aio.ServicerContext[Any, Any]"

_GOOD = (None, grpc.StatusCode.OK, 0)
"""What the status of a context is as long as no handler has set a bad one."""


class AioCall(JudgedCall):
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
        find: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
    ) -> None:
        super().__init__(judge, details.method)
        self._details = details
        self._find = find
        self._ending: asyncio.Task[None] | None = None

    async def respond(self, requests: object, context: Context) -> None:
        """Answer the call."""
        loop = asyncio.get_running_loop()
        task = cast("asyncio.Task[object]", asyncio.current_task())
        end = partial(self._end, loop, task, context)
        try:
            watched = self.watch(context, partial(loop.call_soon_threadsafe, end))
        except PeerRejected as rejection:
            await context.abort(status_of(rejection), REFUSED)
        try:
            await self._answer(requests, context)
        except PeerRejected as rejection:
            if rejection is not watched.rejection:
                raise
            await context.abort(grpc.StatusCode.CANCELLED, REFUSED)
        finally:
            watched.done()

    async def _answer(self, requests: object, context: Context) -> None:
        handler = await self._find(self._details)
        if handler is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, NO_METHOD)
        behavior = self.behavior_of(handler)
        argument = requests if handler.request_streaming else await self._only_one(handler, context)
        if handler.response_streaming and inspect.isasyncgenfunction(behavior):
            async with contextlib.aclosing(behavior(argument, context)) as messages:
                async for message in messages:
                    await context.write(message)
        elif not inspect.iscoroutinefunction(behavior):
            msg = f"the handler of {self._method} is not async: write it with 'async def', or use grpc.server"
            raise TypeError(msg)
        else:
            message = await behavior(argument, context)
            # With a bad status there is no message, as gRPC has it.
            if not handler.response_streaming and context.code() in _GOOD:
                await context.write(message)

    async def _only_one(self, handler: Handler, context: Context) -> object:
        message = await context.read()
        if message is aio.EOF:
            text = f'"{self._method}" requires exactly one request message.'
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        return message if handler.request_deserializer is None else handler.request_deserializer(message)

    def _end(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[object], context: Context) -> None:
        """End it, in its loop: gRPC has no way to cancel a call of its own there."""
        # Its status may be on the way: a second one would be a mistake in grpcio's log.
        if not context.done():
            # First, so that the peer is told before the handler cleans up; kept, as tasks are held weakly.
            self._ending = loop.create_task(_abort(context))
            task.cancel()


async def _abort(context: Context) -> None:
    # It always raises: its own error, or another one if the handler or the client was faster.
    with contextlib.suppress(Exception):
        await context.abort(grpc.StatusCode.CANCELLED, REFUSED)
