"""Forwarded certificates: exactly what one proxy writes is a chain, and anything else is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshid import BundleSet, InvalidForwarded, Mesh, PeerRejected, Policy
from meshid.certificates.chain import MAX_CHAIN_BYTES, MAX_LEAF_BYTES
from meshid.certificates.reading import MAX_RSA_BITS, to_der
from meshid.http import Forwarded
from meshid.http.forwarded import MAX_HEADER_BYTES
from meshid.http.xfcc import MAX_ELEMENTS
from meshid.reasons import Reason
from meshid.testing import CA
from tests.helpers.forged import SEQUENCE, damaged, der, rsa_public_key, with_key
from tests.helpers.forwarding import PROXIES, WHOLE, Pairs, passed, written, xfcc

ROOT = CA("prod.example.org")
INTERMEDIATE = ROOT.intermediate()
LEAF = INTERMEDIATE.issue("/ns/checkout/sa/api", dns=["api.example"])
DEEP = INTERMEDIATE.intermediate().issue("/ns/checkout/sa/deep")
STRANGER = CA("dev.example.org").intermediate().issue("/ns/checkout/sa/api")
ABOVE = to_der(INTERMEDIATE.certificate)

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "all"
from = ["/**"]
to = ["**"]
"""

for_each_proxy = pytest.mark.parametrize("proxy", PROXIES)


def mesh() -> Mesh:
    policy = Policy.from_toml(POLICY, environment="prod")
    return Mesh(bundles=BundleSet([ROOT.bundle()]), policy=policy, service="payments")


def headers_of(proxy: str, chain: Sequence[bytes]) -> Pairs:
    """Return what *proxy* writes of any bytes: Envoy reads names in the leaf, if it is a certificate."""
    if proxy == "envoy":
        return [(b"x-forwarded-client-cert", xfcc(chain, names=[]).encode())]
    return written(proxy, chain)


def refused(proxy: str, headers: Iterable[tuple[bytes | str, bytes | str]]) -> str:
    with pytest.raises(InvalidForwarded) as caught:
        Forwarded(proxy).chain(headers)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 300
    return str(caught.value)


def is_about(name: bytes, text: str) -> bool:
    return text.lower().startswith((f"header {name.decode()} ", f"header {name.decode()}: "))


# -- What a proxy writes --------------------------------------------------------------------------


@for_each_proxy
@pytest.mark.parametrize("chain", [LEAF.chain[:1], LEAF.chain, DEEP.chain], ids=["leaf", "one", "two"])
def test_the_chain_that_a_proxy_writes_is_read(proxy: str, chain: tuple[bytes, ...]) -> None:
    assert Forwarded(proxy).chain(written(proxy, chain)) == passed(proxy, chain)


DERS = st.lists(st.binary(max_size=200).map(lambda content: der(SEQUENCE, content)), min_size=1, max_size=7)


@given(st.sampled_from(PROXIES), DERS)
def test_any_certificates_that_a_proxy_wrote_are_read(proxy: str, chain: list[bytes]) -> None:
    assert Forwarded(proxy).chain(headers_of(proxy, chain)) == passed(proxy, chain)


@for_each_proxy
def test_a_request_without_the_headers_or_with_empty_ones_has_no_chain(proxy: str) -> None:
    forwarded = Forwarded(proxy, intermediates=INTERMEDIATE.pem)
    empty = [(name, b"") for name, _ in written(proxy, LEAF.chain)]
    for headers in ([], [(b"host", b"a")], empty):
        assert forwarded.chain(headers) == ()
        with pytest.raises(PeerRejected) as caught:
            mesh().admit(forwarded.chain(headers))
        assert caught.value.reason is Reason.NO_CERTIFICATE


@for_each_proxy
def test_headers_are_pairs_or_a_mapping_of_bytes_or_text_in_any_case(proxy: str) -> None:
    pairs = [(b"host", b"a"), *written(proxy, LEAF.chain), (b"accept", b"*/*")]
    texts = [(name.decode(), value.decode()) for name, value in pairs]
    chain = passed(proxy, LEAF.chain)
    forwarded = Forwarded(proxy)
    assert forwarded.chain(iter(pairs)) == chain
    assert forwarded.chain(texts) == chain
    assert forwarded.chain(dict(texts)) == chain
    assert forwarded.chain({name.title(): value for name, value in texts}) == chain
    assert forwarded.chain([(name.upper(), value) for name, value in pairs]) == chain


def test_the_example_of_rfc_9440_is_read() -> None:
    """RFC 9440 appendix A."""
    lines = Path(__file__).with_name("rfc9440.txt").read_text("ascii").splitlines()
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    chain = Forwarded("rfc9440").chain(headers)
    leaf, *above = certificates = list(map(x509.load_der_x509_certificate, chain))
    assert leaf.subject.rfc4514_string() == "CN=BC"
    assert len(above) == 2
    for lower, upper in pairwise(certificates):
        lower.verify_directly_issued_by(upper)


