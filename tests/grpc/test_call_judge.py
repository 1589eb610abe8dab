"""What gRPC tells of a connection, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import Mesh, PeerRejected, Reason
from meshid.certificates.reading import to_pem
from meshid.grpc import PeerInterceptor
from meshid.grpc.call_judge import LONGEST_METHOD, LONGEST_PEM, CallJudge, _authorization_in, address_in
from meshid.testing import CA
from tests.helpers.grpc_servers import GET, Scene
from tests.helpers.tls_peers import Heard, mesh_of, policy


class Told:
    """What gRPC tells of a connection."""

    def __init__(self, leaf: bytes, others: bytes = b"") -> None:
        self._known = {"x509_pem_cert": [leaf], "x509_pem_cert_chain": [others]}

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        return self._known

    def peer(self) -> str:
        return "unix:"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def told(chain: Sequence[bytes]) -> Told:
    return Told(to_pem(chain[:1]), to_pem(chain[1:]))


def no_op(_: PeerRejected) -> None:
    """End nothing."""


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("ipv4:127.0.0.1:443", ("127.0.0.1", 443)),
        ("ipv6:%5B::1%5D:443", ("::1", 443)),
        ("ipv6:[fe80::1%25eth0]:1", ("fe80::1%eth0", 1)),
        ("unix:/run/x.sock", None),
        ("unix:", None),
        ("ipv4:127.0.0.1", None),
        ("ipv4:a:\\u0661", None),
        ("", None),
    ],
    ids=ascii,
)
def test_the_address_of_a_peer_is_read(uri: str, address: tuple[str, int] | None) -> None:
    assert address_in(uri) == address


@given(st.one_of(st.text(), st.from_regex(r"ipv[46]:[0-9:.%\\[\\]A-F]*")))
def test_any_text_is_an_address_or_none(uri: str) -> None:
    found = address_in(uri)
    assert found is None or found[1] >= 0


def test_a_text_that_is_no_pem_is_refused(scene: Scene) -> None:
    judge = CallJudge(scene.mesh, None)
    for leaf, others in (
        (b"x", b""),
        (b"-----BEGIN CERTIFICATE-----", b""),
        (to_pem(scene.checkout.chain[:1]), b"-----END "),
    ):
        with pytest.raises(PeerRejected) as rejected:
            judge.watch(GET, None, Told(leaf, others), no_op)
        assert rejected.value.reason in {Reason.MALFORMED, Reason.NO_CERTIFICATE}


def test_only_what_was_admitted_is_remembered_and_not_what_is_long(scene: Scene) -> None:
    judge = CallJudge(scene.mesh, None)
    leaf, others = to_pem(scene.checkout.chain[:1]), to_pem(scene.checkout.chain[1:])

    def remembers() -> tuple[int, int]:
        return len(judge._chains), len(judge._requests)  # noqa: SLF001 - what it takes to remember is the claim

    with pytest.raises(PeerRejected):
        judge.watch(GET, None, told(scene.nobody.chain), no_op)
    assert remembers() == (0, 0)
    for _ in range(2):
        judge.watch(GET, None, Told(leaf, others), no_op).done()
        assert remembers() == (1, 1)
    judge.watch(GET + LONGEST_METHOD * "x", None, Told(leaf, others), no_op).done()
    judge.watch(GET, None, Told(leaf, LONGEST_PEM * b" " + others), no_op).done()
    assert remembers() == (1, 1)


def test_a_mistake_of_the_calling_code_is_told_when_the_interceptor_is_made(scene: Scene) -> None:
    with pytest.raises(TypeError, match=r"^target must be a str, not int$"):
        PeerInterceptor(scene.mesh, target=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^no target: "):
        PeerInterceptor(Mesh())
    with pytest.raises(TypeError, match="mesh must be a Mesh, not Policy"):
        PeerInterceptor(scene.mesh.snapshot.policy)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["authorization", "x-authorization", "authorization-bin"]),
            st.text(max_size=9) | st.binary(max_size=9),
        ),
        max_size=3,
    )
)
def test_whatever_is_in_the_metadata_it_is_a_text_or_nothing(metadata: list[tuple[str, str | bytes]]) -> None:
    found = _authorization_in(metadata)
    assert (found is None) is ("authorization" not in dict(metadata))
    assert _authorization_in(None) is None


def test_what_stays_encoded_is_a_character_of_a_method() -> None:
    rules = policy(
        """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "calls"
from = ["/**"]
to = ["payments"]
http = ["POST /a.B/C%3B*"]
"""
    )
    ca, heard = CA("prod.example.org"), Heard()
    chain = ca.issue("/ns/shop/sa/web").chain
    judge = CallJudge(mesh_of(ca, policy=rules, audit=heard, keep_encoded=["%3B", "%25"]), None)
    judge.watch("/a.B/C;%2F", None, told(chain), no_op).done()
    assert heard.next().decision.request == "POST /a.B/C%3B%252F"
    with pytest.raises(PeerRejected) as rejected:
        judge.watch("/a.B/C;#", None, told(chain), no_op)
    assert rejected.value.reason is Reason.UNSAFE_REQUEST
