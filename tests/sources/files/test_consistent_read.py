"""Files are read as they were at one instant, or not at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshid.errors import SourceUnavailable
from meshid.sources.files import consistent_read
from meshid.sources.files.consistent_read import look, read_together
from tests.helpers.volumes import KubernetesVolume

NAMES = ("tls.crt", "tls.key")


def numbered(number: int) -> dict[str, bytes]:
    return {name: str(number).encode() for name in NAMES}


@pytest.fixture
def volume(tmp_path: Path) -> KubernetesVolume:
    return KubernetesVolume(tmp_path / "volume", numbered(0))


def paths_in(volume: KubernetesVolume) -> list[Path]:
    return [volume.path / name for name in NAMES]


@contextlib.contextmanager
def meanwhile(write: Callable[[], None]) -> Iterator[None]:
    """Write in another thread until the end of the block."""
    done = threading.Event()

    def go_on() -> None:
        while not done.is_set():
            write()

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


class TestSwappedDirectory:
    def test_it_is_never_torn_however_fast_it_is_swapped(self, volume: KubernetesVolume) -> None:
        numbers = iter(range(1, 1_000_000))
        seen = set()
        with meanwhile(lambda: volume.swap(numbered(next(numbers)))):
            for _ in range(2_000):
                with contextlib.suppress(FileNotFoundError):  # swapped five times during one reading
                    certificate, key = read_together(paths_in(volume))
                    assert certificate == key
                    seen.add(certificate)
        assert len(seen) > 10

    def test_the_directory_is_pinned_while_it_is_read(
        self, volume: KubernetesVolume, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = consistent_read._read  # noqa: SLF001 - a swap at the worst moment
        swaps = iter([numbered(1)])

        def read_and_swap(path: Path, directory: int | None) -> bytes:
            data = read(path, directory)
            for files in swaps:
                volume.swap(files)
            return data

        monkeypatch.setattr(consistent_read, "_read", read_and_swap)
        # The first directory is gone before its key was read.
        assert read_together(paths_in(volume)) == [b"1", b"1"]

    def test_a_file_that_is_missing_is_named(self, volume: KubernetesVolume) -> None:
        (volume.path / "..data" / "tls.key").unlink()
        with pytest.raises(FileNotFoundError, match=r"/volume/tls\.key"):
            read_together(paths_in(volume))

    def test_a_swap_is_seen(self, volume: KubernetesVolume) -> None:
        before = look(paths_in(volume))
        volume.swap(numbered(0))
        assert look(paths_in(volume)) != before


class TestOtherWriters:
    def test_files_of_several_directories_are_read(self, tmp_path: Path) -> None:
        paths = [tmp_path / "a", tmp_path / "b" / "c"]
        paths[1].parent.mkdir()
        for each in paths:
            each.write_text(each.name)
        assert read_together(paths) == [b"a", b"c"]

    def test_a_writer_at_work_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = [tmp_path / name for name in NAMES]
        for path in paths:
            path.write_text("old")
        later = iter(paths)

        def write_on(seconds: float) -> None:
            assert seconds == consistent_read.SETTLING_SECONDS
            if path := next(later, None):
                path.write_text("new")

        monkeypatch.setattr("meshid.sources.files.consistent_read.time.sleep", write_on)
        assert read_together(paths) == [b"new", b"new"]

    def test_content_that_changed_under_the_same_times_is_seen(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "tls.crt"
        path.write_text("old")
        frozen = look([path])
        monkeypatch.setattr(consistent_read, "look", lambda _: frozen)
        texts = iter(["new"])
        monkeypatch.setattr(
            "meshid.sources.files.consistent_read.time.sleep",
            lambda _: [path.write_text(text) for text in texts],
        )
        assert read_together([path]) == [b"new"]

    def test_one_that_never_ends_is_given_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "tls.crt"
        path.write_text("x")

        def append(_: float) -> None:
            with path.open("a") as file:
                file.write("x")

        monkeypatch.setattr("meshid.sources.files.consistent_read.time.sleep", append)
        with pytest.raises(
            SourceUnavailable, match=r"tls\.crt' cannot be read: it was being written during 5 reads"
        ):
            read_together([path])


class TestReadEach:
    def test_one_that_keeps_changing_keeps_back_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steady, once, busy = (tmp_path / name for name in ("steady", "once", "busy"))
        for path in (steady, once, busy):
            path.write_bytes(b"0")
        rounds: list[None] = []

        def write(_: float) -> None:
            rounds.append(None)
            busy.write_bytes(b"%d" % len(rounds))
            if len(rounds) == 1:
                once.write_bytes(b"1")

        monkeypatch.setattr("meshid.sources.files.consistent_read.time.sleep", write)
        fault = f"{str(busy)!r} cannot be read: it was being written during 5 reads"
        assert consistent_read.read_each([steady, busy, once]) == [b"0", fault, b"1"]

    def test_nothing_is_nothing(self) -> None:
        assert consistent_read.read_each([]) == []


def test_a_directory_in_place_of_a_file_is_not_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(IsADirectoryError):
        read_together([tmp_path])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