@for_each_proxy
def test_the_largest_chain_that_is_verified_has_room(proxy: str) -> None:
    rest = (MAX_CHAIN_BYTES - MAX_LEAF_BYTES) // 2
    # Each value of a byte, in no order, so that as many characters are escaped as usual.
    filling = bytes(number * number % 257 % 256 for number in range(3 * 257)) * 32
    chain = [der(SEQUENCE, filling[: size - 4]) for size in (MAX_LEAF_BYTES, rest, rest)]
    assert sum(map(len, chain)) == MAX_CHAIN_BYTES
    assert Forwarded(proxy).chain(headers_of(proxy, chain)) == passed(proxy, chain)


def test_behind_several_envoys_the_peer_is_the_client_of_the_first() -> None:
    value = ",".join([xfcc(LEAF.chain), xfcc(STRANGER.chain)])
    headers = {"X-Forwarded-Client-Cert": value}
    assert Forwarded("envoy", elements=2).chain(headers) == LEAF.chain
    with pytest.raises(
        InvalidForwarded, match=r"^header X-Forwarded-Client-Cert: it has more than 1 element;"
    ):
        Forwarded("envoy").chain(headers)


# -- What a client writes -------------------------------------------------------------------------


def foreign(proxy: str, chain: Sequence[bytes]) -> Pairs:
    """Return the headers of all proxies but those of *proxy*, which it removes from what a client sends."""
    own = {name for name, _ in written(proxy, LEAF.chain)}
    return [pair for each in PROXIES for pair in written(each, chain) if pair[0] not in own]


@for_each_proxy
def test_the_headers_of_other_proxies_change_nothing(proxy: str) -> None:
    forged = foreign(proxy, LEAF.chain)
    assert len({name for name, _ in forged}) >= 6
    forwarded = Forwarded(proxy, intermediates=INTERMEDIATE.pem)
    headers = written(proxy, STRANGER.chain)
    expected = forwarded.chain(headers)
    assert expected[0] == STRANGER.chain[0]
    for sent in (forged + headers, headers + forged, forged + headers + forged):
        assert forwarded.chain(sent) == expected
    assert forwarded.chain(forged * 2) == ()


LOOKALIKES = ("{}x", "x{}", "-{}", "{}-", " {}", "{} ", "{}\0", "{}:", "{}\udc80", "{}\xad")


@for_each_proxy
def test_a_name_that_looks_like_the_header_is_another_one(proxy: str) -> None:
    for name, value in written(proxy, LEAF.chain):
        text = name.decode()
        forged = [(form.format(text), value) for form in LOOKALIKES]
        # An underscore, a Cyrillic letter, and a wide one.
        forged += [(text.replace(old, new), value) for old, new in ("-_", "c\u0441", "c\uff43")]
        assert Forwarded(proxy).chain(forged) == ()


@for_each_proxy
def test_a_header_that_is_there_twice_is_refused(proxy: str) -> None:
    headers = written(proxy, LEAF.chain)
    for name, value in headers:
        for forged in ((name, value), (name.upper(), value), (name, b""), (name.decode(), "x")):
            for sent in ([forged, *headers], [*headers, forged]):
                said = refused(proxy, sent)
                assert is_about(name, said)
                assert "is there twice; the proxy must replace what a client sends" in said


@for_each_proxy
def test_two_values_that_a_server_joined_are_refused(proxy: str) -> None:
    (name, own), *_ = written(proxy, STRANGER.chain)
    (_, forged), *_ = written(proxy, LEAF.chain)
    for value in (own + b", " + forged, forged + b", " + own):
        assert is_about(name, refused(proxy, {name.decode(): value.decode()}.items()))


@pytest.mark.parametrize("proxy", ["haproxy", "rfc9440"])
def test_a_chain_without_its_leaf_is_refused(proxy: str) -> None:
    leaf, chain = written(proxy, LEAF.chain)
    said = refused(proxy, [chain])
    assert re.fullmatch(r"header \S+ is there without Client-Cert, which has the leaf", said)
    assert refused(proxy, [(leaf[0], b""), chain]) == said


