"""A file that is mounted by itself is never updated, which is a warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshid.sources.files import subpath
from meshid.sources.files.trust_file import TrustFile
from meshid.testing import CA

PROD = CA("prod.example.org")


class TestMounts:
    @pytest.fixture
    def table(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        table = tmp_path / "mountinfo"
        monkeypatch.setattr(subpath, "_MOUNTS", table)
        return table

    def test_a_file_that_is_a_mount_point_is_a_warning(self, tmp_path: Path, table: Path) -> None:
        path = tmp_path / "ca file.pem"
        path.write_bytes(PROD.pem)
        escaped = str(path).replace(" ", r"\040")
        table.write_text(f"22 1 0:1 / / rw\n23 22 8:1 /var/x {escaped} ro - ext4\n\nshort\n")
        assert TrustFile("prod.example.org", path).read().warnings == (
            (
                f"{str(path)!r} is mounted as a single file (subPath), and such a mount is never updated;"
                " mount the whole directory"
            ),
        )

    def test_a_directory_that_is_a_mount_is_fine(self, tmp_path: Path, table: Path) -> None:
        path = tmp_path / "ca.pem"
        path.write_bytes(PROD.pem)
        table.write_text(f"23 22 8:1 /var/x {tmp_path} ro - ext4\n")
        assert TrustFile("prod.example.org", path).read().warnings == ()

    @pytest.mark.usefixtures("table")
    def test_a_system_without_a_mount_table_gives_no_warning(self, tmp_path: Path) -> None:
        path = tmp_path / "ca.pem"
        path.write_bytes(PROD.pem)
        assert TrustFile("prod.example.org", path).read().warnings == ()

    def test_this_system_has_a_mount_table(self) -> None:
        assert Path("/proc/self/mountinfo") == subpath._MOUNTS  # noqa: SLF001
        assert b"/" in subpath._mount_points()  # noqa: SLF001
