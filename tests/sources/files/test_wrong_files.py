"""Whatever is wrong with a file, one error names the source, the file and the fault."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshid.errors import SourceUnavailable
from meshid.sources.files import consistent_read
from meshid.sources.files.credential_files import CredentialFiles
from meshid.sources.files.deny_list_file import DenyListFile
from meshid.sources.files.policy_file import PolicyFile
from meshid.sources.files.polled import PolledFiles
from meshid.sources.files.trust_file import BundleMapFile, TrustFile
from meshid.testing import CA
from meshid.trust.bundles import MAX_BUNDLE_BYTES
from tests.helpers.volumes import pair, unprivileged

MISSING = "cannot be read: No such file or directory"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file, whose name is the same whatever it stands for."""
    path = tmp_path / "file"
    path.write_bytes(CA("prod.example.org").pem)
    return path


SOURCES: dict[str, Callable[[Path], PolledFiles]] = {
    "credentials": CredentialFiles,
    "trust of prod.example.org": lambda path: TrustFile("prod.example.org", path),
    "bundle map": BundleMapFile,
    "policy": lambda path: PolicyFile(path, "prod"),
    "deny list": DenyListFile,
}


def fault(source: PolledFiles) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        source.read()
    assert caught.value.__context__ is None
    return str(caught.value).removeprefix(f"{source.name}: ")


def fault_of(path: Path) -> str:
    return fault(TrustFile("prod.example.org", path)).removeprefix(f"{str(path)!r} ")


class TestWhatCannotBeRead:
    @pytest.mark.parametrize(("kind", "source"), SOURCES.items(), ids=SOURCES)
    def test_every_source_names_itself_and_the_file(
        self, path: Path, kind: str, source: Callable[[Path], PolledFiles]
    ) -> None:
        path.unlink()
        polled = source(path)
        assert polled.name == f"{kind} {str(path)!r}"
        assert fault(polled).startswith(repr(str(path))[:-1])
        assert fault(polled).endswith(MISSING)

    def test_one_that_vanishes_while_it_is_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("meshid.sources.files.consistent_read.time.sleep", lambda _: path.unlink())
        assert fault_of(path) == MISSING

    def test_one_that_may_not_be_read(self, path: Path) -> None:
        path.chmod(0)
        with unprivileged():
            assert fault_of(path) == "cannot be read: Permission denied"

    @pytest.mark.parametrize(("kind", "source"), SOURCES.items(), ids=SOURCES)
    def test_a_directory_that_may_not_be_read(
        self, tmp_path: Path, kind: str, source: Callable[[Path], PolledFiles]
    ) -> None:
        directory = tmp_path / kind
        directory.mkdir(mode=0)
        with unprivileged():
            assert fault(source(directory / "x" if kind == "policy" else directory)).endswith(
                "cannot be read: Permission denied"
            )

    def test_an_empty_one(self, path: Path) -> None:
        path.write_text(" \n")
        assert fault_of(path) == "cannot be read: it is empty"

    def test_a_directory(self, tmp_path: Path) -> None:
        assert fault(PolicyFile(tmp_path, "prod")) == f"{str(tmp_path)!r} cannot be read: Is a directory"

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert fault_of(tmp_path / "pipe") == "cannot be read: it is not a regular file"

    def test_one_that_is_far_too_large(self, path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(consistent_read.MAX_FILE_BYTES + 1)
        assert fault_of(path) == "cannot be read: it is larger than 33554432 bytes; is it the right file?"

    def test_a_hostile_name_is_escaped(self, tmp_path: Path) -> None:
        expected = fault(TrustFile("prod.example.org", tmp_path / "a\n\x1b[2J"))
        assert expected.endswith(f"/a\\n\\x1b[2J' {MISSING}")


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"\xff\x00 junk", "bundle of prod.example.org: "),
            (b"{", "bundle of prod.example.org: "),
        ],
    )
    def test_trust(self, path: Path, content: bytes, expected: str) -> None:
        path.write_bytes(content)
        assert fault(TrustFile("prod.example.org", path)).startswith(expected)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"{", "it is not JSON: "),
            (b"[" * 100_000, "it is not JSON: "),
            (b'{"trust_domains": {}, "trust_domains": {}}', "it is not JSON: "),
            (
                b"[]",
                'it must be a JSON object with an object "trust_domains" that has a bundle for each name',
            ),
            (b'{"trust_domains": []}', 'it must be a JSON object with an object "trust_domains"'),
            (b" " * (MAX_BUNDLE_BYTES + 1) + b"{}", "it has 4194307 bytes, and at most 4194304 are read"),
            (
                json.dumps({"trust_domains": dict.fromkeys(range(1001))}).encode(),
                "it has 1001 bundles, and at most 1000 are read",
            ),
        ],
    )
    def test_a_bundle_map(self, path: Path, content: bytes, expected: str) -> None:
        path.write_bytes(content)
        assert fault(BundleMapFile(path)).startswith(expected)

    def test_a_policy_with_all_its_mistakes(self, path: Path) -> None:
        path.write_text(
            "version = 2\nallwo = []\n[environments.prod]\ntrust_domains = ['prod.example.org']\n"
        )
        expected = fault(PolicyFile(path, "prod"))
        assert "version: " in expected
        assert "did you mean 'allow'?" in expected
        assert "\n" not in expected

    def test_a_deny_list_with_all_its_mistakes(self, path: Path) -> None:
        path.write_text("version = 1\n[[deny]]\npeer = 1\nresaon = 'x'\n")
        expected = fault(DenyListFile(path))
        assert expected == (
            "deny[0].peer: must be a SPIFFE ID or a pattern of them;"
            " deny[0].resaon: is unknown; did you mean 'reason'?"
        )