@for_each_proxy
@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(b"\xe9", "is not ASCII", id="a byte"),
        pytest.param("\u00e9", "is not ASCII", id="a letter"),
        pytest.param("\U0001f600", "is not ASCII", id="a letter beyond Latin-1"),
        pytest.param("\udce9", "is not ASCII", id="half a letter"),
        pytest.param("A" * (MAX_HEADER_BYTES + 1), f"has {MAX_HEADER_BYTES + 1} bytes", id="too long"),
        pytest.param(b"A" * (MAX_HEADER_BYTES + 1), f"has {MAX_HEADER_BYTES + 1} bytes", id="bytes too long"),
        pytest.param(b"?" * MAX_HEADER_BYTES, ": ", id="not what it should be"),
        pytest.param(b"\r\n", ": ", id="a line end"),
        pytest.param(b" ", ": ", id="a space"),
    ],
)
def test_an_error_names_the_header(proxy: str, value: bytes | str, said: str) -> None:
    for name, _ in written(proxy, LEAF.chain):
        before = [pair for pair in written(proxy, LEAF.chain) if pair[0] != name]
        text = refused(proxy, [*before, (name, value)])
        assert is_about(name, text)
        assert said in text


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"x-client-cert-pem", None)], id="no value"),
        pytest.param([(b"x-client-cert-pem", bytearray(b"a"))], id="a bytearray"),
        pytest.param([(1, b"a")], id="a number"),
        pytest.param({1: "a"}, id="a number in a mapping"),
        pytest.param(None, id="nothing"),
    ],
)
def test_what_are_no_headers_is_a_mistake_of_the_caller(headers: Pairs) -> None:
    with pytest.raises(TypeError):
        Forwarded("nginx").chain(headers)


@given(st.data(), st.sampled_from(PROXIES))
def test_any_headers_are_a_chain_or_an_error_that_names_one(data: st.DataObject, proxy: str) -> None:
    headers = written(proxy, DEEP.chain)
    at = data.draw(st.integers(0, len(headers) - 1))
    name, value = headers[at]
    headers[at] = name, data.draw(damaged(value))
    try:
        chain = Forwarded(proxy).chain(headers)
    except InvalidForwarded as error:
        assert any(is_about(name, str(error)) for name, _ in headers)
        assert str(error).isascii()
        assert len(str(error)) < 300
    else:
        assert all(chain)


# -- What whoever remembers chains needs ----------------------------------------------------------


@for_each_proxy
def test_the_values_are_a_key_for_the_chain(proxy: str) -> None:
    forwarded = Forwarded(proxy)
    headers = written(proxy, LEAF.chain)
    values = forwarded.values([*foreign(proxy, STRANGER.chain), *headers])
    texts = {name.decode(): value.decode() for name, value in headers[::-1]}
    assert hash(values) == hash(forwarded.values(texts))
    assert values == tuple(value for _, value in headers)
    assert forwarded.chain_of(values) == passed(proxy, LEAF.chain)
    assert forwarded.values([]) == (b"",) * len(values)


# -- Intermediates --------------------------------------------------------------------------------


@pytest.mark.parametrize("proxy", [proxy for proxy in PROXIES if proxy not in WHOLE])
def test_with_intermediates_the_answer_does_not_depend_on_who_came_before(proxy: str) -> None:
    chain = Forwarded(proxy, intermediates=INTERMEDIATE.pem).chain(written(proxy, LEAF.chain))
    fresh, used = mesh(), mesh()
    used.admit(LEAF.chain)
    assert fresh.admit(chain) == used.admit(chain)
    with pytest.raises(PeerRejected) as caught:
        mesh().admit(Forwarded(proxy).chain(written(proxy, LEAF.chain)))
    assert caught.value.reason is Reason.UNKNOWN_AUTHORITY


@for_each_proxy
def test_intermediates_follow_those_that_came_and_none_is_there_twice(proxy: str) -> None:
    others = [to_der(ROOT.intermediate().certificate) for _ in range(2)]
    forwarded = Forwarded(proxy, intermediates=[others[0], ABOVE, others[1], others[0]])
    came = passed(proxy, LEAF.chain)
    missing = (each for each in (others[0], ABOVE, others[1]) if each not in came)
    assert forwarded.chain(written(proxy, LEAF.chain)) == (*came, *missing)


def test_intermediates_are_added_as_far_as_a_chain_has_certificates() -> None:
    many = [to_der(ROOT.intermediate().certificate) for _ in range(6)]
    headers = written("rfc9440", DEEP.chain)
    chain = Forwarded("rfc9440", intermediates=many).chain(headers)
    assert chain == (*DEEP.chain, *many[:4])
    assert mesh().admit(chain) == mesh().admit(DEEP.chain)


@pytest.mark.parametrize("over", [0, 1])
def test_intermediates_are_added_as_far_as_a_chain_has_bytes(over: int) -> None:
    forwarded = Forwarded("rfc9440", intermediates=[ABOVE])
    left = MAX_CHAIN_BYTES - len(LEAF.chain[0]) - len(ABOVE) + over
    came = (LEAF.chain[0], der(SEQUENCE, bytes(left - 4)))
    assert forwarded.chain(written("rfc9440", came)) == (came if over else (*came, ABOVE))


