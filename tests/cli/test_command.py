"""The command as a whole: how it is called, how it ends, and what it says when it cannot go on."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshid.__main__ import main
from meshid.testing import CA
from meshid.verification.verifier import ChainVerifier
from tests.helpers.processes import UNMEASURED

SCRIPT = [str(Path(sys.executable).with_name("meshid"))]
MODULE = [sys.executable, "-m", "meshid"]
DENIED = "spiffe://prod.example.org/ns/pay/**"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    """A command line whose answer is "verified"."""
    ca = CA("prod.example.org")
    (tmp_path / "roots.pem").write_bytes(ca.pem)
    (tmp_path / "chain.pem").write_bytes(ca.issue("/ns/pay/sa/api").chain_pem)
    return ["verify", "--bundle", f"prod.example.org={tmp_path / 'roots.pem'}", str(tmp_path / "chain.pem")]


def plant_version(directory: Path, version: str) -> str:
    """Make *directory* a place where a meshid of that *version* is installed."""
    metadata = directory / f"meshid-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.4\nName: meshid\nVersion: {version}\n")
    return str(directory)


class TestCalling:
    @pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["meshid", "python -m meshid"])
    def test_it_can_be_called_as_a_script_and_as_a_module(
        self, command: list[str], question: list[str]
    ) -> None:
        ended = run(*command, *question)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith("verified\n")

    @pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["meshid", "python -m meshid"])
    def test_its_help_calls_it_meshid_and_names_the_commands(self, command: list[str]) -> None:
        ended = run(*command, "--help")
        assert ended.returncode == 0
        assert ended.stdout.startswith("usage: meshid ")
        assert {"demo", "verify"} <= set(ended.stdout.split())

    @pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["meshid", "python -m meshid"])
    def test_its_status_is_that_of_the_process(self, command: list[str], question: list[str]) -> None:
        admitted, refused = run(*command, *question), run(*command, *question, "--deny", DENIED)
        assert (admitted.returncode, refused.returncode, run(*command).returncode) == (0, 1, 2)

    @pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["policy", "--help"], ["verify"]])
    def test_what_other_commands_need_is_not_loaded(self, arguments: list[str], question: list[str]) -> None:
        code = (
            "import sys\nfrom meshid.__main__ import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print('loaded:', *sys.modules)"
        )
        command = question if arguments == ["verify"] else arguments
        ended = run(sys.executable, "-c", code, *command)
        assert ended.stderr == ""
        loaded = set(ended.stdout.rpartition("loaded: ")[2].split())
        assert "meshid.cli.commands" in loaded
        unused = [
            "meshid.audit.replay",
            "meshid.cli.demo",
            "meshid.envoy",
            "meshid.istio",
            "meshid.policy.report",
        ]
        assert not loaded & {*unused, "meshid.testing"}

    @pytest.mark.parametrize("first", ["--", "--loud"])
    def test_the_command_is_found_behind_whatever_begins_with_a_dash(
        self, first: str, question: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        # Newer releases of Python take `--` as the end of the options, and ask the command.
        main([first, *question])
        assert "internal error" not in capsys.readouterr().err

    def test_its_version_is_that_of_the_installed_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "path", [plant_version(tmp_path, "47.11"), *sys.path])
        with pytest.raises(SystemExit) as ended:
            main(["--version"])
        assert ended.value.code == 0
        assert capsys.readouterr().out == "meshid 47.11\n"

    def test_a_source_tree_says_that_it_is_not_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == "meshid (not installed: a source tree)\n"


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            pytest.param([], "COMMAND", id="no command"),
            pytest.param(["verfy"], "'verfy'", id="an unknown command"),
            pytest.param(["demo", "--loud"], "--loud", id="an unknown option"),
            pytest.param(["verify", "chain.pem"], "--bundle", id="an option that is missing"),
            pytest.param(["verify", "--bundle", "a=b"], "CHAIN", id="an argument that is missing"),
            pytest.param(["verify", "--bun", "a=b", "c"], "--bundle", id="an option cut short"),
            pytest.param(["demo", "\x1b[31m\n"], "\\x1b[31m\\n", id="control characters"),
        ],
    )
    def test_a_wrong_command_line_is_one_line_that_names_it(
        self, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("meshid: ")
        assert err.count("\n") == 1
        assert named in err
        assert "--help" in err

    def test_an_unknown_option_points_to_the_help_of_its_command(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            main(["policy", "import", "istio", "a", "--environment", "e", "--trust-domain", "t", "--stricer"])
            == 2
        )
        said = "meshid: unrecognized arguments: --stricer; see: meshid policy import istio --help\n"
        assert capsys.readouterr().err == said


class TestEnding:
    def test_a_failure_of_meshid_itself_is_not_taken_for_a_refusal(
        self,
        question: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            msg = "a\nbug"
            raise RuntimeError(msg)

        monkeypatch.setattr(ChainVerifier, "verify", fail)
        assert main(question) == 2
        assert capsys.readouterr() == (
            "",
            "meshid: internal error, please report it: RuntimeError: 'a\\nbug'\n",
        )

    def test_what_the_system_refuses_is_told_in_its_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "openssl"
        broken.write_bytes(b"\x7fELF, but no program")
        broken.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert main(["demo"]) == 2
        assert capsys.readouterr().err == f"meshid: [Errno 8] Exec format error: '{broken}'\n"

    def test_a_reader_who_has_gone_is_no_verdict_and_no_traceback(self, question: list[str]) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        ended = subprocess.run(
            [*MODULE, *question], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writing)
        assert (ended.returncode, ended.stderr) == (2, "")

    def test_an_interrupt_ends_it_quietly(self) -> None:
        running = subprocess.Popen(
            [*MODULE, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=UNMEASURED
        )
        assert running.stdout is not None
        assert "payments" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
        assert (running.returncode, err) == (130, "")

    def test_an_interrupt_has_a_status_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupt(_: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr("meshid.cli.demo.run", interrupt)
        assert main(["demo"]) == 130
        assert capsys.readouterr() == ("", "")

    def test_a_terminal_without_the_characters_gets_their_escapes(self) -> None:
        ended = run(*MODULE, "demo", PYTHONIOENCODING="ascii")
        assert (ended.returncode, ended.stderr) == (0, "")
        assert " 1 \\u2713 allowed by a rule" in ended.stdout

    @pytest.mark.parametrize("arguments", ["--help", "--version", "settings", "policy schema"])
    def test_nothing_is_printed_to_a_closed_standard_output(self, arguments: str) -> None:
        # Not only the status: Python's `print` would do nothing, or take the other stream.
        ended = run("sh", "-c", f"exec {' '.join(MODULE)} {arguments} >&-")
        assert (ended.returncode, ended.stderr) == (2, "meshid: standard output is closed\n")

    @pytest.mark.parametrize("arguments", ["policy check -", "verify --bundle prod.example.org=x -"])
    def test_a_closed_standard_input_is_told(self, arguments: str) -> None:
        ended = run("sh", "-c", f"exec {' '.join(MODULE)} {arguments} <&-")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "meshid: standard input is closed\n"

    def test_errors_do_not_go_to_standard_output_where_there_is_no_other(self) -> None:
        ended = run("sh", "-c", f"exec {' '.join(MODULE)} status /gone 2>&-")
        assert (ended.returncode, ended.stdout) == (2, "")

    def test_closed_streams_are_told_from_within(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        assert main(["policy", "check", "-"]) == 2
        assert capsys.readouterr() == ("", "meshid: standard input is closed\n")
        monkeypatch.setattr(sys, "stdout", None)
        assert main(["--help"]) == 2
        assert capsys.readouterr() == ("", "meshid: standard output is closed\n")
        monkeypatch.setattr(sys, "stderr", None)
        assert main(["--help"]) == 2

    def test_its_output_can_go_to_any_text_stream(self, question: list[str]) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(question) == 0
        assert out.getvalue().startswith("verified\n")
