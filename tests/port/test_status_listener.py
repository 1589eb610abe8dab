"""The status listener over real sockets: what it answers, and what it does not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.port import status_listener
from meshid.port.status_listener import MAX_CONNECTIONS, MAX_HEAD_BYTES, REMEMBERED, StatusListener, asked_for
from tests.helpers.tls_peers import HOST


class Scene:
    """A status listener, what it has asked for, and its port."""

    def __init__(self) -> None:
        self.now = 0.0
        self.port = 0
        self.asked: list[str] = []
        self.head = b""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.listener = StatusListener(self.ready, self.metrics, clock=lambda: self.now)

    async def ready(self) -> tuple[HTTPStatus, str]:
        self.asked.append("ready")
        await self.may_answer.wait()
        return HTTPStatus.SERVICE_UNAVAILABLE, "not ready: upstream\n"

    def metrics(self) -> str:
        self.asked.append("metrics")
        return "meshid_ready 0.0\n"

    async def answer(self, request: bytes) -> tuple[bytes, bytes]:
        """Return the first line and the body of an answer; both empty if there was none."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(request)
        try:
            self.head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        except ConnectionError:
            return b"", b""
        finally:
            await gone(writer)
        return self.head.partition(b"\r\n")[0], body

    async def get(self, path: str) -> tuple[bytes, bytes]:
        return await self.answer(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[Scene]:
    scene = Scene()
    (listening,) = await scene.listener.start(HOST, 0)
    scene.port = listening.getsockname()[1]
    try:
        yield scene
    finally:
        await scene.listener.close()


class TestAnswers:
    @pytest.mark.parametrize(
        ("request_", "first", "body"),
        [
            ("GET /livez HTTP/1.1", "200 OK", "alive\n"),
            ("GET /readyz?verbose HTTP/1.0", "503 Service Unavailable", "not ready: upstream\n"),
            ("GET /metrics HTTP/1.1", "200 OK", "meshid_ready 0.0\n"),
            ("HEAD /metrics HTTP/1.1", "200 OK", ""),
            ("POST /livez HTTP/1.1", "405 Method Not Allowed", "Method Not Allowed\n"),
            ("GET / HTTP/1.1", "404 Not Found", "there are /livez, /readyz, /metrics\n"),
            ("GET /livez", "400 Bad Request", "Bad Request\n"),
            ("GET /livez HTTP/2.0", "400 Bad Request", "Bad Request\n"),
            ("GET  /livez HTTP/1.1", "400 Bad Request", "Bad Request\n"),
        ],
    )
    def test_one_request_has_one_answer(self, request_: str, first: str, body: str) -> None:
        async def ask() -> None:
            async with started() as scene:
                answer = await scene.answer(f"{request_}\r\nHost: x\r\n\r\n".encode())
                assert answer == (f"HTTP/1.1 {first}".encode(), body.encode())
                assert b"Connection: close" in scene.head
                assert b"Cache-Control: no-store" in scene.head

        asyncio.run(ask())

    def test_who_says_little_or_too_much(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                first, _ = await scene.answer(b"x" * (MAX_HEAD_BYTES + 10))
                assert first == b"HTTP/1.1 431 Request Header Fields Too Large"
                reader, writer = await asyncio.open_connection(HOST, scene.port)
                writer.write(b"GET /livez HTTP/1.1\r\n")
                writer.write_eof()
                assert await reader.read() == b""
                await gone(writer)

        asyncio.run(ask())

    def test_it_can_be_closed_before_it_is_started(self) -> None:
        async def close() -> None:
            await Scene().listener.close()

        asyncio.run(close())

    @given(st.binary())
    def test_any_bytes_are_a_request_or_none(self, head: bytes) -> None:
        method, path = asked_for(head)
        assert path is None or head.startswith(f"{method} {path}".encode("latin-1"))


class TestBounds:
    def test_answers_are_remembered_for_a_second_and_shared(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                scene.may_answer.clear()
                asking = [asyncio.create_task(scene.get("/readyz")) for _ in range(5)]
                await until(lambda: scene.asked == ["ready"])
                # However long it takes: a dial that hangs is asked for once.
                scene.now += 2 * REMEMBERED
                asking.append(asyncio.create_task(scene.get("/readyz")))
                assert (await scene.get("/livez"))[1] == b"alive\n"
                assert scene.asked == ["ready"]
                scene.may_answer.set()
                assert {body for _, body in await asyncio.gather(*asking)} == {b"not ready: upstream\n"}
                for _ in range(2):
                    await scene.get("/readyz")
                    await scene.get("/metrics")
                assert scene.asked == ["ready", "metrics"]
                scene.now += REMEMBERED
                await scene.get("/readyz")
                assert scene.asked == ["ready", "metrics", "ready"]

        asyncio.run(ask())

    def test_who_is_too_slow_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(status_listener, "SECONDS", 0.05)

        async def ask() -> None:
            async with started() as scene:
                assert await scene.answer(b"GET /livez") == (b"", b"")

        asyncio.run(ask())

    def test_who_goes_away_takes_no_answer_from_the_others(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                scene.may_answer.clear()
                first = asyncio.create_task(scene.get("/readyz"))
                await until(lambda: scene.asked == ["ready"])
                for exchange in scene.listener.exchanges:
                    exchange.cancel()
                await first
                second = asyncio.create_task(scene.get("/readyz"))
                await until(lambda: len(scene.listener.exchanges) == 1)
                scene.may_answer.set()
                assert (await second)[1] == b"not ready: upstream\n"
                assert scene.asked == ["ready"]

        asyncio.run(ask())

    def test_who_connects_and_says_nothing_keeps_no_probe_out(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                idle = [await asyncio.open_connection(HOST, scene.port) for _ in range(MAX_CONNECTIONS)]
                await until(lambda: len(scene.listener.exchanges) == MAX_CONNECTIONS)
                assert (await scene.get("/livez"))[1] == b"alive\n"
                # The oldest has given way, and no other.
                with contextlib.suppress(ConnectionError):
                    assert await idle[0][0].read() == b""
                assert len(scene.listener.exchanges) == MAX_CONNECTIONS - 1
                for _, writer in idle:
                    await gone(writer)
                await until(lambda: not scene.listener.exchanges)

        asyncio.run(ask())

    def test_one_that_gives_way_before_its_first_step_is_closed(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                ours, theirs = socket.socketpair()
                with theirs:
                    reader, writer = await asyncio.open_connection(sock=ours)
                    scene.listener._accept(reader, writer)  # noqa: SLF001 - as asyncio does
                    await scene.listener.close()
                    await until(writer.transport.is_closing)

        asyncio.run(ask())

    def test_the_end_waits_for_nobody(self) -> None:
        async def ask() -> None:
            async with started() as scene:
                reader, writer = await asyncio.open_connection(HOST, scene.port)
                await until(lambda: len(scene.listener.exchanges) == 1)
                await scene.listener.close()
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                await gone(writer)
                with pytest.raises(ConnectionError):
                    await asyncio.open_connection(HOST, scene.port)

        asyncio.run(ask())


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - what is waited for is seen from outside
            await asyncio.sleep(0.001)


async def gone(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