def test_intermediates_are_pem_or_der() -> None:
    below = INTERMEDIATE.intermediate()
    ders = (to_der(below.certificate), ABOVE)
    forms: list[bytes | Iterable[bytes]] = [below.pem + INTERMEDIATE.pem, list(ders), iter(ders), ders]
    for form in forms:
        assert Forwarded("nginx", intermediates=form).intermediates == ders
    assert Forwarded("nginx", intermediates=[]).intermediates == ()


HEAVY = to_der(with_key(INTERMEDIATE.certificate, ROOT, rsa_public_key(MAX_RSA_BITS + 1)))
ROOM = MAX_CHAIN_BYTES - MAX_LEAF_BYTES


@pytest.mark.parametrize(
    ("intermediates", "said"),
    [
        pytest.param(b"", "must have certificates, and nothing else", id="nothing"),
        pytest.param(ABOVE, "must have certificates, and nothing else", id="one in DER, in no list"),
        pytest.param(INTERMEDIATE.pem + LEAF.key_pem, "must have certificates, and nothing else", id="a key"),
        pytest.param(INTERMEDIATE.pem[:-30], "the text was cut off", id="cut off"),
        pytest.param([INTERMEDIATE.pem], "intermediate 1 is PEM text, not DER", id="PEM in a list"),
        pytest.param([ABOVE, b"0"], "intermediate 2 is not a certificate that can be read", id="not DER"),
        pytest.param([ABOVE, HEAVY], "an intermediate has an RSA key of 8193 bits", id="a heavy key"),
        pytest.param([ABOVE] * 7, "there are 7 with", id="too many"),
        pytest.param([bytes(ROOM + 1)], f"there are 1 with {ROOM + 1} bytes in all", id="too large"),
        pytest.param(LEAF.chain_pem, "number 1 is not an authority", id="a leaf"),
        pytest.param(
            [ABOVE, to_der(ROOT.intermediate(ca=None).certificate)],
            "number 2 is not an authority",
            id="no basic constraints",
        ),
    ],
)
def test_intermediates_that_are_of_no_use_are_refused(intermediates: bytes | list[bytes], said: str) -> None:
    with pytest.raises(InvalidForwarded, match=r"^intermediates: ") as caught:
        Forwarded("nginx", intermediates=intermediates)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "intermediates",
    [None, 1, "PEM", [INTERMEDIATE.pem.decode()]],
    ids=["None", "a number", "text", "texts"],
)
def test_intermediates_of_another_type_are_a_mistake_of_the_caller(intermediates: bytes) -> None:
    with pytest.raises(TypeError, match=r"of the intermediates|intermediates must be PEM bytes or DER"):
        Forwarded("nginx", intermediates=intermediates)


# -- The other arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("Nginx", "proxy 'Nginx' is not known; did you mean 'nginx'?"),
        ("aws_alb", "proxy 'aws_alb' is not known; did you mean 'aws-alb'?"),
        ("", f"proxy '' is not known; write one of: {', '.join(PROXIES)}"),
    ],
)
def test_a_proxy_that_is_not_known_is_a_mistake_of_the_caller(proxy: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        Forwarded(proxy)


def test_a_proxy_is_a_text() -> None:
    with pytest.raises(TypeError, match=r"^proxy must be a str, not bytes$"):
        Forwarded(b"nginx")  # type: ignore[arg-type]


@pytest.mark.parametrize("elements", [0, -1, MAX_ELEMENTS + 1])
def test_the_number_of_elements_is_bounded(elements: int) -> None:
    assert Forwarded("envoy", elements=MAX_ELEMENTS).elements == MAX_ELEMENTS
    with pytest.raises(
        ValueError, match=f"^elements is {elements}; it is the number of Envoys in a row, 1 to 8$"
    ):
        Forwarded("envoy", elements=elements)


@pytest.mark.parametrize("proxy", [proxy for proxy in PROXIES if proxy != "envoy"])
def test_elements_are_envoys(proxy: str) -> None:
    with pytest.raises(ValueError, match=f"^elements is for proxy='envoy' only; {proxy} writes no elements$"):
        Forwarded(proxy, elements=2)


def test_elements_are_a_number() -> None:
    with pytest.raises(TypeError, match=r"^elements must be an int, not str$"):
        Forwarded("envoy", elements="1")  # type: ignore[arg-type]


def test_it_is_a_value() -> None:
    forwarded = Forwarded("nginx", intermediates=INTERMEDIATE.pem)
    assert forwarded == Forwarded("nginx", intermediates=[ABOVE])
    assert hash(forwarded) == hash(Forwarded("nginx", intermediates=[ABOVE]))
    assert forwarded != Forwarded("nginx")
    assert repr(forwarded) == "Forwarded(proxy='nginx', intermediates=(1 certificate), elements=1)"
    with pytest.raises(AttributeError):
        forwarded.proxy = "envoy"  # type: ignore[misc]
