"""Our own credentials: the key is the leaf's, and the leaf is held to a peer's profile."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.leaf import Profile
from meshid.certificates.pem import pem_blocks
from meshid.certificates.reading import to_der
from meshid.errors import InvalidCredentials
from meshid.testing import CA, Issued
from meshid.trust.credentials import X509Svid
from tests.helpers.forged import (
    OID,
    SEQUENCE,
    TELETEX_STRING,
    Field,
    children,
    damaged,
    der,
    edited,
    explicit_curve,
    name,
    pem,
    pss_key,
)
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
AUTHORITY_KEY = AUTHORITY.key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


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


ROOT_FIRST = AUTHORITY.pem + OWN.intermediates[0].public_bytes(serialization.Encoding.PEM) + OWN.chain_pem
SPIRE = AUTHORITY.intermediate(uris=["spiffe://prod.example.org"])
SPIRES = SPIRE.issue(PATH)


@pytest.mark.parametrize(
    ("chain", "key", "leaf"),
    [
        pytest.param(ROOT_FIRST, OWN.key_pem, f"certificate 3, {PROD},", id="the root first"),
        pytest.param(
            SPIRE.pem + SPIRES.chain_pem, SPIRES.key_pem, f"certificate 2, {PROD},", id="as SPIRE signs"
        ),
        pytest.param(
            OTHER.chain_pem + OWN.chain_pem, OWN.key_pem, f"certificate 2, {PROD},", id="another leaf first"
        ),
        pytest.param(
            OTHER.chain_pem + AUTHORITY.pem,
            AUTHORITY_KEY,
            "certificate 2, 'CN=root,O=prod.example.org',",
            id="the key is the root's",
        ),
    ],
)
def test_a_leaf_that_is_not_first_is_named(chain: bytes, key: bytes, leaf: str) -> None:
    """The key tells which certificate is the leaf, whatever comes first."""
    with pytest.raises(InvalidCredentials) as caught:
        X509Svid.from_pem(chain, key)
    assert str(caught.value) == (
        f"own certificate: the order is wrong: the private key is that of {leaf} which is the leaf and must"
        " come first"
    )


TYPE = "PEM as bytes, such as Path(...).read_bytes(), not str"


@pytest.mark.parametrize(
    ("chain", "key", "expected"),
    [
        pytest.param(
            OWN.key_pem, OWN.chain_pem, "the certificate chain and the private key are swapped", id="swapped"
        ),
        pytest.param(
            OWN.key_pem, OWN.key_pem, "a private key is in the place of the certificate chain", id="two keys"
        ),
        pytest.param(
            OWN.chain_pem, OWN.chain_pem, "a certificate is in the place of the private key", id="two chains"
        ),
        pytest.param(
            OWN.chain_pem + OWN.key_pem, OWN.key_pem, "a private key is in the place", id="a key too many"
        ),
        pytest.param(
            OWN.chain_pem, OWN.key_pem + OWN.chain_pem, "a certificate is in the place", id="a chain too many"
        ),
        pytest.param(b"", OWN.key_pem, "there is no PEM certificate", id="no chain"),
        pytest.param(OWN.chain_pem, b"", "there must be one PEM private key, not 0", id="no key"),
        pytest.param(
            OWN.chain_pem[:-9],
            OWN.key_pem,
            "the certificate chain: PEM block 2 (CERTIFICATE) begins and",
            id="half a chain",
        ),
        pytest.param(
            OWN.chain_pem,
            OWN.key_pem[:-9],
            "the private key: PEM block 1 (PRIVATE KEY) begins and",
            id="half a key",
        ),
        pytest.param(
            OWN.chain_pem.replace(b"\n", b"\\n"),
            OWN.key_pem,
            "the certificate chain: PEM block 1 (CERTIFICATE) has the two characters \\n",
            id="no lines in the chain",
        ),
        pytest.param(
            OWN.chain_pem,
            OWN.key_pem.replace(b"\n", b"\\n"),
            "the private key: PEM block 1 (PRIVATE KEY) has the two characters \\n",
            id="no lines in the key",
        ),
        pytest.param(
            OWN.chain_pem.decode().encode("utf-16"),
            OWN.key_pem,
            "the certificate chain: the text is UTF-16",
            id="chain in UTF-16",
        ),
        pytest.param(
            OWN.chain_pem,
            OWN.key_pem.decode().encode("utf-16"),
            "the private key: the text is UTF-16",
            id="key in UTF-16",
        ),
    ],
)
def test_of_two_texts_the_one_at_fault_is_named(chain: bytes, key: bytes, expected: str) -> None:
    with pytest.raises(InvalidCredentials) as caught:
        X509Svid.from_pem(chain, key)
    assert str(caught.value).startswith(f"own certificate: {expected}")


@pytest.mark.parametrize(
    ("make", "arguments", "expected"),
    [
        (X509Svid.from_pem, (OWN.chain_pem.decode(), OWN.key_pem), f"cert_chain must be {TYPE}"),
        (X509Svid.from_pem, (OWN.chain_pem, OWN.key_pem.decode()), f"key must be {TYPE}"),
        (X509Svid.from_pem, (None,), "cert_chain must be PEM as bytes"),
        (X509Svid.from_der, (5, OWN_KEY), "chain must be a list of DER certificates, not int"),
        (
            X509Svid.from_der,
            (OWN.chain[0], OWN_KEY),
            "each certificate of the chain must be DER as bytes, not int",
        ),
        (X509Svid.from_der, (OWN.chain, OWN_KEY.hex()), "key must be a PKCS #8 key in DER as bytes, not str"),
    ],
)
def test_a_wrong_type_is_told_where_it_is_given(
    make: Callable[..., object], arguments: tuple[object, ...], expected: str
) -> None:
    with pytest.raises(TypeError) as caught:
        make(*arguments)
    assert str(caught.value).startswith(expected)


def reachable(error: BaseException) -> Iterator[object]:
    """Return all that a reporter of errors shows: texts, and the local variables of this package."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        yield from (str(each), repr(each), each.args)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_globals["__name__"].startswith("meshid"):
                yield from frame.f_locals.values()
        waiting += [each.__cause__, each.__context__]


