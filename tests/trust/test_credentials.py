"""Our own credentials: the key is the leaf's, and the leaf is held to a peer's profile."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.leaf import Profile
from meshid.certificates.reading import pem_blocks, to_der
from meshid.errors import InvalidCredentials
from meshid.testing import CA, Issued
from meshid.trust.credentials import X509Svid
from tests.helpers.forged import damaged, pem
from tests.helpers.world import LINKERD, LINKERD_HOST, PATH, PROD, hosts

AUTHORITY = CA("prod.example.org")
OWN = AUTHORITY.intermediate().issue(PATH)
OTHER = AUTHORITY.issue("/ns/other/sa/api")


def pkcs8(issued: Issued, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    return issued.key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


OWN_KEY = pkcs8(OWN)


def in_form(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: str) -> bytes:
    kind = getattr(serialization.PrivateFormat, form)
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())


def encrypted(issued: Issued, form: serialization.PrivateFormat) -> bytes:
    encryption = serialization.BestAvailableEncryption(b"secret")
    return issued.key.private_bytes(serialization.Encoding.PEM, form, encryption)


def test_a_chain_and_its_key_are_credentials() -> None:
    svid = X509Svid.from_pem(OWN.chain_pem, OWN.key_pem)
    assert svid.leaf == OWN.certificate
    assert svid.chain == OWN.chain
    assert str(svid.claim.spiffe_id) == PROD
    assert svid.key_pem() == OWN.key_pem
    assert svid.chain_pem() == OWN.chain_pem


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(OWN.chain_pem + OWN.key_pem, id="the key last"),
        pytest.param(OWN.key_pem + OWN.chain_pem, id="the key first"),
        pytest.param(OWN.chain_pem.rstrip() + b"\n" + OWN.key_pem, id="one line end between"),
        pytest.param(
            pem("EC PARAMETERS", b"x") + OWN.key_pem + OWN.chain_pem,
            id="openssl ecparam",
        ),
    ],
)
def test_one_file_can_hold_it_all(text: bytes) -> None:
    assert X509Svid.from_pem(text) == OWN.svid


def test_two_files_without_line_ends_are_kept_apart() -> None:
    assert X509Svid.from_pem(OWN.chain_pem.rstrip(), OWN.key_pem.rstrip()) == OWN.svid


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(mldsa.MLDSA65PrivateKey.generate(), id="ML-DSA"),
    ],
)
def test_each_accepted_kind_of_key_is_read(key: CertificateIssuerPrivateKeyTypes) -> None:
    issued = AUTHORITY.issue(PATH, key=key)
    assert X509Svid.from_pem(issued.chain_pem, issued.key_pem).key_pem() == issued.key_pem


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)], ids=["EC", "RSA"]
)
@pytest.mark.parametrize("form", ["PKCS8", "TraditionalOpenSSL"])
def test_each_form_of_a_key_is_read(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: str) -> None:
    issued = AUTHORITY.issue(PATH, key=key)
    assert X509Svid.from_pem(issued.chain_pem, in_form(key, form)).chain == issued.chain


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        mldsa.MLDSA65PrivateKey.generate(),
    ],
    ids=["P-256", "Ed25519", "ML-DSA"],
)
def test_der_makes_the_same_credentials_as_pem(key: CertificateIssuerPrivateKeyTypes) -> None:
    issued = AUTHORITY.intermediate().issue(PATH, key=key)
    svid = X509Svid.from_der(issued.chain, pkcs8(issued))
    assert (svid, svid.claim, svid.key_pem()) == (issued.svid, issued.svid.claim, issued.key_pem)


@pytest.mark.parametrize(
    ("chain", "key", "expected"),
    [
        pytest.param((), pkcs8(OWN), "there is no certificate", id="no certificate"),
        pytest.param((b"",), pkcs8(OWN), "not a certificate that can be read", id="not DER"),
        pytest.param(OWN.chain, b"", "the private key cannot be read", id="no key"),
        pytest.param(
            OWN.chain,
            pkcs8(OWN, serialization.BestAvailableEncryption(b"secret")),
            "the private key is encrypted",
            id="encrypted",
        ),
        pytest.param(OWN.chain, pkcs8(OTHER), "the private key is not that of the first", id="another key"),
    ],
)
def test_der_that_is_not_credentials_is_refused(chain: tuple[bytes, ...], key: bytes, expected: str) -> None:
    with pytest.raises(InvalidCredentials, match=f"^own certificate: {expected}"):
        X509Svid.from_der(chain, key)


class TestX18:
    """X509-SVID 2: an SVID is a certificate together with the private key that proves its ownership."""

    @pytest.mark.parametrize(
        ("chain", "key"),
        [
            pytest.param(OWN.chain_pem, OTHER.key_pem, id="another key"),
            pytest.param(OTHER.chain_pem, OWN.key_pem, id="another chain"),
            pytest.param(OTHER.chain_pem + OWN.chain_pem, OWN.key_pem, id="the leaf is not first"),
            pytest.param(
                OWN.chain_pem,
                AUTHORITY.issue(key=rsa.generate_private_key(65537, 2048)).key_pem,
                id="another kind of key",
            ),
        ],
    )
    def test_a_key_that_is_not_the_leafs_is_refused(self, chain: bytes, key: bytes) -> None:
        with pytest.raises(InvalidCredentials, match="the private key is not that of the first certificate"):
            X509Svid.from_pem(chain, key)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", "there is no PEM certificate", id="nothing"),
        pytest.param(OWN.key_pem, "there is no PEM certificate", id="no certificate"),
        pytest.param(OWN.chain_pem, "there must be one PEM private key, not 0", id="no key"),
        pytest.param(
            OWN.chain_pem + OWN.key_pem * 2, "there must be one PEM private key, not 2", id="two keys"
        ),
        pytest.param(OWN.chain_pem + OWN.key_pem[:-9], "the text was cut off or mixed up", id="cut off"),
        pytest.param(
            OWN.chain_pem + AUTHORITY.crl(), "a PEM block 'X509 CRL' does not belong here", id="a list"
        ),
        pytest.param(
            OWN.chain_pem + encrypted(OWN, serialization.PrivateFormat.PKCS8),
            "the private key is encrypted; meshid reads unencrypted keys",
            id="encrypted",
        ),
        pytest.param(
            OWN.chain_pem + encrypted(OWN, serialization.PrivateFormat.TraditionalOpenSSL),
            "the private key is encrypted; meshid reads unencrypted keys",
            id="encrypted, the old way",
        ),
        pytest.param(
            OWN.chain_pem + pem("PRIVATE KEY", b"no key"),
            "the private key cannot be read",
            id="no key in the block",
        ),
        pytest.param(
            pem("CERTIFICATE", b"no DER") + OWN.key_pem,
            "not a certificate that can be read",
            id="no certificate in the block",
        ),
        pytest.param(
            OWN.chain_pem + b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n" + OWN.key_pem,
            "a PEM block is not base64",
            id="a broken intermediate",
        ),
    ],
)
def test_files_that_are_not_credentials_are_refused(text: bytes, expected: str) -> None:
    with pytest.raises(InvalidCredentials) as caught:
        X509Svid.from_pem(text)
    assert str(caught.value).startswith("own certificate: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        pytest.param(AUTHORITY.issue(uris=[PROD, PROD]), "X509-SVID section 2", id="two names"),
        pytest.param(AUTHORITY.issue(uris=[]), "X509-SVID section 2", id="no name"),
        pytest.param(AUTHORITY.issue("spiffe://prod.example.org"), "sections 3.1 and 5.2", id="no path"),
        pytest.param(AUTHORITY.issue("spiffe://PROD/a"), "SPIFFE-ID section 2", id="an invalid name"),
        pytest.param(AUTHORITY.issue(ca=True), "X509-SVID sections 4.1 and 5.2", id="a CA"),
        pytest.param(
            AUTHORITY.issue(usages={"digital_signature", "crl_sign"}), "X509-SVID section 5.2", id="cRLSign"
        ),
        pytest.param(AUTHORITY.issue(usages=None), "X509-SVID section 4.3", id="no key usage"),
        pytest.param(AUTHORITY.issue(key=ec.generate_private_key(ec.SECP256K1())), "800-131A", id="weak key"),
        pytest.param(AUTHORITY.issue(dns=hosts(64)), "meshid input limits", id="65 names"),
    ],
)
def test_our_own_leaf_is_held_to_the_profile_of_a_peers(issued: Issued, expected: str) -> None:
    with pytest.raises(InvalidCredentials) as caught:
        X509Svid.from_pem(issued.chain_pem, issued.key_pem)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("host", "profile", "name"),
    [(LINKERD_HOST, Profile.LINKERD, LINKERD), ("api.corp.example", Profile.DNS, "None")],
)
def test_our_own_name_can_be_of_any_profile(host: str, profile: Profile, name: str) -> None:
    claim = AUTHORITY.issue(uris=[], dns=[host]).svid.claim
    assert (claim.profile, str(claim.spiffe_id)) == (profile, name)


def test_the_dates_are_not_judged_here() -> None:
    past = AUTHORITY.certificate.not_valid_before_utc
    assert AUTHORITY.issue(PATH, not_after=past).svid.leaf.not_valid_after_utc == past


def test_credentials_with_the_same_chain_are_equal() -> None:
    assert OWN.svid == X509Svid.from_pem(OWN.chain_pem + OWN.key_pem)
    assert hash(OWN.svid) == hash(X509Svid.from_pem(OWN.chain_pem + OWN.key_pem))
    assert OWN.svid != OTHER.svid


def test_the_key_is_not_shown() -> None:
    shown = repr(OWN.svid)
    assert "key" not in shown
    assert "chain=<2>" in shown


def test_the_key_can_be_written_encrypted() -> None:
    written = OWN.svid.key_pem(serialization.BestAvailableEncryption(b"secret"))
    ((label, _),) = pem_blocks(written)
    assert label == "ENCRYPTED PRIVATE KEY"
    assert serialization.load_pem_private_key(written, b"secret").public_key() == OWN.key.public_key()


@pytest.mark.slow
@settings(max_examples=600)
@given(damaged(OWN.key_pem + OWN.chain_pem) | st.binary())
def test_any_bytes_are_credentials_or_invalid(text: bytes) -> None:
    try:
        svid = X509Svid.from_pem(text)
    except InvalidCredentials as error:
        assert str(error).isascii()
    else:
        assert svid.key.public_key() == svid.leaf.public_key()
        assert svid.chain[0] == to_der(svid.leaf)


@settings(max_examples=600)
@given(damaged(OWN_KEY))
def test_any_damaged_key_is_the_leafs_or_invalid(key: bytes) -> None:
    try:
        svid = X509Svid.from_pem(OWN.chain_pem, pem("PRIVATE KEY", key))
    except InvalidCredentials as error:
        assert str(error).isascii()
    else:
        assert svid.key.public_key() == OWN.certificate.public_key()
