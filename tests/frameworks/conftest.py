"""Which rows run, and where their results go."""

from __future__ import annotations

import pytest

from tests.frameworks.results import Collector, Recorder
from tests.frameworks.rows import ClientRow, ServerRow


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-rows", action="store_true", help="run every row, and not one of each family")
    parser.addoption("--write", action="store_true", help="write docs/frameworks.json and its tables")


def pytest_configure(config: pytest.Config) -> None:
    # The workers of xdist report to the process that writes.
    if config.getoption("--write", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-rows", default=False):
        return
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        row = (
            item.callspec.params.get("row")
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
            else None
        )
        is_left = isinstance(row, ServerRow | ClientRow) and not row.representative
        (left if is_left else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> Recorder:
    return Recorder(request.node.user_properties)
