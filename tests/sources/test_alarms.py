"""A fault is told once, when it has lasted, and so is its end."""

from __future__ import annotations

import pytest

from meshid.sources.alarms import Faults


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def faults(time: Time, caplog: pytest.LogCaptureFixture) -> Faults:
    caplog.set_level("INFO", "meshid.refresh")
    faults = Faults(time)
    faults.are_told = True
    return faults


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


def test_one_that_passes_is_not_told(faults: Faults, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    faults.failed("read", "policy", "typo")
    time.now = 0.9
    faults.failed("read", "policy", "typo")
    assert "read" in faults
    assert list(faults.alarms()) == []
    faults.worked("read")
    assert "read" not in faults
    assert told(caplog) == []


def test_one_that_lasts_is_told_once(faults: Faults, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    for time.now in (0.0, 1.0, 2.0, 3.0):
        faults.failed("read", "policy", "typo")
    assert told(caplog) == ["policy: typo; the last good state stays in force"]
    assert [str(alarm) for alarm in faults.alarms()] == faults.texts() == ["policy: typo"]
    for time.now in (4.0, 4.9):
        faults.failed("read", "policy", "another typo")
        assert told(caplog) == []
    time.now = 5.0
    faults.failed("read", "policy", "another typo")
    assert told(caplog) == ["policy: another typo; the last good state stays in force"]
    faults.worked("read")
    assert told(caplog) == ["policy: works again"]
    assert faults.texts() == []


def test_one_that_is_not_looked_at_again_is_told_nevertheless(
    faults: Faults, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    faults.failed("read", "agent", "garbage")
    for time.now in (1.0, 1.9):
        faults.tell_lasting()
        assert told(caplog) == []
    for time.now in (2.0, 3.0):
        faults.tell_lasting()
    assert told(caplog) == ["agent: garbage; the last good state stays in force"]


def test_two_that_are_the_same_fault_are_told_as_one(
    faults: Faults, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    for time.now in (0.0, 1.0, 2.0):
        faults.failed("credentials", "own", f"and it is {time.now} here", "the same")
    assert told(caplog) == ["own: and it is 1.0 here; the last good state stays in force"]


def test_before_there_is_a_good_state_nothing_is_told(
    faults: Faults, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    faults.are_told = False
    for time.now in (0.0, 1.0, 2.0):
        faults.failed("read", "policy", "typo")
    assert faults.texts() == ["policy: typo"]
    faults.worked("read")
    assert told(caplog) == []
