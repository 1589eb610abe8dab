"""A failure is logged once, when it has lasted, and so is its end."""

from __future__ import annotations

import pytest

from meshid.health.health import Alarm, AlarmLevel
from meshid.sources.alarms import Alarms


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def alarms(time: Time, caplog: pytest.LogCaptureFixture) -> Alarms:
    caplog.set_level("INFO", "meshid.refresh")
    alarms = Alarms(time)
    alarms.have_good_state = True
    return alarms


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


class TestFailures:
    def test_one_that_passes_is_not_logged(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        alarms.failed("read", "policy", "typo")
        time.now = 0.9
        alarms.failed("read", "policy", "typo")
        assert "read" in alarms
        assert list(alarms.failures()) == []
        alarms.worked("read")
        assert "read" not in alarms
        assert logged(caplog) == []

    def test_one_that_lasts_is_logged_once(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        for time.now in (0.0, 1.0, 2.0, 3.0):
            alarms.failed("read", "policy", "typo")
        assert logged(caplog) == ["policy: typo; the last good state stays in force"]
        assert [str(alarm) for alarm in alarms.failures()] == alarms.texts() == ["policy: typo"]
        for time.now in (4.0, 4.9):
            alarms.failed("read", "policy", "another typo")
            assert logged(caplog) == []
        time.now = 5.0
        alarms.failed("read", "policy", "another typo")
        assert logged(caplog) == ["policy: another typo; the last good state stays in force"]
        alarms.worked("read")
        assert logged(caplog) == ["policy: recovered"]
        assert alarms.texts() == []

    def test_one_that_is_not_read_again_is_logged_nevertheless(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        alarms.failed("read", "agent", "garbage")
        for time.now in (1.0, 1.9):
            alarms.log_lasting()
            assert logged(caplog) == []
        for time.now in (2.0, 3.0):
            alarms.log_lasting()
        assert logged(caplog) == ["agent: garbage; the last good state stays in force"]

    def test_two_with_the_same_fault_are_logged_as_one(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        for time.now in (0.0, 1.0, 2.0):
            alarms.failed("credentials", "own", f"and it is {time.now} here", "the same")
        assert logged(caplog) == ["own: and it is 1.0 here; the last good state stays in force"]

    def test_before_there_is_a_good_state_nothing_is_logged(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        alarms.have_good_state = False
        for time.now in (0.0, 1.0, 2.0):
            alarms.failed("read", "policy", "typo")
        assert alarms.texts() == ["policy: typo"]
        alarms.worked("read")
        assert logged(caplog) == []


def test_an_alarm_about_the_snapshot_is_logged_when_it_begins_changes_and_ends(
    alarms: Alarms, caplog: pytest.LogCaptureFixture
) -> None:
    soon = Alarm(level=AlarmLevel.WARNING, about="own certificate", text="ends soon")
    over = Alarm(level=AlarmLevel.ERROR, about="own certificate", text="has ended")
    other = Alarm(level=AlarmLevel.WARNING, about="bundle", text="ends soon")
    for now in ([soon], [soon, other], [over, other], [over, other], [other]):
        alarms.log_changes(now)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "own certificate: ends soon"),
        ("WARNING", "bundle: ends soon"),
        ("ERROR", "own certificate: has ended"),
        ("INFO", "own certificate: recovered"),
    ]
