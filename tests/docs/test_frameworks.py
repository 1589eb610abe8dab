"""The table of servers and clients says what was run, with the versions that are pinned."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.page import MARK, PAGE, tables
from tests.frameworks.results import PROJECT, pins, problems, read
from tests.frameworks.rows import CLIENTS, FAMILIES, SERVERS, ClientRow, ServerRow

ROWS: tuple[ServerRow | ClientRow, ...] = (*SERVERS, *CLIENTS)
PROJECT_TEXT = PROJECT.read_text("utf-8")


def test_the_file_is_about_the_pinned_versions_and_the_rows_as_they_are() -> None:
    assert problems(read(), PROJECT_TEXT, ROWS) == [], "run: make frameworks PYTHON=python3.13"


def test_the_page_says_what_the_file_says() -> None:
    assert PAGE.read_text("utf-8").endswith(MARK + tables(read())), (
        "run: python -m tests.frameworks.page --write"
    )


def test_each_family_has_one_row_in_every_run_of_the_tests() -> None:
    assert {row.family for row in ROWS if row.representative} == set(FAMILIES)


def test_each_row_has_its_own_name_and_pinned_packages() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {name for row in ROWS for name in row.packages} <= pins(read()["python"], PROJECT_TEXT).keys()


def _other_version(results: dict[str, Any]) -> None:
    results["packages"]["uvicorn"] = "0.1"


def _unpinned(results: dict[str, Any]) -> None:
    results["packages"]["left-pad"] = "1.0"


def _not_run(results: dict[str, Any]) -> None:
    del results["rows"]["http_server"]


def _gone(results: dict[str, Any]) -> None:
    results["rows"]["gone"] = results["rows"]["http_server"]


def _otherwise(results: dict[str, Any]) -> None:
    results["rows"]["http_server"]["plug"] = "by magic"


PLANTS = (_other_version, _unpinned, _not_run, _gone, _otherwise)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_difference_is_found(plant: Callable[[dict[str, Any]], None]) -> None:
    planted = copy.deepcopy(read())
    plant(planted)
    assert len(problems(planted, PROJECT_TEXT, ROWS)) == len(problems(read(), PROJECT_TEXT, ROWS)) + 1


def test_the_pins_are_those_of_the_python_that_ran() -> None:
    project = """
[dependency-groups]
frameworks = [
    "django==5.2; python_version < '3.12'",
    "django==6.1; python_version >= '3.12'",
    "psycopg[binary]==3.3",
]
"""
    assert pins("3.11.7", project) == {"django": "5.2", "psycopg": "3.3"}
    assert pins("3.13.0", project) == {"django": "6.1", "psycopg": "3.3"}