SECRET = OWN.key_pem.splitlines()[1]
SECRET_DER = (
    OWN.key.private_numbers().private_value.to_bytes(32, "big")
    if isinstance(OWN.key, ec.EllipticCurvePrivateKey)
    else b""
)
DAMAGED = OWN.key_pem.replace(SECRET, SECRET[:-4] + b"!!!!")


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        pytest.param(X509Svid.from_pem, (OTHER.chain_pem, OWN.key_pem), id="another chain"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem, DAMAGED), id="a damaged key"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem, OWN.key_pem[:-9]), id="half a key"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem, OWN.key_pem.replace(b"\n", b"\\n")), id="no lines"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem, OWN.key_pem * 2), id="two keys"),
        pytest.param(X509Svid.from_pem, (OWN.key_pem, OWN.chain_pem), id="swapped"),
        pytest.param(X509Svid.from_pem, (OWN.key_pem,), id="no chain"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem, OWN.key_pem.decode()), id="a str"),
        pytest.param(X509Svid.from_pem, (OWN.chain_pem.decode(), OWN.key_pem), id="the chain a str"),
        pytest.param(X509Svid.from_der, (OTHER.chain, OWN_KEY), id="another chain, DER"),
        pytest.param(X509Svid.from_der, (OWN.chain, OWN_KEY[:-1]), id="half a key, DER"),
        pytest.param(X509Svid.from_der, (5, OWN_KEY), id="no chain, DER"),
    ],
)
def test_no_error_leads_to_the_private_key(
    make: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    with pytest.raises((InvalidCredentials, TypeError)) as caught:
        make(*arguments)
    for value in reachable(caught.value):
        assert not isinstance(value, ec.EllipticCurvePrivateKey)
        shown = value if isinstance(value, bytes) else repr(value).encode()
        assert SECRET[:32] not in shown
        assert SECRET_DER not in shown


def test_a_key_for_pss_only_is_refused_by_name() -> None:
    """OpenSSL would lose the restriction with the parameters, and then find another key than the leaf's."""
    authority = CA("prod.example.org", key=rsa.generate_private_key(65537, 2048))
    leaf = authority.issue(PATH, key=authority.key)
    written = pss_key(leaf)
    with pytest.raises(
        InvalidCredentials, match=r"its key is for RSASSA-PSS only, .* use P-256 or plain RSA"
    ):
        X509Svid.from_der([to_der(written)], pkcs8(leaf))


def test_a_key_without_the_name_of_its_curve_is_refused_by_name() -> None:
    leaf = AUTHORITY.issue(PATH)
    with pytest.raises(InvalidCredentials, match="its key has the parameters of its curve"):
        X509Svid.from_der([to_der(explicit_curve(leaf))], pkcs8(leaf))


@pytest.mark.parametrize("place", [0, 1], ids=["kind", "curve"])
def test_a_key_of_an_unknown_kind_is_refused(place: int) -> None:
    version, algorithm, point = children(OWN_KEY)[:3]
    parts = children(algorithm)
    parts[place] = der(OID, bytes([0x2A, 3, 4]))
    unknown = der(SEQUENCE, version, der(SEQUENCE, *parts), point)
    with pytest.raises(
        InvalidCredentials, match="the private key is of a kind that is not supported; use P-256"
    ):
        X509Svid.from_der(OWN.chain, unknown)


def test_our_own_subject_need_not_be_readable() -> None:
    leaf = AUTHORITY.issue(PATH)
    odd = edited(leaf.certificate, AUTHORITY, {Field.SUBJECT: name(TELETEX_STRING, b"\xff")})
    assert str(X509Svid.from_der([odd], pkcs8(leaf)).claim.spiffe_id) == PROD
    with pytest.raises(
        InvalidCredentials, match=r"that of the first certificate, which is for spiffe://prod\."
    ):
        X509Svid.from_der([odd], OWN_KEY)
    nameless = AUTHORITY.issue(PATH, uris=[])
    odd = edited(nameless.certificate, AUTHORITY, {Field.SUBJECT: name(TELETEX_STRING, b"\xff")})
    with pytest.raises(InvalidCredentials, match="that of the first certificate, which is for nobody"):
        X509Svid.from_der([odd], OWN_KEY)


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
