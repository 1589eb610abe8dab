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
from typing_extensions import override

from meshid.errors import ConnectionEnded, PeerRejected
from meshid.grpc.call_judge import CallJudge
from meshid.grpc.judged_call import NO_METHOD, REFUSED, Handler, JudgedCall, status_of

Context: TypeAlias = "aio.ServicerContext[Any, Any]"

_ATTEMPTS, _PAUSE = 100, 0.01
"""How long an end waits for the first message of a call, which a peer that reads nothing holds up: 1 s."""

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
        super().__init__(judge, details)
        self._find = find
        self._abort: asyncio.Task[None] | None = None

    async def respond(self, requests: object, context: Context) -> None:
        """Answer the call."""
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[object]", asyncio.current_task())
        end = partial(self._end, task, context)
        try:
            watched = self.watch(context, partial(loop.call_soon_threadsafe, end))
        except PeerRejected as rejection:
            await context.abort(status_of(rejection), REFUSED)
        try:
            await self._answer(requests, context)
            self.raise_if_rejected()
        except ConnectionEnded:
            if watched.rejection is None:
                raise
            await self._aborting(task, context)
        finally:
            watched.done()

    @override
    def write(self, message: object) -> bytes:
        # Handlers may write by themselves.
        self.raise_if_rejected()
        return super().write(message)

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

    def _end(self, task: asyncio.Task[object], context: Context) -> None:
        """End it, in its loop; gRPC has no way to cancel a call of its own there."""
        if not task.done():
            # The status first: a handler may take its time to clean up.
            self._aborting(task, context).add_done_callback(lambda _: task.cancel())

    def _aborting(self, task: asyncio.Task[object], context: Context) -> asyncio.Task[None]:
        # One, and held: a second status would be a mistake, and a loop holds its tasks weakly.
        if self._abort is None:
            self._abort = asyncio.get_running_loop().create_task(_abort(task, context))
        return self._abort


async def _abort(task: asyncio.Task[object], context: Context) -> None:
    """Send the status that ends a call, if its task has not done so.

    gRPC would send it with the initial metadata as long as it does not know that those were sent. If they are
    on their way with the first message, that fails, and then there never is a status. So they are sent here.
    """
    with contextlib.suppress(Exception):
        for _ in range(_ATTEMPTS):
            if task.done() or await _is_begun(context):
                break
            await asyncio.sleep(_PAUSE)
        # What has no call any more must not be touched.
        if not task.done():
            await context.abort(grpc.StatusCode.CANCELLED, REFUSED)


async def _is_begun(context: Context) -> bool:
    """Send the initial metadata; return False while somebody else is sending them."""
    try:
        await context.send_initial_metadata(())
    except aio.UsageError:
        return True
    except Exception:  # noqa: BLE001 - of grpcio, and private
        return False
    return True
