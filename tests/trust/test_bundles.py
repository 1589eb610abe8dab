"""Trust bundles: read tolerantly entry by entry, strictly as a whole, and never merged."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.certificates.leaf import Profile
from meshid.certificates.namesakes import MAX_NAMESAKES
from meshid.certificates.reading import to_der
from meshid.errors import InvalidBundle, InvalidSpiffeId, PeerRejected
from meshid.names.spiffe_id import TrustDomain
from meshid.reasons import Reason
from meshid.support.strict_json import MAX_JSON_VALUES
from meshid.testing import CA, TokenIssuer
from meshid.trust.authorities import MAX_AUTHORITY_BYTES, MAX_ENTRIES, MAX_SKIPPED
from meshid.trust.bundles import MAX_BUNDLE_BYTES, BundleSet, TrustBundle
from meshid.verification.verifier import ChainVerifier
from tests.helpers.bad_authorities import BAD
from tests.helpers.forged import damaged, pem
from tests.helpers.world import PATH, hosts, padding

DOMAIN = "prod.example.org"
ROOT, OTHER = CA(DOMAIN), CA(DOMAIN)
NEVER = CA(DOMAIN, ca=False)


def x5c(*authorities: CA) -> list[str]:
    return [base64.b64encode(to_der(each.certificate)).decode() for each in authorities]


def entry(*authorities: CA, **members: object) -> dict[str, object]:
    return {"kty": "EC", "use": "x509-svid", "x5c": x5c(*authorities), **members}


def document(*keys: object, **members: object) -> bytes:
    return json.dumps({"keys": keys, **members}).encode()


def read(*keys: object, **members: object) -> TrustBundle:
    return TrustBundle.from_spiffe_json(DOMAIN, document(*keys, **members))


def without(member: str) -> dict[str, object]:
    return {name: value for name, value in entry(ROOT).items() if name != member}


class TestB1:
    """Bundle 4.1.3: the `keys` parameter "MUST be present"; it may be an empty array."""

    @pytest.mark.parametrize(
        "text",
        [
            *(b"{}", b"[]", b'"keys"', b"null", b'{"KEYS": []}'),
            *(b'{"keys": null}', b'{"keys": {}}', b'{"keys": "a"}', b'{"keys": [5]}'),
            *(b'{"keys": [[]]}', b'{"keys": [{}, null]}'),
        ],
        ids=ascii,
    )
    def test_a_document_without_an_array_of_objects_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidBundle, match='an array "keys" of objects'):
            TrustBundle.from_spiffe_json(DOMAIN, text)

    def test_an_empty_array_is_a_bundle(self) -> None:
        assert read() == TrustBundle(TrustDomain(DOMAIN), ())


class TestB2:
    """Bundle 4.1.3 and 4.2.1: of an unknown `kty` a reader "MUST ignore the entire JWK element"."""

    @pytest.mark.parametrize("kty", ["OKP", "oct", "ec", "", None, 5, ["EC"], {"EC": 1}, True], ids=ascii)
    def test_an_unknown_kty_is_skipped_and_reported(self, kty: object) -> None:
        bundle = read(entry(OTHER, kty=kty), entry(ROOT))
        assert bundle.authorities == (ROOT.certificate,)
        (skipped,) = bundle.skipped
        assert skipped.where == "keys[0]"
        assert "kty is" in skipped.what
        assert "known: EC, RSA, AKP" in skipped.what

    def test_a_missing_kty_is_skipped_and_reported(self) -> None:
        (skipped,) = read(entry(OTHER), without("kty")).skipped
        assert "kty is 'None'" in skipped.what

    @pytest.mark.parametrize("kty", ["EC", "RSA", "AKP"])
    def test_a_known_kty_is_read_and_the_certificate_counts(self, kty: str) -> None:
        assert read(entry(ROOT, kty=kty)).authorities == (ROOT.certificate,)


class TestB3:
    """Bundle 4.2.2: of a missing or unknown `use` readers "MUST ignore" the entry; "case sensitive"."""

    @pytest.mark.parametrize("use", ["sig", "X509-SVID", "x509-svid ", "", None, 5, [], {}], ids=ascii)
    def test_an_unknown_use_is_skipped_and_reported(self, use: object) -> None:
        bundle = read(entry(ROOT), entry(OTHER, use=use))
        assert bundle.authorities == (ROOT.certificate,)
        assert [(each.where, each.what.split(" is ")[0]) for each in bundle.skipped] == [("keys[1]", "use")]

    def test_a_missing_use_is_skipped_and_reported(self) -> None:
        (skipped,) = read(entry(OTHER), without("use")).skipped
        assert "use is 'None'; known: x509-svid" in skipped.what

    def test_the_entries_for_wit_svids_are_passed_over(self) -> None:
        bundle = read(entry(OTHER, use="wit-svid", kid="k"), entry(ROOT))
        assert (bundle.authorities, bundle.skipped) == ((ROOT.certificate,), ())


JWT = TokenIssuer(use="jwt-svid").keys[0].jwk()
WIT = {"kty": "EC", "use": "wit-svid", "kid": "w"}


class TestB4:
    """Bundle 4.1.3: with no usable key, readers "MUST treat all SVIDs from the trust domain as invalid"."""

    @pytest.mark.parametrize(
        "keys", [(), (JWT,), (JWT, WIT)], ids=["none", "jwt-svid", "jwt-svid and wit-svid"]
    )
    def test_a_bundle_without_keys_for_x509_trusts_nobody(self, keys: tuple[object, ...]) -> None:
        bundle = read(*keys)
        assert (bundle.authorities, bundle.skipped) == ((), ())
        with pytest.raises(PeerRejected) as caught:
            ChainVerifier(BundleSet([bundle])).verify(ROOT.issue(PATH).chain)
        assert caught.value.reason is Reason.UNKNOWN_AUTHORITY

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            pytest.param((entry(ROOT, use="x509_svid"),), "keys[0]: use is 'x509_svid'", id="a typo in use"),
            pytest.param((entry(ROOT, kty="ec"),), "keys[0]: kty is 'ec'", id="a typo in kty"),
            pytest.param((entry(ROOT, x5c="AAAA"),), "keys[0]: x5c is missing", id="no array"),
            pytest.param((entry(ROOT, x5c=["!"]),), "keys[0]: x5c[0] is not base64", id="no base64"),
            pytest.param((entry(NEVER),), "can never verify a peer", id="no authority"),
            pytest.param((JWT, {}), "keys[1]: kty is 'None'", id="beside a key of another kind"),
        ],
    )
    def test_a_bundle_in_which_every_entry_was_skipped_is_refused(
        self, keys: tuple[object, ...], expected: str
    ) -> None:
        """It is a mistake, and the bundle that is in force must outlive it; an empty one is meant."""
        with pytest.raises(InvalidBundle) as caught:
            read(*keys)
        assert str(caught.value).startswith(f"bundle of {DOMAIN}: none of its entries can be used; ")
        assert expected in str(caught.value)


class TestB7:
    """Bundle 4.1: implementations "MUST NOT require" the presence of other parameters, and may meet them."""

    def test_sequence_and_refresh_hint_do_not_change_the_bundle(self) -> None:
        bundle = read(entry(ROOT, kid="a", alg="ES256"), spiffe_sequence=1, spiffe_refresh_hint=-5, other=[])
        assert bundle == read(entry(ROOT))


class TestB8:
    """Bundle 5.1.1: readers "MUST reject maps in which duplicate trust domain name keys are detected"."""

    def test_two_bundles_of_one_trust_domain_are_refused(self) -> None:
        with pytest.raises(
            InvalidBundle, match=f"two bundles for trust domain {DOMAIN}; they are never merged"
        ):
            BundleSet([ROOT.bundle(), OTHER.bundle()])

    @pytest.mark.parametrize(
        "text", [b'{"keys": [], "keys": []}', b'{"keys": [{"use": "a", "use": "a"}]}'], ids=ascii
    )
    def test_a_member_that_occurs_twice_is_refused(self, text: bytes) -> None:
        with pytest.raises(InvalidBundle, match="a member occurs twice"):
            TrustBundle.from_spiffe_json(DOMAIN, text)


class TestX13:
    """X509-SVID 6.2: an entry with no or an empty `x5c` "MUST be ignored"."""

    @pytest.mark.parametrize(
        "value",
        [[], None, "", x5c(ROOT)[0], {}, [None], [5], [[]], [{}]],
        ids=lambda it: "base64" if it == x5c(ROOT)[0] else ascii(it),
    )
    def test_it_is_skipped_and_reported(self, value: object) -> None:
        bundle = read(entry(OTHER, x5c=value), entry(ROOT))
        assert bundle.authorities == (ROOT.certificate,)
        (skipped,) = bundle.skipped
        assert (skipped.where, skipped.what) == (
            "keys[0]",
            "x5c is missing, empty or not an array of strings",
        )

    def test_an_entry_without_it_is_skipped_and_reported(self) -> None:
        bundle = read(without("x5c"), entry(ROOT))
        assert (len(bundle.authorities), len(bundle.skipped)) == (1, 1)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            pytest.param("!", "x5c[0] is not base64", id="no base64"),
            pytest.param("A", "x5c[0] is not base64", id="no whole base64"),
            pytest.param(
                x5c(ROOT)[0].replace("/", "_").replace("+", "-") + "-", "not base64", id="base64url"
            ),
            pytest.param("\u00e4", "x5c[0] is not base64", id="no ASCII"),
            pytest.param("", "not a certificate that can be read", id="empty"),
            pytest.param("AAAA", "not a certificate that can be read", id="no certificate"),
        ],
    )
    def test_what_is_in_it_must_be_a_certificate(self, value: str, expected: str) -> None:
        bundle = read(entry(OTHER, x5c=[value]), entry(ROOT))
        assert bundle.authorities == (ROOT.certificate,)
        assert expected in bundle.skipped[0].what


class TestX14:
    """X509-SVID 6.2: of several `x5c` values "all but the first MUST be ignored"."""

    @pytest.mark.parametrize(
        "rest", [x5c(OTHER), ["!"], [None], [[]]], ids=["certificate", "junk", "null", "array"]
    )
    def test_only_the_first_counts(self, rest: list[object]) -> None:
        bundle = read(entry(x5c=[*x5c(ROOT), *rest]))
        assert (bundle.authorities, bundle.skipped) == ((ROOT.certificate,), ())


class TestX15:
    """X509-SVID 6.1: a CA in a bundle SHOULD be self-signed; so one that is not is legal."""

    def test_an_intermediate_is_an_anchor_as_good_as_a_root(self) -> None:
        intermediate = ROOT.intermediate()
        bundles = BundleSet([TrustBundle.from_pem(DOMAIN, intermediate.pem)])
        peer = ChainVerifier(bundles).verify(intermediate.issue(PATH).chain[:1])
        assert peer.chain[-1] == to_der(intermediate.certificate)


# -- PEM ----------------------------------------------------------------------


def test_several_authorities_are_read_in_their_order_and_once() -> None:
    bundle = TrustBundle.from_pem(DOMAIN, ROOT.pem + OTHER.pem + ROOT.pem)
    assert bundle.authorities == (ROOT.certificate, OTHER.certificate)
    assert bundle.skipped == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", "it holds no PEM certificate", id="nothing"),
        pytest.param(to_der(ROOT.certificate), "and looks like DER: convert it with openssl x509", id="DER"),
        pytest.param(ROOT.pem + ROOT.issue(PATH).key_pem, "PEM block 2 is 'PRIVATE KEY'", id="a key"),
        pytest.param(ROOT.crl() + ROOT.pem, "PEM block 1 is 'X509 CRL'", id="a revocation list"),
        pytest.param(
            ROOT.pem + OTHER.pem[:-9], "PEM block 2 (CERTIFICATE) begins and does not end", id="cut off"
        ),
        pytest.param(
            ROOT.pem.replace(b"\n", b"\\n"), "the two characters \\n where its lines", id="no lines"
        ),
        pytest.param(ROOT.pem.decode().encode("utf-16"), "the text is UTF-16", id="UTF-16"),
        pytest.param(pem("CERTIFICATE", b"no DER"), "certificate 1: not a certificate", id="no DER"),
        pytest.param(
            NEVER.pem, "no certificate in it can be an authority; certificate 1:", id="no authority"
        ),
        pytest.param(
            NEVER.pem * 2, "certificate 2: 'CN=root,O=prod.example.org' can never verify", id="twice none"
        ),
    ],
)
def test_a_file_that_is_not_a_bundle_is_refused(text: bytes, expected: str) -> None:
    with pytest.raises(InvalidBundle) as caught:
        TrustBundle.from_pem(DOMAIN, text)
    assert str(caught.value).startswith(f"bundle of {DOMAIN}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("read", [TrustBundle.from_pem, TrustBundle.from_spiffe_json])
@pytest.mark.parametrize(
    ("size", "expected"), [(MAX_BUNDLE_BYTES, "it "), (MAX_BUNDLE_BYTES + 1, "are read")]
)
def test_the_size_of_a_bundle_is_bounded(read: Any, size: int, expected: str) -> None:  # noqa: ANN401 - either reader
    with pytest.raises(InvalidBundle) as caught:
        read(DOMAIN, b" " * size)
    assert expected in str(caught.value)
    assert ("at most 4194304 are read" in str(caught.value)) is (size > MAX_BUNDLE_BYTES)


@pytest.mark.parametrize("read", [TrustBundle.from_pem, TrustBundle.from_spiffe_json])
def test_a_bundle_belongs_to_a_trust_domain_with_a_known_profile(read: Any) -> None:  # noqa: ANN401 - either reader
    data = ROOT.pem if read == TrustBundle.from_pem else document(entry(ROOT))
    for domain in (DOMAIN, f"spiffe://{DOMAIN}", TrustDomain(DOMAIN)):
        assert read(domain, data).trust_domain == TrustDomain(DOMAIN)
    for profile in Profile:
        assert read(DOMAIN, data, profile=profile.value).profile is profile
    with pytest.raises(InvalidSpiffeId):
        read("Prod.example.org", data)
    with pytest.raises(InvalidBundle, match="profile 'x509' is unknown; write one of: spiffe, linkerd, dns"):
        read(DOMAIN, data, profile="x509")


# -- DER ----------------------------------------------------------------------


def test_der_certificates_make_the_same_bundle_as_pem() -> None:
    ders = [to_der(each.certificate) for each in (ROOT, NEVER, OTHER)]
    bundle = TrustBundle.from_der(DOMAIN, ders, profile="linkerd")
    same = TrustBundle.from_pem(DOMAIN, ROOT.pem + NEVER.pem + OTHER.pem, profile="linkerd")
    assert (bundle, bundle.authorities, bundle.skipped) == (same, same.authorities, same.skipped)


@pytest.mark.parametrize(
    ("ders", "expected"),
    [
        pytest.param([], "no certificate in it can be an authority", id="nothing"),
        pytest.param([ROOT.pem], "certificate 1: not a certificate", id="PEM"),
        pytest.param([to_der(NEVER.certificate)], "certificate 1: 'CN=root,O=prod", id="no authority"),
    ],
)
def test_der_that_is_not_a_bundle_is_refused(ders: list[bytes], expected: str) -> None:
    with pytest.raises(InvalidBundle, match=f"^bundle of {DOMAIN}: .*{expected}"):
        TrustBundle.from_der(DOMAIN, ders)


# -- Values -------------------------------------------------------------------


def test_a_bundle_goes_to_pem_and_json_and_back() -> None:
    others = [
        CA(DOMAIN, key=key)
        for key in (rsa.generate_private_key(65537, 2048), mldsa.MLDSA65PrivateKey.generate())
    ]
    bundle = TrustBundle.from_pem(DOMAIN, b"".join(each.pem for each in (ROOT, *others)))
    assert TrustBundle.from_pem(DOMAIN, bundle.to_pem()) == bundle
    assert TrustBundle.from_spiffe_json(DOMAIN, bundle.to_spiffe_json()) == bundle
    assert TrustBundle.from_spiffe_json(DOMAIN, bundle.to_spiffe_json()).skipped == ()
    assert TrustBundle.from_spiffe_document(DOMAIN, bundle.to_spiffe_document()) == bundle


def test_an_empty_bundle_goes_to_json_and_back() -> None:
    empty = TrustBundle(TrustDomain(DOMAIN), ())
    assert TrustBundle.from_spiffe_json(DOMAIN, empty.to_spiffe_json()) == empty


def test_bundles_with_the_same_authorities_are_equal_in_any_order_and_whatever_was_skipped() -> None:
    one = TrustBundle.from_pem(DOMAIN, ROOT.pem + OTHER.pem)
    two = TrustBundle.from_pem(DOMAIN, OTHER.pem + NEVER.pem + ROOT.pem)
    assert one == two
    assert hash(one) == hash(two)
    assert BundleSet([one]) == BundleSet([two])
    assert hash(BundleSet([one])) == hash(BundleSet([two]))


def test_bundles_that_trust_otherwise_are_not_equal() -> None:
    bundle = ROOT.bundle()
    assert bundle != OTHER.bundle()
    assert bundle != ROOT.bundle(profile="dns")
    assert bundle != TrustBundle.from_pem("dev.example.org", ROOT.pem)
    assert BundleSet([bundle]) != BundleSet()


def test_a_set_is_a_mapping_by_trust_domain() -> None:
    bundles = BundleSet([ROOT.bundle(), CA("dev.example.org").bundle()])
    assert bundles[TrustDomain(DOMAIN)] == ROOT.bundle()
    assert set(bundles) == {TrustDomain(DOMAIN), TrustDomain("dev.example.org")}
    assert len(bundles) == 2
    assert TrustDomain("unknown") not in bundles
    assert repr(BundleSet([ROOT.bundle()])) == f"BundleSet([{ROOT.bundle()!r}])"
    assert "authorities=<1>" in repr(ROOT.bundle())


def test_only_one_bundle_can_have_the_profile_dns() -> None:
    hosts = [CA(name).bundle(profile="dns") for name in ("a.example", "b.example")]
    BundleSet([hosts[0], ROOT.bundle()])
    with pytest.raises(
        InvalidBundle, match=r"only one bundle can have the profile dns.*a\.example, b\.example"
    ):
        BundleSet(hosts)


# -- Bad company --------------------------------------------------------------


bad = pytest.mark.parametrize(("written", "expected"), BAD.values(), ids=BAD.keys())


def of_three_forms(written: bytes) -> list[TrustBundle]:
    """Return the bundle of a bad authority between two good ones, from each format."""
    first, last = to_der(ROOT.certificate), to_der(OTHER.certificate)
    ders = [first, written, last]
    return [
        TrustBundle.from_der(DOMAIN, ders),
        TrustBundle.from_pem(DOMAIN, b"".join(pem("CERTIFICATE", each) for each in ders)),
        read(*(entry(x5c=[base64.b64encode(each).decode()]) for each in ders)),
    ]


@bad
def test_one_bad_authority_spoils_no_other(written: bytes, expected: str) -> None:
    for bundle in of_three_forms(written):
        assert bundle.authorities == (ROOT.certificate, OTHER.certificate)
        (skipped,) = bundle.skipped
        assert skipped.where in {"certificate 2", "keys[1]"}
        assert expected in skipped.what
        assert "ParseError" not in skipped.what


@bad
def test_a_bad_authority_alone_is_no_bundle(written: bytes, expected: str) -> None:
    with pytest.raises(InvalidBundle) as caught:
        TrustBundle.from_der(DOMAIN, [written])
    assert expected in str(caught.value)


def test_a_block_that_is_not_base64_spoils_no_other() -> None:
    bundle = TrustBundle.from_pem(DOMAIN, ROOT.pem.replace(b"M", b"!", 1) + OTHER.pem)
    assert bundle.authorities == (OTHER.certificate,)
    assert [str(each) for each in bundle.skipped] == ["certificate 1: a PEM block is not base64"]


# -- Bounds -------------------------------------------------------------------


def test_the_findings_about_a_bundle_are_bounded() -> None:
    bundle = read(*[{}] * (MAX_SKIPPED - 1), entry(ROOT), {})
    assert len(bundle.skipped) == MAX_SKIPPED
    bundle = read(*[{}] * (MAX_ENTRIES - 1), entry(ROOT))
    assert len(bundle.skipped) == MAX_SKIPPED + 1
    assert str(bundle.skipped[-1]) == f"{MAX_ENTRIES - 1 - MAX_SKIPPED} more entries"


@pytest.mark.parametrize("reader", ["from_pem", "from_der", "from_spiffe_json", "from_spiffe_document"])
def test_the_entries_of_a_bundle_are_bounded(reader: str) -> None:
    def load(count: int) -> TrustBundle:
        one = to_der(ROOT.certificate)
        data = {
            "from_pem": ROOT.pem * count,
            "from_der": (one for _ in range(count)),
            "from_spiffe_json": document(*[entry(ROOT)] * count),
            "from_spiffe_document": {"keys": [JWT] * (count - 1) + [entry(ROOT)]},
        }
        bundle: TrustBundle = getattr(TrustBundle, reader)(DOMAIN, data[reader])
        return bundle

    assert load(MAX_ENTRIES).authorities == (ROOT.certificate,)
    with pytest.raises(InvalidBundle, match=f"it has more than {MAX_ENTRIES} "):
        load(MAX_ENTRIES + 1)


@pytest.mark.parametrize(
    "part", [b"{},", b"[],", b"1,", b'{"a":1},', b"[[[[[1]]]]],", b"[{", b'"",'], ids=ascii
)
def test_json_of_4_mib_costs_no_more_than_an_honest_bundle(part: bytes) -> None:
    # 4 MiB of `{}` took 14 s and 2.8 GB.
    data = b'{"keys": [' + part * ((MAX_BUNDLE_BYTES - 100) // len(part)) + b"{}]}"
    start = time.perf_counter()
    with pytest.raises(InvalidBundle, match=f"it has more than {MAX_JSON_VALUES} values"):
        TrustBundle.from_spiffe_json(DOMAIN, data)
    assert time.perf_counter() - start < 0.5


def test_json_with_as_many_values_as_are_read_is_read() -> None:
    values = MAX_JSON_VALUES - document(entry(ROOT), other=[]).count(b",") - 6
    assert read(entry(ROOT), other=[0] * values).authorities == (ROOT.certificate,)


def test_an_authority_that_would_make_each_handshake_dearer_is_skipped() -> None:
    # With 16 000 name constraints each handshake with a peer of this trust domain took up to 0.5 s.
    constraints = x509.NameConstraints([x509.DNSName(each) for each in hosts(65)], None)
    heavy = CA(DOMAIN, extra=[(constraints, True)])
    huge = CA(DOMAIN, extra=[padding(MAX_AUTHORITY_BYTES)])
    bundle = TrustBundle.from_pem(DOMAIN, heavy.pem + huge.pem + ROOT.pem)
    assert bundle.authorities == (ROOT.certificate,)
    name_constraints, size = (each.what for each in bundle.skipped)
    assert "it has 65 name constraints, and each handshake reads them all" in name_constraints
    assert f"at most {MAX_AUTHORITY_BYTES} are read of one authority" in size


@pytest.mark.slow
def test_200_authorities_are_loaded_in_no_time() -> None:
    text = b"".join(CA(DOMAIN, subject=f"CN=root {number}").pem for number in range(200))
    start = time.process_time()
    assert len(TrustBundle.from_pem(DOMAIN, text).authorities) == 200
    # It takes 0.07 s; the limit leaves room for a busy machine.
    assert time.process_time() - start < 0.5


def with_key_id(digest: bytes) -> CA:
    return CA(DOMAIN, extra=[(x509.SubjectKeyIdentifier(digest), False)])


@pytest.mark.parametrize("make", [lambda: CA(DOMAIN), lambda: with_key_id(b"same")], ids=["none", "one"])
def test_authorities_that_nothing_tells_apart_are_bounded(make: Callable[[], CA]) -> None:
    same = [make() for _ in range(MAX_NAMESAKES + 1)]
    others = [CA(DOMAIN, subject="CN=another"), with_key_id(b"another")]
    bundle = TrustBundle.from_pem(DOMAIN, b"".join(each.pem for each in [*same, same[0], same[-1], *others]))
    assert bundle.authorities == tuple(each.certificate for each in [*same[:-1], *others])
    assert [each.where for each in bundle.skipped] == [
        f"certificate {MAX_NAMESAKES + 1}",
        f"certificate {MAX_NAMESAKES + 3}",
    ]
    assert "more than 32 authorities called 'CN=root,O=prod.example.org' that no key identifier" in (
        bundle.skipped[0].what
    )


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=["P-256", "P-384"])
def test_each_authority_that_is_kept_is_tried(curve: ec.EllipticCurve) -> None:
    same = [CA(DOMAIN, key=ec.generate_private_key(curve)) for _ in range(MAX_NAMESAKES)]
    bundle = TrustBundle.from_pem(DOMAIN, b"".join(each.pem for each in same))
    last = same[len(bundle.authorities) - 1]
    path = "/ns/pay/sa/api"
    assert ChainVerifier(BundleSet([bundle])).verify(last.issue(path).chain).spiffe_id.path == path


def test_authorities_of_one_name_that_a_key_identifier_tells_apart_are_all_kept() -> None:
    """SPIRE servers that sign for themselves have one subject, and two or three authorities each."""
    many = [with_key_id(bytes([number])) for number in range(MAX_NAMESAKES + 8)]
    bundle = TrustBundle.from_pem(DOMAIN, b"".join(each.pem for each in many))
    assert (len(bundle.authorities), bundle.skipped) == (len(many), ())


# -- Wrong types --------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        (TrustBundle.from_pem, (DOMAIN, ROOT.pem.decode()), "pem must be PEM certificates as bytes, such as"),
        (TrustBundle.from_pem, (DOMAIN, None), "pem must be PEM certificates as bytes, such as"),
        (TrustBundle.from_pem, (5, ROOT.pem), "trust_domain must be a TrustDomain or a str, not int"),
        (TrustBundle.from_spiffe_json, (DOMAIN, "{}"), "data must be a SPIFFE bundle as bytes, such as"),
        (TrustBundle.from_der, (DOMAIN, 5), "certificates must be a list of DER certificates, not int"),
        (TrustBundle.from_der, (DOMAIN, b"0"), "each of the certificates must be DER as bytes, not int"),
        (TrustBundle.from_der, (DOMAIN, [ROOT]), "each of the certificates must be DER as bytes, not CA"),
        (TrustBundle, (DOMAIN, ()), "trust_domain must be a TrustDomain, not str"),
        (TrustBundle, (TrustDomain(DOMAIN), (), "spiffe"), "profile must be a Profile, not str"),
        (TrustBundle, (TrustDomain(DOMAIN), (ROOT,)), "each of the authorities must be an x509.Certificate"),
        (BundleSet, (ROOT.bundle(),), "bundles must be a list of bundles, such as BundleSet([bundle, ...])"),
        (BundleSet, ([ROOT],), "each of the bundles must be a TrustBundle, not CA"),
        (
            BundleSet,
            ({TrustDomain(DOMAIN): 1},),
            "each of the bundles must be a TrustBundle, not TrustDomain",
        ),
    ],
)
def test_a_wrong_type_is_told_where_it_is_given(
    call: Callable[..., object], arguments: tuple[object, ...], expected: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call(*arguments)
    assert expected in str(caught.value)


def test_a_profile_of_a_wrong_type_is_told() -> None:
    with pytest.raises(TypeError, match="profile must be a str, not NoneType"):
        TrustBundle.from_pem(DOMAIN, ROOT.pem, profile=None)  # type: ignore[arg-type]  # the mistake


# -- Anything at all ----------------------------------------------------------


# Each look at a serial number that is not positive makes the backend warn.
lenient = pytest.mark.filterwarnings("ignore:Parsed a serial number")


def is_bundle_or_invalid(reader: Any, data: bytes) -> None:  # noqa: ANN401 - either reader
    try:
        bundle = reader(DOMAIN, data)
    except InvalidBundle as error:
        assert str(error).isascii()
        assert len(str(error)) < 20_000
    else:
        assert isinstance(bundle, TrustBundle)
        assert bundle.authorities or not bundle.skipped
        BundleSet([bundle])


finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text() | st.sampled_from(x5c(ROOT)),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["kty", "use", "x5c", "keys", "a"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["keys", "a"]), values | st.lists(values)))
def test_any_json_is_a_bundle_or_invalid(value: object) -> None:
    is_bundle_or_invalid(TrustBundle.from_spiffe_json, json.dumps(value).encode())


@given(
    st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("kty", "use", "x5c", "kid"), values))
        | st.just(entry(ROOT))
    )
)
def test_any_array_of_entries_beside_a_good_one_is_a_bundle(keys: list[dict[str, object]]) -> None:
    assert read(*keys, entry(ROOT)).authorities == (ROOT.certificate,)


@lenient
@given(st.binary() | damaged(document(entry(ROOT), JWT)))
def test_any_bytes_are_a_json_bundle_or_invalid(data: bytes) -> None:
    is_bundle_or_invalid(TrustBundle.from_spiffe_json, data)


@lenient
@settings(max_examples=600)
@given(st.data())
def test_any_bytes_are_a_pem_bundle_or_invalid(data: st.DataObject) -> None:
    whole = ROOT.pem + OTHER.pem
    cut = st.integers(0, len(whole)).map(lambda size: whole[:size])
    text = data.draw(damaged(whole) | cut | st.binary())
    is_bundle_or_invalid(TrustBundle.from_pem, text)


ders = st.just(to_der(ROOT.certificate)) | damaged(to_der(OTHER.certificate)) | st.binary()


@lenient
@given(st.lists(ders, max_size=6))
def test_any_list_of_ders_is_a_bundle_or_invalid(certificates: list[bytes]) -> None:
    try:
        bundle = TrustBundle.from_der(DOMAIN, certificates)
    except InvalidBundle as error:
        assert to_der(ROOT.certificate) not in certificates
        assert str(error).isascii()
    else:
        assert len(bundle.authorities) + len(bundle.skipped) <= len(certificates)
        assert {to_der(each) for each in bundle.authorities} <= set(certificates)


@pytest.mark.slow
@lenient
@settings(max_examples=600)
@given(damaged(to_der(ROOT.certificate)))
def test_any_damaged_authority_is_skipped_or_refused_or_usable(data: bytes) -> None:
    bundle = read(entry(OTHER), entry(x5c=[base64.b64encode(data).decode()]))
    assert bundle.authorities[0] == OTHER.certificate
    assert len(bundle.authorities) + len(bundle.skipped) == 2


@pytest.mark.parametrize("shape", ["[[@]]", '{"a": @}', '[{"a": @}]'], ids=ascii)
@pytest.mark.parametrize("member", ["kty", "use", "x5c"])
def test_json_as_deep_as_can_be_read_is_a_bundle_or_invalid(shape: str, member: str) -> None:
    opening, closing = shape.split("@")
    for depth in (
        100,
        480,
        485,
        490,
        495,
        740,
        745,
        750,
        970,
        975,
        980,
        985,
        990,
        995,
        1490,
        1495,
        5000,
        20_000,
    ):
        deep = opening * depth + "1" + closing * depth
        text = document(entry(ROOT, **{member: "@"})).decode().replace('"@"', deep)
        is_bundle_or_invalid(TrustBundle.from_spiffe_json, text.encode())
