"""The battery, for every server of the table; `make frameworks` runs all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.frameworks.battery import CHECKS, Drill, Value, nobody
from tests.frameworks.results import Recorder
from tests.frameworks.rows import SERVERS, ServerRow
from tests.frameworks.scene import DidNotStart, Row, Scene, running

WORKING = [row for row in SERVERS if not row.fails]
FAILING = [row for row in SERVERS if row.fails]


def serving(row: ServerRow, scene: Scene) -> AbstractContextManager[Row]:
    return running(scene, f"tests.frameworks.servers.{row.module or row.name}", ROW_OPTIONS=row.options)


@pytest.mark.slow
@pytest.mark.parametrize("row", WORKING, ids=lambda row: row.name)
def test_a_server_does_what_its_row_says(row: ServerRow, tmp_path: Path, recorder: Recorder) -> None:
    values: dict[str, Value] = {}
    failures: dict[str, str] = {}
    with serving(row, Scene(tmp_path)) as process:
        drill = Drill(row, process)
        for check in CHECKS:
            try:
                values[check.__name__] = check(drill)
            # One that fails must not hide the others.
            except Exception as error:  # noqa: BLE001
                failures[check.__name__] = f"{type(error).__name__}: {error}"
    said = process.said()
    assert not failures, f"{failures}\n\n{said[-4000:]}"
    recorder.record(row, values)


@pytest.mark.slow
@pytest.mark.parametrize("row", FAILING, ids=lambda row: row.name)
def test_a_server_that_cannot_work_serves_nobody(row: ServerRow, tmp_path: Path, recorder: Recorder) -> None:
    try:
        with serving(row, Scene(tmp_path)) as process:
            value = nobody(Drill(row, process))
    except DidNotStart:
        value = "does not start"
    recorder.record(row, {"nobody": value})
