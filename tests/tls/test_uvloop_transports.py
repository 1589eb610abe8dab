"""uvloop's transports are found by what the garbage collector knows, each in a few steps."""

from __future__ import annotations

import asyncio
import gc
import ssl
import sys
from weakref import WeakValueDictionary

import pytest

from meshid.tls.uvloop_transports import RECENT, Transports, running_uvloop, transports_of
from tests.helpers.loops import new_uvloop


class Link:
    """A transport whose protocol holds memory BIOs, and that counts how often it is asked for it."""

    def __init__(self, *bios: ssl.MemoryBIO) -> None:
        self.protocol: tuple[ssl.MemoryBIO, ...] | None = bios
        self.asked = 0

    def get_protocol(self) -> object:
        self.asked += 1
        return self.protocol

    def get_extra_info(self, name: str) -> object:
        return name

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def _force_close(self, error: Exception) -> None:
        raise NotImplementedError


def links(count: int) -> tuple[list[Link], list[ssl.MemoryBIO], Transports, WeakValueDictionary[int, Link]]:
    """Return as many transports, what each writes to, how they are found, and the loop's dictionary."""
    bios = [ssl.MemoryBIO() for _ in range(count)]
    made = [Link(ssl.MemoryBIO(), bio) for bio in bios]
    every = WeakValueDictionary(enumerate(made))
    return made, bios, Transports(every), every  # type: ignore[arg-type]  # it is invariant


class TestANewConnection:
    def test_each_is_found(self) -> None:
        made, bios, transports, _ = links(5)
        for link, bio in zip(made, bios, strict=True):
            assert transports.of_new(bio) is link
            assert transports.of(bio) is link

    def test_each_is_looked_at_once_however_many_come_together(self) -> None:
        made, bios, transports, _ = links(3 * RECENT)
        for bio in bios:
            transports.of_new(bio)
        # Once when it was found among all, and once when its protocol was asked whether it still is its.
        assert {link.asked for link in made} == {2}

    def test_a_recent_one_that_was_plain_before_is_found_and_an_old_one_is_not(self) -> None:
        made, _, transports, _ = links(RECENT + 1)
        transports.of_new(ssl.MemoryBIO())
        started = [ssl.MemoryBIO(), ssl.MemoryBIO()]
        made[0].protocol, made[1].protocol = (started[0],), (started[1],)
        assert transports.of_new(started[1]) is made[1]
        assert transports.of_new(started[0]) is None
        assert transports.of(started[0]) is made[0]

    def test_what_an_old_one_has_left_behind_is_nobodys(self) -> None:
        made, bios, transports, _ = links(1)
        assert transports.of_new(bios[0]) is made[0]
        made[0].protocol = None
        assert transports.of_new(bios[0]) is None
        assert transports.of(bios[0]) is None

    def test_none_is_kept_alive(self) -> None:
        made, bios, transports, every = links(2)
        transports.of_new(bios[0])
        transports.of(bios[0])
        made.clear()
        gc.collect()
        assert len(every) == 0
        assert transports.of_new(bios[0]) is None


def test_all_that_must_end_are_looked_for_once() -> None:
    made, bios, transports, _ = links(10)
    assert [transports.of(bio) for bio in bios] == made
    # Once when all were looked at, and once when it was asked for.
    assert {link.asked for link in made} == {2}


class TestTheLoop:
    def test_only_one_of_uvloop_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def running() -> object:
            return running_uvloop()

        assert running_uvloop() is None
        assert asyncio.run(running()) is None
        with asyncio.Runner(loop_factory=new_uvloop) as runner:
            assert runner.run(running()) is runner.get_loop()
            monkeypatch.delitem(sys.modules, "uvloop")
            assert runner.run(running()) is None

    def test_one_that_keeps_its_transports_elsewhere_has_none(self) -> None:
        class Other:
            pass

        assert transports_of(Other()) is None  # type: ignore[arg-type]

    def test_its_transports_are_looked_for_once(self) -> None:
        with asyncio.Runner(loop_factory=new_uvloop) as runner:
            loop = runner.get_loop()
            assert transports_of(loop) is transports_of(loop) is not None
