"""Sources that deliver what a test gives them."""

from __future__ import annotations

import queue

import attrs

from meshid.sources import SourceUnavailable, State


@attrs.define(eq=False)
class FakeSource:
    """A source that returns what a test sets, or raises it."""

    name: str
    now: State | BaseException
    is_required: bool = True
    is_stream: bool = False
    is_closed: bool = False
    reads: int = 0

    def read(self) -> State:
        self.reads += 1
        if isinstance(self.now, BaseException):
            raise self.now
        return self.now

    def pause(self) -> float:
        return 0.01

    def close(self) -> None:
        self.is_closed = True


class FakeStream:
    """A stream that waits for the next state of a test."""

    name = "stream"
    is_required = True
    is_stream = True

    def __init__(self, *news: State) -> None:
        self.news: queue.SimpleQueue[State | None] = queue.SimpleQueue()
        for each in news:
            self.news.put(each)

    def read(self) -> State:
        state = self.news.get()
        if state is None:
            msg = "the stream has ended"
            raise SourceUnavailable(msg)
        return state

    def pause(self) -> float:
        return 0.0

    def close(self) -> None:
        self.news.put(None)
