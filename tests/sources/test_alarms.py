"""A failure is logged once, when it has lasted, and so is its end."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from meshid.health.alarm import Alarm, AlarmLevel
from meshid.sources.alarms import Alarms, Failure, bounded
from meshid.sources.telling import LOGGER
from meshid.support.logs import log


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
    alarms = Alarms(partial(log, LOGGER), time)
    alarms.is_started = True
    return alarms


def failed(alarms: Alarms, what: str, about: str, text: str, **more: Any) -> None:  # noqa: ANN401 - of `Failure`
    alarms.failed((what,), Failure(about=about, text=text, **more))


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return texts


class TestFailures:
    def test_one_that_passes_is_not_logged(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        failed(alarms, "read", "policy", "typo")
        time.now = 0.9
        failed(alarms, "read", "policy", "typo")
        assert ("read",) in alarms
        assert alarms.failures() == []
        alarms.worked(("read",))
        assert ("read",) not in alarms
        assert logged(caplog) == []

    @pytest.mark.parametrize("more", [{}, {"fault": None}, {"fault": "typo"}], ids=str)
    def test_one_that_lasts_is_logged_once(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture, more: dict[str, object]
    ) -> None:
        for time.now in (0.0, 1.0, 2.0, 3.0):
            failed(alarms, "read", "policy", "typo", **more)
        assert logged(caplog) == ["policy: typo; the last good state stays in force"]
        assert [str(alarm) for alarm in alarms.failures()] == alarms.texts() == ["policy: typo"]
        for time.now in (4.0, 4.9):
            failed(alarms, "read", "policy", "another typo")
            assert logged(caplog) == []
        time.now = 5.0
        failed(alarms, "read", "policy", "another typo")
        assert logged(caplog) == ["policy: another typo; the last good state stays in force"]
        alarms.worked(("read",))
        assert logged(caplog) == ["policy: recovered"]
        assert alarms.texts() == []

    def test_one_that_is_not_read_again_is_logged_nevertheless(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        failed(alarms, "read", "agent", "garbage")
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
            failed(alarms, "credentials", "own", f"and it is {time.now} here", fault="the same")
        assert logged(caplog) == ["own: and it is 1.0 here; the last good state stays in force"]

    def test_before_the_start_nothing_is_logged(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        alarms.is_started = False
        for time.now in (0.0, 1.0, 2.0):
            failed(alarms, "read", "policy", "typo")
        assert alarms.texts() == ["policy: typo"]
        alarms.worked(("read",))
        assert logged(caplog) == []

    def test_one_with_nothing_that_stays_does_not_say_so(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        for time.now in (0.0, 1.0):
            failed(alarms, "state file", "state file", "cannot be written", stays=False)
        assert logged(caplog) == ["state file: cannot be written"]

    def test_those_of_a_kind_are_replaced_together(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        one, two = Failure(about="one", text="1"), Failure(about="two", text="2")
        failed(alarms, "other", "other", "0")
        for time.now in (0.0, 1.0):
            alarms.replace(("kind",), {"one": one, "two": two})
        alarms.replace(("kind",), {"two": two})
        assert alarms.texts() == ["other: 0", "two: 2"]
        assert logged(caplog)[-1] == "one: recovered"

    def test_what_has_two_has_recovered_when_the_last_is_over(
        self, alarms: Alarms, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        for time.now in (0.0, 1.0):
            failed(alarms, "one", "lists", "1", stays=False)
            failed(alarms, "two", "lists", "2", stays=False)
        assert logged(caplog) == ["lists: 1", "lists: 2"]
        alarms.worked(("one",))
        assert logged(caplog) == []
        alarms.worked(("two",))
        assert logged(caplog) == ["lists: recovered"]

    def test_what_cannot_heal_was_seen_twice_and_has_lasted(self, alarms: Alarms, time: Time) -> None:
        key = ("read", "policy")
        assert not alarms.cannot_heal(key)
        for time.now, text, expected in (
            (0.0, "typo", False),
            (0.5, "typo", False),
            (1.0, "typo", True),
            (1.5, "another", False),
            (2.5, "another", True),
        ):
            alarms.failed(key, Failure(about="policy", text=text, is_lasting=True))
            assert alarms.cannot_heal(key) is expected
        alarms.failed(key, Failure(about="policy", text="seen once", is_lasting=True))
        time.now = 9.0
        assert not alarms.cannot_heal(key)
        alarms.failed(key, Failure(about="policy", text="missing"))
        time.now = 19.0
        alarms.failed(key, Failure(about="policy", text="missing"))
        assert not alarms.cannot_heal(key)


def test_texts_are_bounded() -> None:
    assert list(bounded(["a"] * 20)) == ["a"] * 20
    # The last one may say how many others a reader has left out.
    assert list(bounded([*["a"] * 20, "30 more entries"])) == [*["a"] * 20, "30 more entries"]
    assert list(bounded(["a"] * 23)) == [*["a"] * 20, "and 3 more like that"]


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
