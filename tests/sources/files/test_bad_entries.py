"""A bad entry in a file of trust: an alarm about that entry, while everything else is in force."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from meshid import Mesh, PeerRejected, Reason
from meshid.certificates.reading import to_der
from meshid.errors import SourceUnavailable
from meshid.sources.files.trust_file import TrustFile
from meshid.testing import CA
from meshid.trust.authorities import MAX_SKIPPED
from tests.helpers.bad_authorities import BAD
from tests.helpers.forged import pem
from tests.helpers.mounted import Mounted, eventually
from tests.helpers.tls_peers import PATH, blocking_server, knock

DOMAIN = "prod.example.org"


pytestmark = pytest.mark.usefixtures("hurried")


def jwks(*certificates: bytes, use: str = "x509-svid") -> bytes:
    keys = [{"kty": "EC", "use": use, "x5c": [base64.b64encode(each).decode()]} for each in certificates]
    return json.dumps({"keys": keys}).encode()


def refusal(mesh: Mesh, chain: tuple[bytes, ...]) -> Reason | None:
    try:
        mesh.admit(chain)
    except PeerRejected as rejection:
        return rejection.reason
    return None


@pytest.mark.parametrize(("written", "expected"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("form", ["PEM", "JSON"])
def test_a_bad_entry_is_an_alarm_and_delays_no_removal(
    tmp_path: Path, prod_ca: CA, written: bytes, expected: str, form: str
) -> None:
    leaving, good = CA(DOMAIN, subject="CN=leaving"), prod_ca.issue(PATH)
    mounted = Mounted(tmp_path, prod_ca)
    mounted.trust.write_bytes(prod_ca.pem + leaving.pem)
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        assert refusal(mesh, leaving.issue(PATH).chain) is None
        if form == "PEM":
            mounted.trust.write_bytes(pem("CERTIFICATE", written) + prod_ca.pem)
        else:
            mounted.trust.write_bytes(jwks(written, to_der(prod_ca.certificate)))
        assert eventually(lambda: refusal(mesh, leaving.issue(PATH).chain) is Reason.UNKNOWN_AUTHORITY)
        with blocking_server(mesh.server_context()) as service:
            assert knock(service.port, good.client_context()).answer
        assert any(expected in alarm.text for alarm in mesh.health().alarms)


def test_of_many_bad_entries_the_alarms_say_how_many(tmp_path: Path, prod_ca: CA) -> None:
    bad = CA(DOMAIN, ca=False)
    mounted = Mounted(tmp_path, prod_ca)
    mounted.trust.write_bytes(prod_ca.pem + bad.pem * 50)
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        texts = [alarm.text for alarm in mesh.health().alarms if "skipped" in alarm.text]
    assert len(texts) == MAX_SKIPPED + 1
    assert texts[-1].endswith("skipped 30 more entries")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(lambda ca: jwks(to_der(ca.certificate), use="x509_svid"), id="a typo"),
        pytest.param(lambda _: jwks(b"no DER"), id="no authority"),
        pytest.param(lambda ca: ca.pem.replace(b"\n", b"\\n"), id="no lines"),
    ],
)
def test_a_bundle_without_one_good_entry_leaves_the_last_one_in_force(
    tmp_path: Path, prod_ca: CA, document: object
) -> None:
    assert callable(document)
    mounted = Mounted(tmp_path, prod_ca)
    peer = prod_ca.issue(PATH).chain
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        mounted.trust.write_bytes(document(prod_ca))
        assert eventually(lambda: any("bundle of prod" in each.text for each in mesh.health().alarms))
        assert refusal(mesh, peer) is None
        # What is meant says so, and is in force at once.
        mounted.trust.write_bytes(jwks())
        assert eventually(lambda: refusal(mesh, peer) is Reason.UNKNOWN_AUTHORITY)


def test_files_as_windows_writes_them_are_read_or_told(tmp_path: Path, prod_ca: CA) -> None:
    path = tmp_path / "bundle"
    source = TrustFile(DOMAIN, path)
    mark = b"\xef\xbb\xbf"
    for content in (mark + prod_ca.bundle().to_spiffe_json(), mark + prod_ca.pem):
        path.write_bytes(content)
        (bundle,) = source.read().bundles
        assert bundle == prod_ca.bundle()
    for content in (prod_ca.bundle().to_spiffe_json(), prod_ca.pem):
        path.write_bytes(content.decode().encode("utf-16"))
        with pytest.raises(SourceUnavailable, match="the text is UTF-16"):
            source.read()
