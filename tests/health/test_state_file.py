"""The state file, and `meshid status`, which reads it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshid import BundleSet, Mesh, TrustBundle
from meshid.__main__ import main
from meshid.health.state_file import HEARTBEAT_SECONDS, MAX_BYTES, StateFile
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.mounted import OWN, Mounted, alarms, eventually, hurry
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import mesh_of

ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.datetimes().map(str)
    ),
    lambda more: st.one_of(
        st.lists(more, max_size=3), st.dictionaries(st.text(max_size=8), more, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture
def mounted(tmp_path: Path, prod_ca: CA) -> Mounted:
    return Mounted(tmp_path, prod_ca)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def settled(status: dict[str, Any]) -> dict[str, Any]:
    """Leave out when it was told, and when each source was read; each has to be read, though."""
    sources = [each["fault"] if each["read"] else "never read" for each in status["sources"]]
    return {**status, "time": None, "sources": sources}


def as_told(file: Path) -> dict[str, Any]:
    return settled(read(file))


def as_told_by(mesh: Mesh) -> dict[str, Any]:
    return {**settled(mesh.status()), "sources": [None for _ in mesh.sources()]}


def replace(file: Path, content: str) -> None:
    """Do as another process does."""
    new = file.with_name("new")
    new.write_text(content)
    new.replace(file)


def leftovers(file: Path) -> list[Path]:
    return sorted(file.parent.glob(".state.json.*"))


def is_shared(mesh: Mesh) -> bool:
    return any("writes it too" in alarm.text for alarm in mesh.health().alarms)


def kill(*_: object) -> None:
    raise KeyboardInterrupt


class TestWriting:
    def test_it_is_written_when_something_changes_and_as_a_sign_of_life(self, file: Path) -> None:
        state = StateFile(file)
        written = []
        for now, generation in ((0, 1), (5, 1), (6, 2), (15, 2), (16, 2), (17, 2)):
            before = file.stat().st_ino if file.exists() else None
            state.write({"time": now, "generation": generation}, now)
            written.append(file.stat().st_ino != before)
        assert written == [True, False, True, False, True, False]
        assert read(file) == {"time": 16, "generation": 2}

    def test_whoever_is_killed_while_writing_leaves_the_one_before(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        StateFile(file).write({"generation": 1}, 0)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", kill)
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            with pytest.raises(KeyboardInterrupt):
                StateFile(file).write({"generation": 2}, 0)
        assert read(file) == {"generation": 1}
        (left,) = leftovers(file)
        StateFile(file).write({"generation": 3}, 0)
        assert read(file) == {"generation": 3}
        assert leftovers(file) == [left], "it could be the half-written one of a process that lives"

    def test_what_the_killed_have_left_is_removed(self, file: Path) -> None:
        other = file.with_name(".state.json.new")
        left = file.with_name(f".state.json.{'0' * 16}.new")
        kept = file.with_name(f".state.json.{'1' * 16}.new")
        for each in (left, other):
            each.write_text("{ half")
            os.utime(each, (0, 0))
        kept.mkdir()
        os.utime(kept, (0, 0))
        StateFile(file).write({"generation": 1}, 0)
        assert leftovers(file) == [kept, other], "what cannot be removed holds nothing up"

    def test_a_failed_write_leaves_nothing(self, file: Path) -> None:
        file.mkdir()
        state = StateFile(file)
        assert state.write({"generation": 1}, 0) == "cannot be written: Is a directory"
        assert list(file.parent.iterdir()) == [file]
        file.rmdir()
        assert state.write({"generation": 1}, 1) is None
        assert read(file) == {"generation": 1}

    @pytest.mark.parametrize("path", ["/", "state\0.json", "/dev/null/state"])
    def test_a_path_that_can_be_no_file_is_told(self, path: str) -> None:
        told = StateFile(Path(path)).write({}, 0)
        assert told is not None
        assert told.startswith("cannot be written: ")

    def test_a_device_in_its_place_stays(self) -> None:
        # That of a terminal: without the check, its folder lets nobody put a file in its place.
        controller, terminal = os.openpty()
        try:
            said = StateFile(Path(os.ttyname(terminal))).write({"generation": 1}, 0)
        finally:
            os.close(controller)
            os.close(terminal)
        assert said == "cannot be written: it is a device; give the path of a file"

    @pytest.mark.parametrize("is_first", [True, False])
    def test_a_link_in_its_place_is_replaced_and_not_followed(
        self, file: Path, tmp_path: Path, *, is_first: bool
    ) -> None:
        state = StateFile(file)
        if not is_first:
            state.write({"generation": 1}, 0)
            file.unlink()
        victim = tmp_path / "victim"
        victim.write_text("precious")
        file.symlink_to(victim)
        state.write({"generation": 1}, 1)
        assert victim.read_text() == "precious"
        assert not file.is_symlink()
        assert read(file) == {"generation": 1}

    def test_what_is_planted_under_the_name_of_the_new_file_is_not_written_to(
        self, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("precious")
        monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
        file.with_name(".state.json.guessed.new").symlink_to(victim)
        assert StateFile(file).write({"generation": 1}, 0) == "cannot be written: File exists"
        assert victim.read_text() == "precious"

    def test_others_may_read_it_and_not_write_it_whatever_the_umask(self, file: Path) -> None:
        before = os.umask(0)
        try:
            StateFile(file).write({}, 0)
        finally:
            os.umask(before)
        assert file.stat().st_mode & 0o777 == 0o644

    def test_a_file_that_was_removed_is_written_again_at_once(self, file: Path) -> None:
        state = StateFile(file)
        state.write({"generation": 1}, 0)
        file.unlink()
        assert state.write({"generation": 1}, 1) is None
        assert read(file) == {"generation": 1}

    def test_a_forked_child_does_not_write(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        state = StateFile(file)
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert state.write({"generation": 1}, 0) is None
        assert not file.exists()


class TestSharing:
    """Two processes that write one file: it would tell now the state of one and now of the other."""

    def test_each_tells_who_the_other_is_until_it_has_stopped(self, file: Path) -> None:
        state = StateFile(file)
        assert state.write({"pid": os.getpid()}, 0) is None
        replace(file, json.dumps({"pid": 4711}))
        told = "process 4711 writes it too: give each process a file of its own"
        assert state.write({"pid": os.getpid()}, 1) == told
        assert read(file) == {"pid": 4711}, "they take turns, rather than to write all the time"
        assert state.write({"pid": os.getpid()}, 10) == told
        assert read(file) == {"pid": os.getpid()}
        assert state.write({"pid": os.getpid()}, 1 + 3 * HEARTBEAT_SECONDS) is None

    @pytest.mark.parametrize(
        ("content", "who"),
        [
            (json.dumps({"pid": os.getpid()}), f"another mesh of this process, or process {os.getpid()} of"),
            ('{"pid": "x"}', "somebody else"),
            ('{"pid": true}', "somebody else"),
            ("{}", "somebody else"),
            ("[]", "somebody else"),
            ("{", "somebody else"),
            ("[" * 100_000, "somebody else"),
        ],
        ids=["ourselves", "a text", "a truth", "nobody", "a list", "cut off", "nested"],
    )
    def test_whoever_it_is(self, file: Path, content: str, who: str) -> None:
        state = StateFile(file)
        state.write({}, 0)
        replace(file, content)
        told = state.write({}, 1)
        assert told is not None
        assert told.startswith(who)

    def test_a_pipe_that_is_planted_is_not_waited_for(self, file: Path) -> None:
        state = StateFile(file)
        state.write({}, 0)
        file.unlink()
        os.mkfifo(file)
        assert state.write({"a": 1}, 1) == "somebody else writes it too: give each process a file of its own"
        assert read(file) == {"a": 1}

    def test_the_one_of_the_process_before_us_is_nobodys(self, file: Path) -> None:
        file.write_text(json.dumps({"pid": 4711}))
        assert StateFile(file).write({}, 0) is None

    def test_two_meshes_of_one_file_both_have_an_alarm(
        self, mounted: Mounted, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hurry(monkeypatch)
        with (
            Mesh.from_sources(mounted.sources(), service="payments", state_file=file) as one,
            Mesh.from_sources(mounted.sources(), service="orders", state_file=file) as two,
        ):
            assert eventually(lambda: is_shared(one) and is_shared(two), 20)


class TestOfAMesh:
    def test_a_mesh_tells_how_it_does(
        self, mounted: Mounted, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hurry(monkeypatch)
        with Mesh.from_sources(mounted.sources(), service="payments", state_file=file) as mesh:
            assert eventually(lambda: file.exists() and as_told(file) == as_told_by(mesh))
            status = read(file)
            assert (status["pid"], status["spiffe_id"]) == (os.getpid(), f"spiffe://prod.example.org{OWN}")
            assert (status["ready"], status["alarms"]) == (True, [])
            assert [source["fault"] for source in status["sources"]] == [None] * len(mounted.sources())
            mounted.policy.write_text("typo")
            assert eventually(lambda: read(file)["alarms"])
            assert "policy.toml" in read(file)["alarms"][0]["about"]
            assert any(source["fault"] for source in mesh.status()["sources"])  # type: ignore[attr-defined]

    def test_a_file_that_cannot_be_written_is_an_alarm_and_no_outage(
        self,
        mounted: Mounted,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        hurry(monkeypatch)
        gone = tmp_path / "gone"
        with Mesh.from_sources(mounted.sources(), service="payments", state_file=gone / "state") as mesh:
            assert eventually(lambda: alarms(caplog))
            assert alarms(caplog)[0].startswith(f"state file '{gone}/state': cannot be written: No such file")
            assert mesh.health().ready
            gone.mkdir()
            assert eventually(lambda: mesh.health().alarms == ())


class TestStatus:
    def status(self, prod_ca: CA, **changes: object) -> dict[str, Any]:
        return {**mesh_of(prod_ca).status(), **changes}

    def test_a_process_that_does_well(
        self,
        mounted: Mounted,
        file: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        hurry(monkeypatch)
        with Mesh.from_sources(mounted.sources(), service="payments", state_file=file) as mesh:
            assert eventually(lambda: file.exists() and as_told(file) == as_told_by(mesh))
            assert main(["status", str(file)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "ready"
        generation = mesh.snapshot.generation
        assert lines[1] == f"  service      payments, process {os.getpid()}, generation {generation}"
        assert lines[2].startswith(f"  certificate  spiffe://prod.example.org{OWN}, until ")
        assert lines[3].startswith("  trust        prod.example.org: 1 authority, until ")
        assert lines[4].startswith("  policy       environment prod, ")
        assert lines[5:7] == ["  revocations  0 lists, 0 denials", "  connections  0 open"]
        assert lines[7].startswith(f"  source       credentials '{mounted.secret.path}': read 20")
        assert len(lines) == 7 + len(mounted.sources())

    def test_one_that_is_not_ready(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        alarm = {"level": "error", "about": "own certificate", "text": "ended\x1b[2J"}
        source = {"name": "policy 'x'", "read": None, "fault": "typo\x1b[2J"}
        file.write_text(
            json.dumps(self.status(prod_ca, ready=False, alarms=[alarm], sources=[source], service=None))
        )
        monkeypatch.setenv("MESHID_STATE_FILE", str(file))
        assert main(["status"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "NOT ready"
        assert lines[1].startswith("  error: own certificate: ended")
        assert lines[2].startswith("  service      -, process ")
        assert lines[-1].startswith("  source       policy 'x': never read; typo")
        assert "\x1b" not in "".join(lines)

    @pytest.mark.parametrize("was_ready", [True, False])
    def test_one_that_has_gone_is_stale_first(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str], *, was_ready: bool
    ) -> None:
        late = datetime.now(UTC) - timedelta(seconds=3 * HEARTBEAT_SECONDS + 1)
        file.write_text(json.dumps(self.status(prod_ca, time=late.isoformat(), ready=was_ready)))
        assert main(["status", str(file)]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "STALE, no heartbeat for 31 s: the process is gone, or stuck"
        assert lines[1] == f"  what it said last: {'ready' if was_ready else 'NOT ready'}"
        assert main(["status", "--json", str(file)]) == 1
        assert next(iter(json.loads(capsys.readouterr().out).items())) == ("stale", True)

    def test_one_from_the_future_is_not_fresh_for_ever(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str]
    ) -> None:
        early = datetime.now(UTC) + timedelta(days=1)
        file.write_text(json.dumps(self.status(prod_ca, time=early.isoformat())))
        assert main(["status", str(file)]) == 1
        assert capsys.readouterr().out.startswith("STALE, it was written 86")

    def test_a_time_without_a_zone_is_told(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file.write_text(json.dumps(self.status(prod_ca, time="2026-01-01T12:00:00")))
        assert main(["status", str(file)]) == 2
        said = "its time '2026-01-01T12:00:00' has no time zone; meshid writes UTC, as in ...T12:00:00+00:00"
        assert capsys.readouterr().err == f"meshid: '{file}' is not a state file: {said}\n"

    @pytest.mark.parametrize("ready", ["false", 1, None])
    def test_only_true_is_ready(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str], ready: object
    ) -> None:
        file.write_text(json.dumps(self.status(prod_ca, ready=ready)))
        assert main(["status", str(file)]) == 2
        assert capsys.readouterr().err.endswith("its `ready` is neither true nor false\n")

    def test_an_outage_says_so(self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str]) -> None:
        file.write_text(json.dumps(mesh_of(prod_ca, policy=None).status()))
        assert main(["status", str(file)]) == 1
        assert "  outage: policy: there is none" in capsys.readouterr().out

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_whatever_is_in_it_there_is_one_answer(
        self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str], data: st.DataObject
    ) -> None:
        good = self.status(prod_ca)
        names = st.sampled_from(sorted(good))
        changed = {**good, **data.draw(st.dictionaries(names, ANYTHING, max_size=3))}
        file.write_text(json.dumps(data.draw(st.one_of(st.just(changed), ANYTHING))))
        code = main(["status", str(file)])
        out, err = capsys.readouterr()
        assert "internal error" not in err
        assert (code, bool(out), err.count("\n")) in {(0, True, 0), (1, True, 0), (2, False, 1)}

    def test_as_json(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file.write_text(json.dumps({**Mesh().status(), "ready": True}))
        assert main(["status", "--json", str(file)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told.pop("stale") is False
        assert 0 <= told.pop("age") < 10
        assert told == read(file)
        assert main(["status", str(file)]) == 0
        assert "certificate" not in capsys.readouterr().out

    def test_keys_of_issuers(self, file: Path, prod_ca: CA, capsys: pytest.CaptureFixture[str]) -> None:
        one, two = KeySet.from_json("one", TokenIssuer().jwks()), KeySet(issuer="two", serve_until=0.0)
        odd = KeySet(issuer="odd", serve_until=1e300)
        file.write_text(json.dumps(mesh_of(prod_ca, keys=KeySets([one, two, odd])).status()))
        main(["status", str(file)])
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  keys ")]
        assert rows == [
            "  keys         issuer one: 1 key",
            "  keys         issuer two: 0 keys, until 1970-01-01T00:00:00+00:00",
            "  keys         issuer odd: 0 keys",
        ]
        # Of a process that was not restarted when meshid was installed anew.
        status = self.status(prod_ca)
        del status["keys"]
        file.write_text(json.dumps(status))
        assert main(["status", str(file)]) == 0

    def test_several_authorities_and_none(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        both = TrustBundle.from_pem(
            "prod.example.org", CA("prod.example.org").pem + CA("prod.example.org").pem
        )
        none = TrustBundle.from_spiffe_json("dev.example.org", b'{"keys": []}')
        file.write_text(json.dumps(Mesh(bundles=BundleSet([both, none])).status()))
        assert main(["status", str(file)]) == 0
        out = capsys.readouterr().out
        assert "prod.example.org: 2 authorities, until 20" in out
        assert "dev.example.org: 0 authorities\n" in out

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("", "is not a state file: it is not JSON"),
            ("[]", "is not a state file: it lacks what meshid writes into one"),
            ("{}", "is not a state file: it lacks what meshid writes into one"),
            ('{"version": 1}', "is not a state file: it lacks what meshid writes into one"),
            ('{"version": 1, "time": 5}', "is not a state file: it lacks what meshid writes into one"),
            ('{"version": 2}', "has version '2'; this meshid reads version 1"),
            (" " * MAX_BYTES + "{}", "is not a state file: it is not JSON"),
            ("[" * 100_000, "is not a state file: it lacks what meshid writes into one"),
        ],
    )
    def test_a_file_that_is_none(
        self, file: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file.write_text(content)
        assert main(["status", str(file)]) == 2
        assert capsys.readouterr().err == f"meshid: '{file}' {said}\n"

    def test_no_file(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["status", str(file)]) == 2
        assert capsys.readouterr().err == f"meshid: '{file}' cannot be read: No such file or directory\n"
        assert main(["status"]) == 2
        assert capsys.readouterr().err == "meshid: no state file: add its path, or set MESHID_STATE_FILE\n"


KILLED = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from meshid import Mesh
from tests.helpers.mounted import sources_in
with Mesh.from_sources(sources_in(Path(sys.argv[1])), service="payments", state_file=sys.argv[2]) as mesh:
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_stops_no_next_start(mounted: Mounted, file: Path) -> None:
    """Killed while it starts, while it serves, and while its files are swapped."""
    command = [sys.executable, "-c", KILLED.format(path=sys.path), str(mounted.root), str(file)]
    for delay in (0.2, 0.4, 0.6, 0.8, 1.2, 1.6):
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=UNMEASURED
        ) as process:
            time.sleep(delay)
            mounted.renew()
            process.send_signal(signal.SIGKILL)
            process.communicate()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=UNMEASURED) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert eventually(lambda: file.exists() and read(file)["pid"] == process.pid)
        process.communicate(b"")
        assert process.returncode == 0