class TestCredentials:
    """A pair that does not fit is never a state."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        for name, content in pair(CA("prod.example.org").issue()).items():
            (tmp_path / name).write_bytes(content)
        return tmp_path

    def test_the_key_of_another_certificate(self, directory: Path) -> None:
        (directory / "tls.key").write_bytes(CA("prod.example.org").issue().key_pem)
        assert fault(CredentialFiles(directory)).startswith("own certificate: the private key is not that of")

    def test_a_certificate_alone(self, directory: Path) -> None:
        file = directory / "tls.crt"
        assert fault(CredentialFiles(file)) == (
            f"own certificate: there is no private key in {str(file)!r};"
            " set MESHID_KEY to the file that has it"
        )
        assert CredentialFiles(file, directory / "tls.key").read().credentials

    @pytest.mark.parametrize("name", ["tls.crt", "tls.key"])
    def test_truncated_pem(self, directory: Path, name: str) -> None:
        path = directory / name
        whole = path.read_bytes()
        for length in (40, len(whole) // 2, len(whole) - 30):
            path.write_bytes(whole[:length])
            assert fault(CredentialFiles(directory)).startswith("own certificate: ")

    def test_it_recovers_without_a_restart(self, directory: Path) -> None:
        source = CredentialFiles(directory)
        before = source.read()
        key = (directory / "tls.key").read_bytes()
        (directory / "tls.key").write_bytes(b"half")
        fault(source)
        (directory / "tls.key").write_bytes(key)
        assert source.read() == before

    def test_an_unknown_layout(self) -> None:
        with pytest.raises(
            ValueError, match=r"layout 'isto' is unknown; write one of: auto, kubernetes-tls,"
        ):
            CredentialFiles("/etc", layout="isto")

    def test_two_layouts_in_one_directory(self, directory: Path) -> None:
        (directory / "cert-chain.pem").write_bytes(b"x")
        assert fault(CredentialFiles(directory)) == (
            f"{str(directory)!r} has files of kubernetes-tls and istio: set the layout that is meant"
        )

    def test_no_layout_at_all(self, tmp_path: Path) -> None:
        assert fault(CredentialFiles(tmp_path)) == (
            f"{str(tmp_path)!r} has none of the known files: tls.crt (kubernetes-tls),"
            " cert-chain.pem (istio), svid.pem (spiffe-helper)"
        )

    def test_a_directory_that_was_removed(self, tmp_path: Path) -> None:
        assert fault(CredentialFiles(tmp_path / "gone")) == f"{str(tmp_path / 'gone')!r} {MISSING}"


def test_a_source_does_not_check_dates(path: Path) -> None:
    """Whether a state may be in force is asked when it is published: a clock can be wrong, too."""
    ca = CA("prod.example.org")
    late = ca.issue(not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 2, tzinfo=UTC))
    path.write_bytes(late.chain_pem + late.key_pem)
    assert CredentialFiles(path).read().credentials == late.svid
