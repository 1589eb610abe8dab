"""Files become a state, in every layout that platforms write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshid.errors import InvalidCredentials
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.sources.files import revocation_list_files
from meshid.sources.files.credential_files import CredentialFiles
from meshid.sources.files.deny_list_file import DenyListFile
from meshid.sources.files.layouts import LAYOUTS, Layout
from meshid.sources.files.policy_file import PolicyFile
from meshid.sources.files.revocation_list_files import RevocationListFiles
from meshid.sources.files.trust_file import BundleMapFile, TrustFile
from meshid.sources.source import Fault, State
from meshid.testing import CA, TokenIssuer
from meshid.trust.bundles import TrustBundle
from meshid.trust.deny_list import Denial
from meshid.trust.revocations import Revocations
from tests.helpers.volumes import KubernetesVolume, pair, unprivileged

PROD = CA("prod.example.org")
ISSUED = PROD.intermediate().issue("/ns/payments/sa/api")
POLICY = "version = 1\n[environments.prod]\ntrust_domains = ['prod.example.org']\n"


class TestCredentials:
    @pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
    @pytest.mark.parametrize("named", [True, False], ids=["named", "found"])
    def test_a_directory_in_each_layout(self, tmp_path: Path, layout: Layout, *, named: bool) -> None:
        (tmp_path / layout.certificate).write_bytes(ISSUED.chain_pem)
        (tmp_path / layout.key).write_bytes(ISSUED.key_pem)
        (tmp_path / layout.trust).write_bytes(PROD.pem)
        source = CredentialFiles(tmp_path, layout=layout.name if named else "auto")
        assert source.read() == State(credentials=ISSUED.svid)
        assert TrustFile("prod.example.org", tmp_path).read() == State(bundles=(PROD.bundle(),))

    def test_the_name_of_a_layout_decides_between_two(self, tmp_path: Path) -> None:
        for name, content in pair(ISSUED).items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "svid.pem").write_bytes(b"x")
        assert CredentialFiles(tmp_path, layout="kubernetes-tls").read().credentials == ISSUED.svid

    def test_one_pem_file_with_all_of_it(self, tmp_path: Path) -> None:
        path = tmp_path / "credentialbundle.pem"
        path.write_bytes(ISSUED.key_pem + ISSUED.chain_pem)
        assert CredentialFiles(path).read().credentials == ISSUED.svid

    def test_two_files_anywhere(self, tmp_path: Path) -> None:
        chain, key = tmp_path / "chain", tmp_path / "key"
        chain.write_bytes(ISSUED.chain_pem)
        key.write_bytes(ISSUED.key_pem)
        assert CredentialFiles(chain, key).read().credentials == ISSUED.svid

    def test_beside_a_key_a_directory_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidCredentials, match="is a directory; beside MESHID_KEY, name the file"):
            CredentialFiles(tmp_path, tmp_path / "key").read()

    def test_an_update_is_read_and_no_update_is_not(self, tmp_path: Path) -> None:
        volume = KubernetesVolume(tmp_path / "volume", pair(ISSUED))
        source = CredentialFiles(volume.path)
        before = source.read()
        assert source.read() is before
        successor = PROD.issue("/ns/payments/sa/api")
        volume.swap(pair(successor))
        assert source.read().credentials == successor.svid

    def test_it_is_required_and_polled_each_second(self, tmp_path: Path) -> None:
        source = CredentialFiles(tmp_path)
        source.close()
        assert (source.is_required, source.pause()) == (True, 1.0)


class TestTrust:
    def test_pem(self, tmp_path: Path) -> None:
        path = tmp_path / "ca.pem"
        path.write_bytes(PROD.pem)
        bundle = TrustFile("prod.example.org", path, profile="linkerd").read().bundles[0]
        assert bundle == PROD.bundle(profile="linkerd")

    def test_a_spiffe_bundle_and_what_was_skipped_in_it(self, tmp_path: Path) -> None:
        document = json.loads(PROD.bundle().to_spiffe_json())
        document["keys"].append({"kty": "EC", "use": "x509-svid"})
        path = tmp_path / "bundle.json"
        path.write_text(json.dumps(document))
        state = TrustFile("prod.example.org", path).read()
        assert state.bundles == (PROD.bundle(),)
        (warning,) = state.warnings
        assert warning.startswith("bundle of prod.example.org: skipped keys[1]")

    def test_keys_for_jwt_svids_come_and_go_with_the_file(self, tmp_path: Path) -> None:
        spire = TokenIssuer(None, use="jwt-svid")
        document = json.loads(PROD.bundle().to_spiffe_json())
        path = tmp_path / "bundle.json"
        source = TrustFile("prod.example.org", path)
        for algorithm in ("ES256", "ES384"):
            spire.withdraw(spire.keys[0])
            spire.new_key(algorithm)
            path.write_text(json.dumps({"keys": [*document["keys"], *json.loads(spire.jwks())["keys"]]}))
            (bundle,) = source.read().bundles
            assert bundle.authorities == PROD.bundle().authorities
            assert [key.algorithm for key in bundle.jwt_keys] == [algorithm]

    def test_an_empty_bundle_removes_all_trust_and_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "bundle.json"
        path.write_text('{"keys": []}')
        assert TrustFile("prod.example.org", path).read() == State(
            bundles=(TrustBundle.from_spiffe_json("prod.example.org", b'{"keys": []}'),),
            warnings=(
                "bundle of prod.example.org: it is empty, so no peer of this trust domain is admitted",
            ),
        )

    def test_a_trust_domain_that_is_no_longer_in_the_map_is_removed(self, tmp_path: Path) -> None:
        partner = CA("partner.example")
        documents = {each.bundle().trust_domain.name: each.bundle() for each in (PROD, partner)}
        path = tmp_path / "map.json"

        def write(*names: str) -> None:
            bundles = {name: json.loads(documents[name].to_spiffe_json()) for name in names}
            path.write_text(json.dumps({"trust_domains": bundles}))

        write("prod.example.org", "partner.example")
        source = BundleMapFile(path)
        assert source.read().bundles == (PROD.bundle(), partner.bundle())
        write("prod.example.org")
        assert source.read() == State(bundles=(PROD.bundle(),))

    def test_a_bundle_of_the_map_that_cannot_be_read_is_a_fault_of_its_trust_domain(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "map.json"
        bundles = {
            "prod.example.org": json.loads(PROD.bundle().to_spiffe_json()),
            "partner.example": [],
            "Prod": {"keys": []},
        }
        path.write_text(json.dumps({"trust_domains": bundles}))
        source = BundleMapFile(path)
        state = source.read()
        assert state.bundles == (PROD.bundle(),)
        partner, nobody = state.faults
        assert partner.trust_domain == TrustDomain("partner.example")
        assert partner.text.startswith("bundle of partner.example: it must be a JSON object")
        assert nobody.trust_domain is None
        assert nobody.text.startswith("trust domain 'Prod' may hold only a-z")
        assert not source.is_required
        assert not TrustFile("prod.example.org", path).is_required

    def test_a_trust_domain_that_occurs_twice_is_a_fault_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "map.json"
        one, other = (json.loads(each.bundle().to_spiffe_json()) for each in (PROD, CA("prod.example.org")))
        bundles = {"prod.example.org": one, "spiffe://prod.example.org": other}
        path.write_text(json.dumps({"trust_domains": bundles}))
        state = BundleMapFile(path).read()
        assert state.bundles == (PROD.bundle(),)
        text = "bundle of prod.example.org: it occurs twice; the first counts"
        assert state.faults == (Fault(text, TrustDomain("prod.example.org")),)


class TestPolicy:
    @pytest.mark.parametrize(
        "text",
        [
            POLICY,
            json.dumps({"version": 1, "environments": {"prod": {"trust_domains": ["prod.example.org"]}}}),
        ],
    )
    def test_toml_and_json(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "policy"
        path.write_text(text)
        assert PolicyFile(path, "prod").read() == State(policy=Policy.from_toml(POLICY, "prod"))


class TestDenyList:
    def test_a_deny_list(self, tmp_path: Path) -> None:
        path = tmp_path / "deny.toml"
        path.write_text("version = 1\n[[deny]]\npeer = 'spiffe://prod.example.org/x'\nreason = 'INC-1'\n")
        source = DenyListFile(path)
        assert source.name == f"deny list {str(path)!r}"
        assert source.is_required
        denial = Denial(peer="spiffe://prod.example.org/x", reason="INC-1")
        assert source.read() == State(revocations=Revocations(deny=[denial]))
        path.write_text("version = 1\n")
        assert source.read() == State()


class TestRevocationLists:
    def test_lists_of_a_directory_and_of_files(self, tmp_path: Path) -> None:
        dev, test = CA("dev.example.org"), CA("test.example.org")
        volume = KubernetesVolume(tmp_path / "volume", {"prod.crl": PROD.crl(), "dev.crl": dev.crl()})
        single = tmp_path / "single"
        single.write_bytes(test.crl())
        source = RevocationListFiles([volume.path, single], grace=60)
        assert source.name == f"revocation lists {str(volume.path)!r}, {str(single)!r}"
        expected = [(volume.path / "dev.crl").read_bytes(), (volume.path / "prod.crl").read_bytes()]
        crls = [*expected, single.read_bytes()]
        assert source.read() == State(revocations=Revocations(crls=crls, grace=60))
        assert source.read() is source.read()
        source.close()
        assert (source.is_required, source.is_stream, source.pause()) == (True, False, 1.0)

    def test_a_list_that_is_new_in_the_directory_counts(self, tmp_path: Path) -> None:
        source = RevocationListFiles([tmp_path])
        assert source.read() == State()
        (tmp_path / "prod.crl").write_bytes(PROD.crl(ISSUED))
        assert len(source.read().revocations.crls) == 1

    @pytest.mark.parametrize("content", [b"# About these lists\n", b"-----BEGIN CERTIFICATE-----\n"])
    def test_what_is_no_list_counts_for_nothing_in_a_directory(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "README").write_bytes(content)
        (tmp_path / "prod.crl").write_bytes(PROD.crl())
        state = RevocationListFiles([tmp_path]).read()
        assert len(state.revocations.crls) == 1
        assert state.revocations.undetermined == ()
        assert state.warnings == (
            f"{str(tmp_path / 'README')!r} is no revocation list, and counts for nothing",
        )

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("prod.crl", b"junk"),
            ("prod.pem", b"junk"),
            ("prod.der", b"junk"),
            ("prod", PROD.crl()[:100]),
            ("prod", b"-----BEGIN X509 CRL-----\nMII"),
            ("prod", b""),
        ],
        ids=["crl", "pem", "der", "cut off", "begun", "empty"],
    )
    def test_a_list_that_cannot_be_used_says_nothing_about_the_others(
        self, tmp_path: Path, name: str, content: bytes
    ) -> None:
        (tmp_path / name).write_bytes(content)
        (tmp_path / "dev.crl").write_bytes(CA("dev.example.org").crl())
        state = RevocationListFiles([tmp_path]).read()
        assert len(state.revocations.crls) == 1
        (undetermined,) = state.revocations.undetermined
        assert undetermined.text.startswith(repr(str(tmp_path / name)))
        assert undetermined.issuer is None

    def test_a_file_that_is_named_is_always_meant_to_be_a_list(self, tmp_path: Path) -> None:
        path = tmp_path / "named"
        path.write_bytes(b"# About these lists\n")
        (undetermined,) = RevocationListFiles([path]).read().revocations.undetermined
        assert undetermined.text.startswith(repr(str(path)))

    def test_what_is_missing_is_a_list_that_cannot_be_used(self, tmp_path: Path) -> None:
        (undetermined,) = RevocationListFiles([tmp_path / "gone"]).read().revocations.undetermined
        assert undetermined.text == f"{str(tmp_path / 'gone')!r} cannot be read: No such file or directory"

    def test_a_directory_that_may_not_be_read(self, tmp_path: Path) -> None:
        directory = tmp_path / "crls"
        directory.mkdir(mode=0)
        with unprivileged():
            (undetermined,) = RevocationListFiles([directory]).read().revocations.undetermined
        assert undetermined.text == f"{str(directory)!r} cannot be read: Permission denied"

    def test_a_directory_of_too_many_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(revocation_list_files, "MAX_FILES", 2)
        for name in "abc":
            (tmp_path / name).write_bytes(PROD.crl())
        (undetermined,) = RevocationListFiles([tmp_path]).read().revocations.undetermined
        assert undetermined.text == f"{str(tmp_path)!r} has 3 files, and at most 2 are read"
