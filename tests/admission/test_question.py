"""A wrong argument is the caller's mistake: a `TypeError` or a `ValueError` that says what to pass."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import Mesh, Peer, PeerPattern, PeerRejected, Reason, SpiffeId
from meshid.admission.question import patterns_of
from meshid.testing import CA
from tests.helpers.tls_peers import PATH, mesh_of

SERVER = "spiffe://prod.example.org/ns/payments/sa/api"


@pytest.fixture(scope="module")
def ca() -> CA:
    return CA("prod.example.org")


@pytest.fixture(scope="module")
def mesh(ca: CA) -> Mesh:
    return mesh_of(ca)


@pytest.fixture(scope="module")
def chain(ca: CA) -> tuple[bytes, ...]:
    return ca.issue(PATH).chain


Peers = dict[str, tuple[Mesh, Peer]]


@pytest.fixture(scope="module")
def peers(mesh: Mesh, chain: tuple[bytes, ...]) -> Peers:
    """A peer in each role, and the mesh that admitted it."""
    return {"client": (mesh, mesh.admit(chain)), "server": (mesh, mesh.admit(chain, expect="/**"))}


class TestExpect:
    """One name or several, as `str`, `SpiffeId` or `PeerPattern`, wherever a server is expected."""

    @pytest.mark.parametrize(
        "expect",
        [
            SERVER,
            "/ns/payments/sa/*",
            SpiffeId.parse(SERVER),
            PeerPattern.parse("/ns/payments/**"),
            [SERVER],
            {SpiffeId.parse(SERVER)},
            iter(["/ns/other/sa/api", PeerPattern.parse("/ns/payments/sa/api")]),
        ],
        ids=["id", "pattern", "SpiffeId", "PeerPattern", "list", "set", "iterator"],
    )
    def test_is_taken_everywhere(self, mesh: Mesh, ca: CA, expect: object) -> None:
        names = patterns_of(expect)
        assert names
        server = mesh.admit(ca.issue("/ns/payments/sa/api").chain, expect=names)
        assert str(server.spiffe_id) == SERVER
        assert mesh.check(server, expect=names).allowed
        mesh.client_context(expect=names)

    def test_of_one_pattern_is_that_pattern(self) -> None:
        assert patterns_of("/a/*") == (PeerPattern.parse("/a/*"),)

    @pytest.mark.parametrize(
        ("expect", "message"),
        [
            pytest.param(
                "payments.example.org",
                "expect has 'payments.example.org', a host name; name the server by its SPIFFE ID,"
                " such as '/ns/pay/sa/api' or 'spiffe://partner.example/ns/pay/**'",
                id="host name",
            ),
            pytest.param(
                ["/a", "payments:8443"],
                "expect has 'payments:8443', a host name; name the server by its SPIFFE ID,"
                " such as '/ns/pay/sa/api' or 'spiffe://partner.example/ns/pay/**'",
                id="host name with a port",
            ),
            pytest.param(
                [],
                "expect is empty, and no server could match it; name the server, such as '/ns/pay/sa/api'",
                id="empty",
            ),
            pytest.param(
                "spiffe://prod.example.org",
                "'spiffe://prod.example.org' names no workload: write 'spiffe://prod.example.org/**' for all"
                " of them",
                id="no path",
            ),
        ],
    )
    def test_of_a_name_that_no_server_can_have_is_a_value_error(
        self, mesh: Mesh, chain: tuple[bytes, ...], expect: list[str], message: str
    ) -> None:
        for call in (mesh.client_context, lambda expect: mesh.admit(chain, expect=expect)):
            with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
                call(expect)
            assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("expect", "kind"), [(5, "int"), (b"/a", "bytes"), ([None], "None"), ([5], "int")]
    )
    def test_of_another_type_is_a_type_error(self, mesh: Mesh, expect: list[str], kind: str) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.client_context(expect)
        assert str(caught.value) == (
            f"expect must be a SPIFFE ID or pattern as str, SpiffeId or PeerPattern, or several, not {kind}"
        )

    def test_of_none_makes_no_client_context(self, mesh: Mesh) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.client_context(None)  # type: ignore[arg-type]
        assert str(caught.value) == "expect must name the server, such as '/ns/pay/sa/api', not None"


class TestChain:
    @pytest.mark.parametrize(
        ("wrong", "kind"), [(b"0\x82", "bytes"), ("-----BEGIN", "str"), (None, "None"), ({b"x"}, "set")]
    )
    def test_that_is_not_a_sequence_is_a_type_error(self, mesh: Mesh, wrong: list[bytes], kind: str) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.admit(wrong)
        assert str(caught.value) == (
            f"chain must be a sequence of DER certificates as bytes, leaf first, not {kind}"
        )

    def test_of_something_else_than_bytes_is_a_type_error(self, mesh: Mesh, chain: tuple[bytes, ...]) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.admit([*chain, "a"])  # type: ignore[list-item]
        assert str(caught.value) == f"chain[{len(chain)}] must be a DER certificate as bytes, not str"

    def test_of_pem_is_a_refusal_for_a_peer_may_have_sent_it(self, mesh: Mesh, ca: CA) -> None:
        with pytest.raises(PeerRejected) as caught:
            mesh.admit([ca.issue(PATH).chain_pem])
        assert caught.value.reason is Reason.MALFORMED
        assert "PEM" in caught.value.detail


class TestTarget:
    MISSING = (
        "no target: pass target=, or give the mesh a name with Mesh(service=...) or MESHID_SERVICE;"
        " for a peer that is a server, pass expect="
    )

    def test_that_is_missing_is_a_value_error(self, ca: CA, chain: tuple[bytes, ...]) -> None:
        mesh = Mesh(bundles=mesh_of(ca).snapshot.bundles, credentials=ca.issue("/ns/payments/sa/api").svid)
        peer = mesh_of(ca).admit(chain)
        for call in (mesh.server_context, lambda: mesh.admit(chain), lambda: mesh.check(peer)):
            with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
                call()
            assert str(caught.value) == self.MISSING

    def test_of_another_type_is_a_type_error(self, mesh: Mesh, chain: tuple[bytes, ...]) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.admit(chain, target=["payments"])  # type: ignore[arg-type]
        assert str(caught.value) == "target must be a str, not list"


class TestOther:
    def test_request_of_another_type_is_a_type_error(self, mesh: Mesh, chain: tuple[bytes, ...]) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.admit(chain, request=("GET", "/"))  # type: ignore[arg-type]
        assert str(caught.value) == (
            "request must be a Request, a str such as 'GET /path', REQUEST_FOLLOWS or None, not tuple"
        )

    def test_peer_of_another_type_is_a_type_error(self, mesh: Mesh) -> None:
        with pytest.raises(TypeError) as caught:
            mesh.check("spiffe://prod.example.org/a")  # type: ignore[arg-type]
        assert str(caught.value) == "peer must be a Peer from Mesh.admit() or peer_of(), not str"

    def test_peer_that_is_a_client_is_expected_by_nobody(self, mesh: Mesh, chain: tuple[bytes, ...]) -> None:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
            mesh.check(mesh.admit(chain), expect="/a")
        assert str(caught.value) == "the peer is a client: pass expect= for a server, and for a server only"

    @pytest.mark.parametrize(
        ("alpn", "error", "message"),
        [
            ("h2", TypeError, "alpn must be a list of protocols: write ['h2']"),
            (5, TypeError, "alpn must be a list of protocols as str, not int"),
            ([b"h2"], TypeError, "alpn must be a list of protocols as str, not of bytes"),
            ([""], ValueError, "alpn has '', which is not 1 to 255 ASCII characters"),
            (["é"], ValueError, "alpn has '\\xe9', which is not 1 to 255 ASCII characters"),
        ],
    )
    def test_alpn_that_cannot_be_offered(
        self, mesh: Mesh, alpn: list[str], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error) as caught:
            mesh.server_context(alpn=alpn)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("version", "error", "shown"),
        [
            (ssl.TLSVersion.TLSv1_1, ValueError, repr(ssl.TLSVersion.TLSv1_1)),
            ("TLSv1.2", TypeError, "'TLSv1.2'"),
            (None, TypeError, "None"),
        ],
        ids=["too old", "text", "None"],
    )
    def test_version_of_tls(
        self, mesh: Mesh, version: ssl.TLSVersion, error: type[Exception], shown: str
    ) -> None:
        with pytest.raises(error) as caught:
            mesh.server_context(minimum_version=version)
        assert str(caught.value) == (
            f"minimum_version must be ssl.TLSVersion.TLSv1_3 or ssl.TLSVersion.TLSv1_2, not {shown}"
        )

    @pytest.mark.parametrize(
        ("part", "message"),
        [
            (
                "credentials",
                "credentials must be an X509Svid or None, such as X509Svid.from_pem(chain, key), not str",
            ),
            ("bundles", "bundles must be a BundleSet, such as BundleSet([bundle, ...]), not str"),
            (
                "policy",
                "policy must be a Policy or None, such as Policy.load(path, environment=...), not str",
            ),
            (
                "revocations",
                "revocations must be a Revocations, such as Revocations(crls=[...], deny=[...]), not str",
            ),
            ("service", "service must be a str, the name of this service, not int"),
            ("audit", "audit must be callable, not str"),
            ("on_revoked", "on_revoked must be callable, not str"),
        ],
    )
    def test_part_of_another_type_is_a_type_error(self, part: str, message: str) -> None:
        with pytest.raises(TypeError) as caught:
            Mesh(**{part: 5 if part == "service" else "x"})  # type: ignore[arg-type]
        assert str(caught.value) == message


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.just(object()),
    st.lists(st.one_of(st.text(), st.binary(), st.integers(), st.none())),
    st.sets(st.text()),
    st.dictionaries(st.text(), st.integers()),
    st.sampled_from(["GET /", "/ns/a/sa/b", "spiffe://prod.example.org/a", "payments", int, Mesh, len]),
)


class TestNoArgumentIsAnInternalError:
    """`INTERNAL_ERROR` is for faults inside meshid: any object for any argument ends otherwise."""

    @given(chain=ANYTHING, target=ANYTHING, request=ANYTHING, expect=ANYTHING)
    def test_of_admit(
        self, mesh: Mesh, chain: object, target: object, request: object, expect: object
    ) -> None:
        try:
            mesh.admit(chain, target=target, request=request, expect=expect)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return
        except PeerRejected as rejection:
            assert rejection.reason is not Reason.INTERNAL_ERROR

    @given(target=ANYTHING, request=ANYTHING, expect=ANYTHING, role=st.sampled_from(["client", "server"]))
    def test_of_check_with_a_right_peer(
        self, peers: Peers, target: object, request: object, expect: object, role: str
    ) -> None:
        mesh, peer = peers[role]
        try:
            decision = mesh.check(peer, target=target, request=request, expect=expect)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return
        assert decision.reason is not Reason.INTERNAL_ERROR

    @given(peer=ANYTHING)
    def test_of_check(self, mesh: Mesh, peer: object) -> None:
        with pytest.raises(TypeError):
            mesh.check(peer)  # type: ignore[arg-type]

    @given(expect=ANYTHING, alpn=ANYTHING, version=ANYTHING)
    def test_of_client_context(self, mesh: Mesh, expect: object, alpn: object, version: object) -> None:
        with pytest.raises((TypeError, ValueError)):
            mesh.client_context(expect, alpn, minimum_version=version)  # type: ignore[arg-type]
