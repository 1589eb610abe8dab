"""The README, the pages beside it and those under docs/ run as they are written.

The blocks of a page are taken in order, in one empty directory:

    ```python              runs, in one namespace for the whole page
    ```python no-run       is only compiled: it would never end
    ```LANGUAGE file=NAME  is written to that file, and not run
    ```console             lines that begin with "$ " are run; what follows is their output.
                           A line "..." stands for any lines; a command ends in status 0,
                           or in N where "# exit N" trails it. One that ends in " &" goes on
                           until the end of the page; what follows is how its output begins

A comment `<!-- ports: 8080 8443 -->` names ports that the page uses; the tests take free ones in their place.

Any other block is only shown, in a language of `SHOWN`: a slip would turn a check off.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from unittest import mock

import attrs
import pytest

from tests.helpers.mounted import eventually

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
SHOWN = {"http", "ini", "json", "mermaid", "nginx", "sh", "text", "toml", "yaml"}

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
_PORTS = re.compile(r"<!-- ports:((?: [0-9]+)+) -->")
_COMMAND = re.compile(r"\$ (?P<line>.*?)(?: +# exit (?P<status>\d+))?\n(?P<output>(?:(?!\$ ).*\n)*)")


@attrs.frozen
class Block:
    language: str
    file: str | None
    body: str
    line: int


def blocks_of(text: str) -> Iterator[Block]:
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    assert fences == 2 * len(_FENCE.findall(text)), "a fence is not closed, or does not begin its line"
    for match in _FENCE.finditer(text):
        language, _, file = match["info"].strip().partition(" file=")
        yield Block(language, file or None, match["body"], text.count("\n", 0, match.start("body")) + 1)


def run_python(block: Block, page: str, namespace: dict[str, object]) -> None:
    # The empty lines make a traceback point into the page.
    code = compile("\n" * (block.line - 1) + block.body, page, "exec", dont_inherit=True)
    if block.language == "python":
        exec(code, namespace)  # noqa: S102 - running it is the test


def with_free_ports(text: str) -> str:
    """Replace the ports that a page names by ports that are free here."""
    named = [port for match in _PORTS.finditer(text) for port in match[1].split()]
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in named]
        free = {port: str(each.getsockname()[1]) for port, each in zip(named, taken, strict=True)}
    return re.sub(r"\b[0-9]+\b", lambda match: free.get(match[0], match[0]), text)


def in_shell(line: str) -> dict[str, Any]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"args": ["/bin/sh", "-c", line], "env": {**os.environ, "PATH": path}, "stdin": subprocess.DEVNULL}


@contextlib.contextmanager
def in_background(line: str, told: str) -> Iterator[None]:
    """Start a command, wait for what it prints first, and end it with the block."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(**in_shell(f"exec env {line}"), stdout=output, stderr=subprocess.STDOUT)
        try:
            printed = functools.partial(begins, output, told)
            assert eventually(lambda: process.poll() is not None or printed()), f"it prints no {told}"
            assert process.poll() is None, f"{line} has ended"
            yield
        finally:
            process.terminate()
            process.wait(60)


def begins(output: IO[str], told: str) -> bool:
    output.seek(0)
    lines = output.read().splitlines(keepends=True)[: told.count("\n")]
    return len(lines) == told.count("\n") and agrees(told, "".join(lines))


def run_console(block: Block, running: contextlib.ExitStack) -> None:
    commands = list(_COMMAND.finditer(block.body))
    assert "".join(match[0] for match in commands) == block.body, "a console block begins with '$ '"
    for match in commands:
        if match["line"].endswith(" &"):
            running.enter_context(in_background(match["line"].removesuffix(" &"), match["output"]))
            continue
        ran = subprocess.run(
            **in_shell(match["line"]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == int(match["status"] or 0), f"{match[0]}{ran.stdout}"
        assert agrees(match["output"], ran.stdout), f"{match[0]}is told; it prints:\n{ran.stdout}"


def agrees(told: str, real: str) -> bool:
    lines = [r"(?:.*\n)*" if line == "...\n" else re.escape(line) for line in told.splitlines(keepends=True)]
    return re.fullmatch("".join(lines), real) is not None


@pytest.fixture
def the_logs_as_they_were() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("meshid.audit", "meshid.refresh")]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)


@pytest.mark.slow
@pytest.mark.usefixtures("the_logs_as_they_were")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs_as_it_is_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    # A page may set variables, as its reader does.
    with mock.patch.dict(os.environ), contextlib.ExitStack() as running:
        for block in blocks_of(with_free_ports(page.read_text("utf-8"))):
            if block.file:
                Path(block.file).write_text(block.body, "utf-8")
            elif block.language in {"python", "python no-run"}:
                run_python(block, str(page), namespace)
            elif block.language == "console":
                run_console(block, running)
            else:
                assert block.language in SHOWN, f"{page.name}:{block.line}: unknown {block.language!r}"
    # What a page leaves open is told here, and not in a later test.
    namespace.clear()
    gc.collect()


def test_the_paths_in_contributing_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    paths = set(re.findall(r"\b(?:src|tests|docs|\.ci)/[\w/.]*\w", text))
    assert len(paths) > 5
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("told", "real", "verdict"),
    [
        pytest.param("a\n", "a\nb\n", False, id="a line too few"),
        pytest.param("a.c\n", "abc\n", False, id="no regular expressions"),
        pytest.param("a\n...\nd\n", "a\nb\nc\nd\n", True, id="dots for lines"),
        pytest.param("a\n...\n", "b\n", False, id="dots do not hide the rest"),
    ],
)
def test_output_is_compared_line_by_line(told: str, real: str, *, verdict: bool) -> None:
    assert agrees(told, real) is verdict


@pytest.mark.parametrize(
    "body", ["$ echo a\nb\n", "$ false &\nx\n", "$ exit 1\n", "$ true # exit 1\n", "no prompt\n"]
)
def test_a_wrong_console_block_is_seen(body: str) -> None:
    with pytest.raises(AssertionError):
        run_console(Block("console", None, body, 1), contextlib.ExitStack())


@pytest.mark.parametrize("page", ["```python\n1 / 0\n", "- a list\n\n  ```python\n  1 / 0\n  ```\n"])
def test_a_fence_that_would_be_passed_over_is_seen(page: str) -> None:
    with pytest.raises(AssertionError):
        list(blocks_of(page))
