"""What a package index shows: the README, with links that work there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(!?)\[[^]]*\]\(([^)]+)\)")


def description(tmp_path: Path, urls: str) -> str:
    for name in ("README.md", "LICENSE", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(project + urls, "utf-8")
    command = [sys.executable, "-m", "hatchling", "metadata", "readme"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_it_is_the_readme(tmp_path: Path) -> None:
    assert description(tmp_path, "").strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_its_links_are_absolute_where_the_project_has_a_home(tmp_path: Path) -> None:
    home = "https://forge.example/meshid"
    text = description(tmp_path, f'\n[project.urls]\nSource = "{home}"\n')
    links = LINK.findall(text)
    for picture, target in links:
        assert re.match(r"https://forge\.example/meshid/(raw|blob)/v\d|https://", target), target
        if target.startswith(home):
            path = re.sub(rf"{home}/{'raw' if picture else 'blob'}/v[\d.]+/|#.*", "", target)
            assert (ROOT / path).is_file(), target
    assert len(links) == len(LINK.findall((ROOT / "README.md").read_text("utf-8")))
