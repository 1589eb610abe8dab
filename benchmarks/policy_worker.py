"""One engine in a process of its own.

So its memory is its own, no engine collects the garbage of another, and it can be stopped when
its time is over. The garbage collector stays on, as in production.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import statistics
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from policy_engines import Call, Engine, FirstTime, SeenBefore, SetLookUp, Union, UnionOfTarget
from policy_general import Casbin, CasbinOfTarget, Cedar, Rego
from policy_scene import Question, scene_of

UNIT = "a bare set look-up"
FIRST, SEEN = "meshid, first time", "meshid, seen before"
ENGINES: Mapping[str, type[Engine]] = {
    UNIT: SetLookUp,
    SEEN: SeenBefore,
    FIRST: FirstTime,
    "re, a union a target": UnionOfTarget,
    "re, one union": Union,
    "regopy": Rego,
    "cedarpy": Cedar,
    "casbin, FastEnforcer": CasbinOfTarget,
    "casbin, Enforcer": Casbin,
}

BUDGET = 20
"""Seconds that an engine has to load its rules and to give its first answers."""

_SLICE = 0.1  # seconds of a round, about
_FEWEST = 4
_ANSWERS = 8  # at least, so that each kind of question is answered


class Loaded(NamedTuple):
    """What loading cost, and whether the answers are right."""

    seconds: float
    resident: float
    peak: float
    answers: list[bool]


class Timing(NamedTuple):
    """One decision."""

    allowed: bool
    seconds: float


class Worker:
    """The process, seen from outside."""

    def __init__(self, name: str, size: int) -> None:
        """Start it."""
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_work, args=(theirs, name, size), daemon=True)
        self._process.start()
        theirs.close()

    def loaded(self) -> Loaded | None:
        """Wait until it has loaded its rules; None if it does not in time."""
        self._pipe.recv()
        if self._pipe.poll(BUDGET):
            loaded: Loaded = self._pipe.recv()
            return loaded
        self.end()
        return None

    def round(self, number: int) -> list[Timing]:
        """Have it decide for a while."""
        self._pipe.send(number)
        timings: list[Timing] = self._pipe.recv()
        return timings

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, name: str, size: int) -> None:
    scene = scene_of(size)
    engine = ENGINES[name](scene)
    gc.collect()
    before = _resident()
    pipe.send("ready")
    start = time.perf_counter()
    engine.load()
    seconds = time.perf_counter() - start
    grown, peak = _resident() - before, _peak() - before
    answers, cost = _answers(engine, scene.questions)
    pipe.send(Loaded(seconds, grown, peak, answers))
    many = max(_FEWEST, min(len(scene.questions), int(_SLICE / cost) // _FEWEST * _FEWEST))
    while True:
        at = pipe.recv() * many % len(scene.questions)
        pipe.send(_round(engine, (scene.questions * 2)[at : at + many]))


def _answers(engine: Engine, questions: list[Question]) -> tuple[list[bool], float]:
    answers: list[bool] = []
    start = time.perf_counter()
    for each in questions:
        answers.append(engine.question(each.path, each.target)())
        spent = time.perf_counter() - start
        if len(answers) >= _ANSWERS and spent > _SLICE:
            break
    return answers, spent / len(answers)


def _round(engine: Engine, questions: list[Question]) -> list[Timing]:
    calls = [engine.question(each.path, each.target) for each in questions]
    gc.collect()
    engine.prepare(calls)
    idle = _clock()
    return [Timing(each.allowed, _time(call) - idle) for each, call in zip(questions, calls, strict=True)]


def _time(call: Call) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e9


def _clock() -> float:
    """Measure what measuring costs."""
    reads = [(time.perf_counter_ns(), time.perf_counter_ns()) for _ in range(200)]
    return statistics.median(after - before for before, after in reads) / 1e9


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
