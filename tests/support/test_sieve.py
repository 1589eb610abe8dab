"""What is used again stays; what came once goes."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.support.sieve import Sieve


def test_it_holds_no_more_than_its_capacity() -> None:
    sieve: Sieve[int, str] = Sieve(3)
    for key in range(10):
        sieve.put(key, str(key))
        assert len(sieve) == min(key + 1, 3)
    assert sieve.evictions == 7


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_is_positive(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Sieve(capacity)


def test_what_was_used_outlives_what_was_not() -> None:
    sieve: Sieve[str, int] = Sieve(2)
    sieve.put("used", 1)
    sieve.put("unused", 2)
    assert sieve.get("used") == 1
    sieve.put("new", 3)
    assert (sieve.get("used"), sieve.get("unused"), sieve.get("new")) == (1, None, 3)


def test_a_value_is_replaced_in_its_place() -> None:
    sieve: Sieve[str, int] = Sieve(1)
    sieve.put("key", 1)
    sieve.put("key", 2)
    assert (sieve.get("key"), len(sieve), sieve.evictions) == (2, 1, 0)


class Model:
    """SIEVE as the paper has it: a list, newest first, a hand, and a set of marks."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue: list[int] = []
        self.marked: set[int] = set()
        self.hand: int | None = None

    def get(self, key: int) -> bool:
        if key in self.queue:
            self.marked.add(key)
        return key in self.queue

    def put(self, key: int) -> None:
        if key in self.queue:
            return
        if len(self.queue) >= self.capacity:
            at = self.queue.index(self.hand) if self.hand is not None else len(self.queue) - 1
            while self.queue[at] in self.marked:
                self.marked.discard(self.queue[at])
                at = at - 1 if at > 0 else len(self.queue) - 1
            self.hand = self.queue[at - 1] if at > 0 else None
            del self.queue[at]
        self.queue.insert(0, key)


@given(st.integers(1, 5), st.lists(st.tuples(st.booleans(), st.integers(0, 8))))
def test_it_keeps_what_the_paper_keeps(capacity: int, steps: list[tuple[bool, int]]) -> None:
    sieve: Sieve[int, int] = Sieve(capacity)
    model = Model(capacity)
    for is_get, key in steps:
        if is_get:
            assert (sieve.get(key) is not None) is model.get(key)
        else:
            sieve.put(key, key)
            model.put(key)
    assert {key for key in range(9) if sieve.get(key) is not None} == set(model.queue)


def test_keys_that_come_once_cannot_evict_those_that_come_back() -> None:
    order = random.Random(7)  # noqa: S311 - no secret is made of it
    sieve: Sieve[int, int] = Sieve(1000)
    lru: OrderedDict[int, int] = OrderedDict()
    hits = {"sieve": 0, "lru": 0}
    wanted = 0
    for number in range(60_000):
        key = order.randrange(900) if number % 2 else -number - 1
        wanted += key >= 0
        if sieve.get(key) is None:
            sieve.put(key, key)
        else:
            hits["sieve"] += key >= 0
        if key in lru:
            lru.move_to_end(key)
            hits["lru"] += key >= 0
        else:
            lru[key] = key
            if len(lru) > 1000:
                lru.popitem(last=False)
    assert hits["sieve"] / wanted > 0.9
    assert hits["lru"] / wanted < 0.7


def test_look_ups_need_no_lock_while_others_change_it() -> None:
    sieve: Sieve[int, int] = Sieve(50)
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        order = random.Random()  # noqa: S311 - no secret is made of it
        while not done.is_set():
            key = order.randrange(200)
            value = sieve.get(key)
            if value not in {None, key}:
                wrong.append((key, value))

    def write(seed: int) -> None:
        order = random.Random(seed)  # noqa: S311 - no secret is made of it
        for _ in range(20_000):
            key = order.randrange(200)
            sieve.put(key, key)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert len(sieve) == 50


def test_nobody_waits_to_enter_something() -> None:
    sieve: Sieve[object, int] = Sieve(2)

    class Interrupted:
        """A key whose look-up is interrupted by a signal handler, and by the wait for another thread."""

        def __hash__(self) -> int:
            sieve.put("of the handler", 1)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(sieve.put, "of the other thread", 2).result()
            return 7

    sieve.put(Interrupted(), 3)
    assert [value for _, value in sieve.items()] == [3]
    sieve.put("later", 4)
    assert [value for _, value in sieve.items()] == [3, 4]
