"""A log handler that fails costs the line, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from meshid.support import logs
from meshid.support.logs import ERROR, INFO, WARNING, failures, log
from meshid.testing import CA
from tests.helpers.tls_peers import mesh_of
from tests.helpers.user_code import failing, handling

LOGGER = logging.getLogger("meshid.test_logs")


@pytest.fixture(autouse=True)
def _nothing_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LOST", {})


@pytest.fixture
def down() -> Iterator[None]:
    """A log server that is down."""
    with handling(failing, LOGGER.name):
        yield


def test_a_line_arrives_with_what_belongs_to_it(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("x")
    log(LOGGER, WARNING, "a %s of %s", "line", 1, error=error, meshid="event")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage(), record.meshid) == ("WARNING", "a line of 1", "event")  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert failures() is None


@pytest.mark.usefixtures("down")
def test_what_a_handler_raises_goes_no_further_and_is_told() -> None:
    for level in (WARNING, WARNING, ERROR):
        log(LOGGER, level, "a line")
    assert failures() == (
        "2 lines of meshid.test_logs at WARNING were lost, the last one to"
        " ConnectionError: 'the log server is down';"
        " 1 line of meshid.test_logs at ERROR was lost: ConnectionError: 'the log server is down'"
    )


@pytest.mark.usefixtures("down")
def test_it_is_an_alarm_of_every_mesh(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    assert "log" not in {alarm.about for alarm in mesh.health().alarms}
    log(LOGGER, WARNING, "a line")
    (alarm,) = (each for each in mesh.health().alarms if each.about == "log")
    assert alarm.text.endswith("ConnectionError: 'the log server is down'; see to the log handler")
    assert mesh.health().ready


def test_it_is_over_with_the_next_line_of_its_level_that_goes_through() -> None:
    with handling(failing, LOGGER.name):
        log(LOGGER, WARNING, "a line")
    log(LOGGER, ERROR, "a line that the handler for warnings did not get")
    assert failures() is not None
    log(LOGGER, WARNING, "a line")
    assert failures() is None


@pytest.mark.usefixtures("down")
def test_a_line_that_nobody_wants_is_neither_logged_nor_lost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(WARNING, LOGGER.name)
    log(LOGGER, INFO, "a line")
    assert failures() is None


def test_an_interruption_is_not_a_failure() -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with handling(interrupt, LOGGER.name), pytest.raises(KeyboardInterrupt):
        log(LOGGER, WARNING, "a line")


def test_not_even_an_exception_without_a_text_gets_out() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise self

    def fail(_: object) -> None:
        raise Mute

    with handling(fail, LOGGER.name):
        log(LOGGER, WARNING, "a line")
    assert "was lost: Mute: (its text cannot be made)" in str(failures())
