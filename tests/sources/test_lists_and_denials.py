"""Revocation lists and denials as operators make them, from the file to the refused peer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from meshid import Mesh, PeerRejected, Reason
from meshid.testing import CA, Issued
from tests.helpers.mounted import Mounted, eventually
from tests.helpers.tls_peers import PATH
from tests.sources.test_removal import put

SECONDS = 2.0
OTHER = "/ns/shop/sa/other"
CA_CONFIG = """
[ca]
default_ca = mesh
[mesh]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 1
certificate = ca.pem
private_key = key.pem
crl_extensions = extensions
[extensions]
"""


class OpensslCA:
    """An authority whose lists `openssl ca -gencrl` makes."""

    def __init__(self, root: Path, ca: CA) -> None:
        self.root = root
        root.mkdir()
        key = ca.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files = {"ca.cnf": CA_CONFIG.encode(), "ca.pem": ca.pem, "key.pem": key}
        files |= {"index.txt": b"", "crlnumber": b"01\n"}
        for name, content in files.items():
            (root / name).write_bytes(content)

    def crl(self, *revoked: Issued) -> bytes:
        now, index = f"{datetime.now(UTC):%y%m%d%H%M%SZ}", ""
        for each in revoked:
            index += f"R\t{now}\t{now}\t{each.certificate.serial_number:040X}\tunknown\t/CN=leaf\n"
        (self.root / "index.txt").write_text(index)
        command = ["openssl", "ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem"]
        subprocess.run(command, cwd=self.root, check=True, capture_output=True)
        return (self.root / "crl.pem").read_bytes()


def verdict(mesh: Mesh, peer: Issued) -> Reason | None:
    try:
        mesh.admit(peer.chain)
    except PeerRejected as refusal:
        return refusal.reason
    return None


@pytest.fixture
def root() -> CA:
    return CA("prod.example.org", subject="CN=Mesh Root,O=Example,C=US")


@pytest.fixture
def mounted(tmp_path: Path, root: CA) -> Mounted:
    return Mounted(tmp_path, root)


@pytest.fixture
def mesh(mounted: Mounted) -> Iterator[Mesh]:
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        yield mesh


def is_soon(mesh: Mesh, peer: Issued, reason: Reason | None) -> bool:
    return eventually(lambda: verdict(mesh, peer) is reason, SECONDS)


def is_told(mesh: Mesh, text: str) -> bool:
    return eventually(lambda: any(text in str(alarm) for alarm in mesh.health().alarms))


OTHER_CA = CA("prod.example.org")
NAMESAKE = CA("prod.example.org", subject="CN=Mesh Root,O=Example,C=US")
PAST = datetime(2025, 1, 1, tzinfo=UTC)
GONE = "is gone, and stays in force until"

GOES_BAD: dict[str, tuple[Callable[[bytes, CA], bytes | None], str]] = {
    "cut off": (lambda crl, _: crl[:200], "what was in force stays"),
    "gone": (lambda _, __: None, GONE),
    "an older one": (lambda _, ca: ca.crl(last_update=PAST), "is older than the one in force"),
    "of somebody else": (lambda _, __: OTHER_CA.crl(), GONE),
    "of somebody else with its name": (lambda _, __: NAMESAKE.crl(), "is signed by no authority"),
}


@pytest.mark.parametrize(("spoiled", "alarm"), GOES_BAD.values(), ids=GOES_BAD)
def test_what_a_list_of_openssl_revokes_stays_revoked_whatever_becomes_of_the_file(
    mesh: Mesh, mounted: Mounted, spoiled: Callable[[bytes, CA], bytes | None], alarm: str
) -> None:
    stolen, good = mounted.ca.issue(PATH), mounted.ca.issue(OTHER)
    crl, path = OpensslCA(mounted.root / "ca", mounted.ca).crl(stolen), mounted.crls / "root.crl"
    assert verdict(mesh, stolen) is None
    put(path, crl)
    assert is_soon(mesh, stolen, Reason.REVOKED)
    if (bad := spoiled(crl, mounted.ca)) is None:
        path.unlink()
    else:
        put(path, bad)
    assert is_told(mesh, alarm)
    assert all(each.about for each in mesh.health().alarms)
    assert (verdict(mesh, stolen), verdict(mesh, good)) == (Reason.REVOKED, None)


def test_a_list_that_nobody_signed_is_told_and_refuses_the_peers_of_its_issuer(
    mesh: Mesh, mounted: Mounted, root: CA
) -> None:
    peer = root.issue(PATH)
    assert verdict(mesh, peer) is None
    put(mounted.crls / "root.crl", NAMESAKE.crl())
    assert is_soon(mesh, peer, Reason.REVOCATION_UNDETERMINED)
    assert is_told(
        mesh, "is signed by no authority of that name; every certificate of this issuer is refused"
    )
    put(mounted.crls / "root.crl", root.crl(last_update=datetime.now(UTC)))
    assert is_soon(mesh, peer, None)


@pytest.mark.parametrize(
    ("issuer", "serial"),
    [
        pytest.param("CN=Mesh Root,O=Example,C=US", "{0:x}", id="RFC 4514"),
        pytest.param("C = US, O = Example, CN = Mesh Root", "{0:X}", id="openssl 3"),
        pytest.param("/C=US/O=Example/CN=Mesh Root", "{0}", id="openssl 1, decimal"),
        pytest.param("C=US,O=example,CN=mesh root", "0x{0:x}", id="the order of the certificate"),
    ],
)
def test_a_denial_denies_however_it_is_written(
    mesh: Mesh, mounted: Mounted, root: CA, issuer: str, serial: str
) -> None:
    stolen, good = root.issue(PATH), root.issue(OTHER)
    assert verdict(mesh, stolen) is None
    entry = f'issuer = "{issuer}"\nserial = "{serial.format(stolen.certificate.serial_number)}"\n'
    put(mounted.deny, f"version = 1\n[[deny]]\n{entry}")
    assert is_soon(mesh, stolen, Reason.DENY_LISTED)
    assert verdict(mesh, good) is None


def test_a_denial_with_a_typing_error_is_told_by_name(mesh: Mesh, mounted: Mounted) -> None:
    entry = 'issuer = "CN=Mesh Rot,O=Example,C=US"\nserial = "7c"\nreason = "INC-4711"\n'
    put(mounted.deny, f"version = 1\n[[deny]]\n{entry}")
    text = (
        "serial number 7c of 'CN=Mesh Rot,O=Example,C=US' ('INC-4711') denies nobody: no issuer of that name"
    )
    assert is_told(mesh, text)
