"""Who can reach a private socket, and who cannot take its place."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from meshid.errors import InvalidInput
from meshid.http.private_socket import MAX_PATH, private_socket

OTHER = 64123
"""A user that nobody is."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory as `install -d -m 0750` makes it."""
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(0o750)
    return directory


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as caught, private_socket(path):
        pytest.fail("it is listened to")
    return str(caught.value)


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


class TestListening:
    @pytest.mark.parametrize("mode", [0o700, 0o710, 0o750, 0o2750, 0o1750], ids=oct)
    def test_whoever_enters_the_directory_may_connect(self, run: Path, mode: int) -> None:
        run.chmod(mode)
        path = run / "meshid.sock"
        with private_socket(path) as listener:
            assert answers(path)
            assert path.stat().st_mode & 0o777 == 0o666
            listener.accept()[0].close()
        assert not path.exists()

    def test_a_relative_path_begins_at_the_working_directory(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(run)
        with private_socket(Path("meshid.sock")):
            assert answers(run / "meshid.sock")

    def test_the_socket_of_a_dead_process_is_replaced(self, run: Path) -> None:
        path = run / "meshid.sock"
        program = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
        subprocess.run([sys.executable, "-c", program, str(path)], check=True)
        assert path.is_socket()
        with private_socket(path):
            assert answers(path)

    @pytest.mark.parametrize("queued", [0, 1], ids=["idle", "with a full queue"])
    def test_the_socket_of_a_living_process_stays(self, run: Path, queued: int) -> None:
        path = run / "meshid.sock"
        with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as waiting:
            living.bind(str(path))
            living.listen(0)
            if queued:
                waiting.connect(str(path))
            assert refusal(path) == f"a process listens at '{path}'; stop it first, or choose another path"
            assert path.is_socket()

    def test_another_thing_at_the_path_stays(self, run: Path) -> None:
        path = run / "meshid.sock"
        path.write_text("precious")
        assert "is there, and is no socket; remove it" in refusal(path)
        assert path.read_text() == "precious"

    def test_what_has_replaced_the_socket_stays(self, run: Path) -> None:
        path = run / "meshid.sock"
        with private_socket(path):
            path.unlink()
            path.write_text("another's")
        assert path.read_text() == "another's"
        path.unlink()
        with private_socket(path):
            path.unlink()

    def test_two_that_start_at_once_do_not_replace_each_other(self, run: Path) -> None:
        descriptor = os.open(run, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            assert refusal(run / "a.sock") == f"another process is about to listen in '{run}'"
        finally:
            os.close(descriptor)
        with private_socket(run / "a.sock"), private_socket(run / "b.sock"):
            assert answers(run / "a.sock")

    def test_a_path_that_is_too_long_is_refused_in_words(self, run: Path) -> None:
        room = MAX_PATH - len(os.fsencode(run)) - 1
        with private_socket(run / ("a" * room)):
            pass
        assert "is too long for a Unix socket, which has 107 bytes at most" in refusal(
            run / ("a" * (room + 1))
        )


class TestDirectory:
    @pytest.mark.parametrize("mode", [0o751, 0o755, 0o754, 0o752, 0o770, 0o1777, 0o720], ids=oct)
    def test_others_must_not_enter_or_write(self, run: Path, mode: int) -> None:
        run.chmod(mode)
        text = refusal(run / "a.sock")
        assert (
            text
            == f"others can reach or replace what is in '{run}', whose mode is {mode:04o}: chmod 750 {run}"
        )
        subprocess.run(text.partition(": ")[2].split(), check=True)
        with private_socket(run / "a.sock"):
            pass

    def test_a_directory_that_is_not_there_comes_with_the_command_that_makes_it(self, run: Path) -> None:
        directory = run / "with space"
        text = refusal(directory / "a.sock")
        me = pwd.getpwuid(os.geteuid()).pw_name
        assert text.endswith(
            f"is not there; make it: install -d -m 0750 -o {me} -g GROUP_OF_THE_PROXY '{directory}'"
        )

    def test_a_file_is_no_directory(self, run: Path) -> None:
        (run / "file").write_text("")
        assert "is not a directory" in refusal(run / "file" / "a.sock")

    def test_it_must_belong_to_who_listens(self, run: Path) -> None:
        os.chown(run, OTHER, -1)
        text = refusal(run / "a.sock")
        assert f"'{run}' belongs to {OTHER}, and must belong to who listens: install -d -m 0750 -o " in text

    def test_a_directory_with_other_things_in_it_is_not_to_be_closed(self, run: Path) -> None:
        run.chmod(0o1777)
        (run / "another's").write_text("")
        text = refusal(run / "a.sock")
        me = pwd.getpwuid(os.geteuid()).pw_name
        command = f"install -d -m 0750 -o {me} -g GROUP_OF_THE_PROXY {run / 'meshid'}"
        why = "it has other things in it; give the socket a directory of its own"
        assert text == (
            f"others can reach or replace what is in '{run}', whose mode is 1777: {why}: {command}"
        )
        subprocess.run(command.replace("GROUP_OF_THE_PROXY", str(os.getegid())).split(), check=True)
        with private_socket(run / "meshid" / "a.sock"):
            pass
        os.chown(run, OTHER, -1)
        assert refusal(run / "a.sock").endswith(f"must belong to who listens: {why}: {command}")

    def test_what_cannot_be_listed_counts_as_such(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run.chmod(0o755)

        def refuse(_: Path) -> list[Path]:
            raise PermissionError

        monkeypatch.setattr(Path, "iterdir", refuse)
        assert "it has other things in it" in refusal(run / "a.sock")

    def test_links_are_followed_as_the_proxy_follows_them(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "absolute").symlink_to(run)
        (tmp_path / "relative").symlink_to("absolute/../run")
        with private_socket(tmp_path / "relative" / "a.sock"):
            assert answers(run / "a.sock")
        run.chmod(0o755)
        assert f"'{run}', whose mode is 0755" in refusal(tmp_path / "relative" / "a.sock")
        (tmp_path / "loop").symlink_to("loop")
        with (
            pytest.raises(OSError, match="Too many levels of symbolic links"),
            private_socket(tmp_path / "loop/a"),
        ):
            pass


class TestTheWay:
    @pytest.mark.parametrize("mode", [0o777, 0o775, 0o757], ids=oct)
    def test_nobody_else_can_replace_the_directory(self, run: Path, tmp_path: Path, mode: int) -> None:
        tmp_path.chmod(mode)
        text = refusal(run / "a.sock")
        assert text == (
            f"others can replace what is in '{tmp_path}', on the way to the socket: chmod go-w {tmp_path}"
        )
        # As /tmp is.
        tmp_path.chmod(mode | 0o1000)
        with private_socket(run / "a.sock"):
            pass

    def test_nor_does_it_belong_to_anybody_else(self, run: Path, tmp_path: Path) -> None:
        os.chown(tmp_path, OTHER, -1)
        text = refusal(run / "a.sock")
        assert f"'{tmp_path}' belongs to {OTHER}, who can replace what is below it; put the socket" in text

    def test_nor_a_link_on_it(self, run: Path, tmp_path: Path) -> None:
        tmp_path.chmod(0o1777)
        link = tmp_path / "link"
        link.symlink_to(run)
        with private_socket(link / "a.sock"):
            pass
        os.chown(link, OTHER, -1, follow_symlinks=False)
        assert f"'{link}' belongs to {OTHER}" in refusal(link / "a.sock")
        # The way that a link leads is a way as well.
        other = tmp_path / "open"
        other.mkdir()
        other.chmod(0o777)
        (other / "run").mkdir(0o750)
        (tmp_path / "second").symlink_to(other / "run")
        assert f"what is in '{other}'" in refusal(tmp_path / "second" / "a.sock")
