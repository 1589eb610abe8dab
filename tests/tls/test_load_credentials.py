"""Our key goes from memory into OpenSSL and leaves nothing behind."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshid import Mesh, X509Svid
from meshid.testing import CA
from meshid.tls import load_credentials as keys
from meshid.tls import memory_file
from tests.helpers.tls_peers import PATH, Memory, mesh_of, stranger

Make = Callable[[], CertificateIssuerPrivateKeyTypes]

KEYS: dict[str, Make] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture(params=["memory", "disk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The way that the key takes; anything it leaves on a disk is in ``tmp_path``."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if request.param == "disk":
        monkeypatch.setattr(memory_file, "HAS_MEMORY_FILES", False)
    return str(request.param)


def open_files() -> list[str]:
    """Return the numbers of the open files, on systems that list them."""
    directory = Path("/proc/self/fd")
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


class Loading:
    """Looks at each file that OpenSSL reads, at the moment it reads it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[tuple[Path, bytes, int]] = []
        load = ssl.SSLContext.load_cert_chain

        def look(context: ssl.SSLContext, path: str, **rest: str) -> None:
            file = Path(path)
            self.files.append((file, file.read_bytes(), file.parent.stat().st_mode))
            load(context, path, **rest)

        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look)


@pytest.mark.parametrize("make", KEYS.values(), ids=KEYS)
@pytest.mark.usefixtures("way")
def test_a_handshake_proves_that_the_key_arrived(make: Make, prod_ca: CA, tmp_path: Path) -> None:
    own = prod_ca.intermediate().issue("/ns/pay/sa/payments", key=make())
    mesh = mesh_of(prod_ca, credentials=own.svid)
    both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
    both.shake_hands()
    assert both.client.getpeercert(binary_form=True) == own.chain[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("way")
def test_nothing_stays_behind(mesh: Mesh, tmp_path: Path) -> None:
    before = open_files()
    for _ in range(3):
        mesh.server_context()
        mesh.client_context("/**")
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


@pytest.mark.usefixtures("way")
def test_a_failure_leaves_nothing_behind_either(prod_ca: CA, tmp_path: Path) -> None:
    own = prod_ca.issue("/ns/pay/sa/payments").svid
    # Another key, which none of our checks has seen.
    wrong = X509Svid(own.leaf, own.chain, own.claim, KEYS["P-256"]())
    before = open_files()
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        keys.load_credentials(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), keys.key_file_of(wrong))
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


class TestOnADisk:
    @pytest.fixture
    def loaded(self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, bytes, int]:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(memory_file, "HAS_MEMORY_FILES", False)
        mesh = mesh_of(prod_ca)
        loading = Loading(monkeypatch)
        mesh.server_context()
        (file,) = loading.files
        return file

    def test_the_key_is_encrypted(self, loaded: tuple[Path, bytes, int]) -> None:
        _, pem, _ = loaded
        assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        assert pem.count(b"PRIVATE KEY") == 2
        with pytest.raises(TypeError, match="encrypted"):
            load_pem_private_key(pem, password=None)

    def test_the_file_is_for_this_user_only(self, loaded: tuple[Path, bytes, int], tmp_path: Path) -> None:
        path, _, directory_mode = loaded
        assert path.is_relative_to(tmp_path)
        assert directory_mode & 0o777 == 0o700


def test_the_key_touches_a_disk_only_if_it_must(
    prod_ca: CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    mesh = mesh_of(prod_ca)
    loading = Loading(monkeypatch)
    mesh.server_context()
    ((path, pem, _),) = loading.files
    assert path.is_relative_to("/proc/self/fd")
    assert pem.count(b"BEGIN PRIVATE KEY") == 1
