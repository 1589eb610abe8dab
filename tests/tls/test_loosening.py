"""Whatever a library or a user does to a context, nobody comes in who could not before."""

from __future__ import annotations

import contextlib
import copy
import inspect
import pickle
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshid import Mesh, MeshContext, Reason
from meshid.testing import CA
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    SERVERS,
    TIMEOUT,
    Heard,
    Memory,
    Serving,
    credentials,
    greet_asyncio,
    greet_blocking,
    knock,
    mesh_of,
    presenting_server,
    stranger,
    tls12,
)
from tests.tls.test_facade import (
    EACH_ROLE,
    TLS12,
    TLS13,
    admitted,
    context_of,
    generation_of,
    peer_with,
    refused,
    right_peer,
)

EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
GREETERS = {"asyncio": greet_asyncio, "blocking": greet_blocking}
EACH_CLIENT = pytest.mark.parametrize("greet", GREETERS.values(), ids=GREETERS)

OURS = "/ns/pay/sa/payments"
ERRORS = (TypeError, ValueError, AttributeError, ssl.SSLError)

Operation = Callable[[ssl.SSLContext, Path], object]
"""Does something to a context; the file has the certificate, key and root of an unknown peer."""


def setting(name: str, value: object) -> Operation:
    return lambda context, _: setattr(context, name, value)


def calling(name: str, *arguments: object) -> Operation:
    return lambda context, _: getattr(context, name)(*arguments)


IGNORED: dict[str, Operation] = {
    "load_verify_locations": lambda context, file: context.load_verify_locations(file),
    "load_verify_locations of data": lambda context, file: context.load_verify_locations(
        cadata=file.read_text()
    ),
    "load_default_certs": calling("load_default_certs"),
    "load_default_certs with a purpose": calling("load_default_certs", ssl.Purpose.SERVER_AUTH),
    "set_default_verify_paths": calling("set_default_verify_paths"),
    "an older minimum_version": setting("minimum_version", TLS12),
    "the oldest minimum_version": setting("minimum_version", ssl.TLSVersion.MINIMUM_SUPPORTED),
    "sslobject_class": setting("sslobject_class", object),
    "sslsocket_class": setting("sslsocket_class", object),
    "check_hostname = False": setting("check_hostname", value=False),
    "verify_mode = CERT_REQUIRED": setting("verify_mode", ssl.CERT_REQUIRED),
    "sni_callback = None": setting("sni_callback", None),
    "set_servername_callback(None)": calling("set_servername_callback", None),
    "an attribute of its own": setting("my_own", value=True),
}
"""What has no effect, and raises nothing."""

REFUSED: dict[str, tuple[Operation, type[Exception], str]] = {
    "load_cert_chain": (lambda it, file: it.load_cert_chain(file), TypeError, r"Mesh\(credentials="),
    "load_dh_params": (lambda it, file: it.load_dh_params(str(file)), TypeError, "leave them out"),
    "verify_mode = CERT_NONE": (
        setting("verify_mode", ssl.CERT_NONE),
        ValueError,
        "CERT_NONE.*leave verify=False out",
    ),
    "verify_mode = CERT_OPTIONAL": (setting("verify_mode", ssl.CERT_OPTIONAL), ValueError, "CERT_OPTIONAL"),
    "verify_flags": (setting("verify_flags", 0), ValueError, r"Mesh\(revocations="),
    "stricter verify_flags": (
        setting("verify_flags", ssl.VERIFY_X509_STRICT),
        ValueError,
        "the Mesh verifies",
    ),
    "hostname_checks_common_name": (
        setting("hostname_checks_common_name", value=True),
        ValueError,
        "by its SPIFFE ID",
    ),
    "post_handshake_auth": (setting("post_handshake_auth", value=True), ValueError, "in the handshake"),
    "sni_callback": (setting("sni_callback", lambda *_: None), AttributeError, "a listener of its own"),
    "set_servername_callback": (
        calling("set_servername_callback", lambda *_: None),
        AttributeError,
        "a listener of its own",
    ),
    "_msg_callback": (setting("_msg_callback", lambda *_: None), AttributeError, "audit events"),
    "__class__": (setting("__class__", ssl.SSLContext), AttributeError, "has no use for it"),
    "_host_flags": (setting("_host_flags", 0), AttributeError, "has no use for it"),
    "security_level": (setting("security_level", 0), AttributeError, "has no use for it"),
    "protocol": (setting("protocol", ssl.PROTOCOL_TLS), AttributeError, "has no use for it"),
    "set_psk_server_callback": (
        calling("set_psk_server_callback", lambda *_: b"key"),
        TypeError,
        "pre-shared",
    ),
    "set_psk_client_callback": (
        calling("set_psk_client_callback", lambda *_: b"key"),
        TypeError,
        "pre-shared",
    ),
    "no version": (
        setting("maximum_version", TLS12),
        ValueError,
        "^maximum_version would leave no version of TLS: this context offers TLS 1.3; for TLS 1.2, too,",
    ),
    "an old maximum_version": (setting("maximum_version", ssl.TLSVersion.TLSv1_1), ValueError, "no version"),
    "the oldest maximum_version": (
        setting("maximum_version", ssl.TLSVersion.MINIMUM_SUPPORTED),
        ValueError,
        "no version",
    ),
    "not a version": (setting("minimum_version", "TLSv1.3"), ValueError, "not a valid TLSVersion"),
    "options = 0": (setting("options", 0), ValueError, "cannot lose <Options.*add to them, with |="),
    "OP_LEGACY_SERVER_CONNECT": (
        lambda it, _: setattr(it, "options", it.options | 0x4),
        ValueError,
        "cannot gain 0x4: only what switches something off",
    ),
    "an option that Python does not know": (
        lambda it, _: setattr(it, "options", it.options | 1 << 40),
        ValueError,
        "cannot gain 0x10000000000",
    ),
    "options of another type": (setting("options", "all"), TypeError, "not str"),
    "set_ciphers(ALL)": (
        calling("set_ciphers", "ALL:COMPLEMENTOFALL"),
        ValueError,
        r"does not offer: '[\w-]+'.* and \d+ more: name some of those that get_ciphers\(\) lists",
    ),
    "set_ciphers(anonymous)": (
        calling("set_ciphers", "ADH-AES256-GCM-SHA384:@SECLEVEL=0"),
        ValueError,
        "'ADH-",
    ),
    "set_ciphers(RSA key exchange)": (
        calling("set_ciphers", "AES256-GCM-SHA384"),
        ValueError,
        "does not offer",
    ),
    "set_ciphers(SHA1)": (
        calling("set_ciphers", "ECDHE-RSA-AES128-SHA"),
        ValueError,
        "'ECDHE-RSA-AES128-SHA'",
    ),
    "set_ciphers at a lower level": (
        calling("set_ciphers", "ECDHE+AESGCM:@SECLEVEL=0"),
        ValueError,
        "lowers the security level",
    ),
    "set_ciphers(nothing)": (calling("set_ciphers", "NONE"), ssl.SSLError, "No cipher can be selected"),
    "set_ecdh_curve": (calling("set_ecdh_curve", "sect233k1"), ValueError, "is not one of X25519"),
    "set_alpn_protocols": (calling("set_alpn_protocols", "h2"), TypeError, r"write \['h2'\]"),
}

REFUSED_ON_SERVERS: dict[str, tuple[Operation, type[Exception], str]] = {
    "check_hostname": (setting("check_hostname", value=True), ValueError, "the policy says who may come"),
    "more tickets": (setting("num_tickets", 2), ValueError, "resumption=True"),
    "fewer tickets than none": (setting("num_tickets", -1), ValueError, "at most 0"),
    "tickets of another type": (setting("num_tickets", "2"), TypeError, "not str"),
}

REFUSED_ON_CLIENTS: dict[str, tuple[Operation, type[Exception], str]] = {
    "num_tickets": (setting("num_tickets", 0), ValueError, "for servers"),
}

ATTEMPTS: dict[str, Operation] = {
    **IGNORED,
    **{name: operation for name, (operation, *_) in {**REFUSED, **REFUSED_ON_SERVERS}.items()},
}


@pytest.fixture
def strange_file(dev_ca: CA, tmp_path: Path) -> Path:
    file = tmp_path / "strange.pem"
    strange = dev_ca.issue(OURS)
    file.write_bytes(strange.key_pem + strange.chain_pem + dev_ca.pem)
    return file


def refusals(*tables: dict[str, tuple[Operation, type[Exception], str]]) -> pytest.MarkDecorator:
    rows = {name: row for table in tables for name, row in table.items()}
    return pytest.mark.parametrize(("attempt", "error", "says"), rows.values(), ids=rows)


class TestTheTable:
    @EACH_ROLE
    @pytest.mark.parametrize("attempt", IGNORED.values(), ids=IGNORED)
    def test_what_libraries_do_in_passing_changes_nothing(
        self, attempt: Operation, role: str, mesh: Mesh, strange_file: Path
    ) -> None:
        context = context_of(mesh, role)
        shown, generation, own = shown_by(context), generation_of(context), set(vars(context))
        attempt(context, strange_file)
        assert shown_by(context) == shown
        assert generation_of(context) is generation
        assert set(vars(context)) - own <= {"my_own"}

    @EACH_ROLE
    @refusals(REFUSED)
    def test_what_would_loosen_is_an_error_that_says_what_to_do(  # noqa: PLR0913, PLR0917  # one row of a table
        self, attempt: Operation, error: type[Exception], says: str, role: str, mesh: Mesh, strange_file: Path
    ) -> None:
        refuse(context_of(mesh, role), attempt, error, says, strange_file)

    @refusals(REFUSED_ON_SERVERS)
    def test_on_servers(
        self, attempt: Operation, error: type[Exception], says: str, mesh: Mesh, strange_file: Path
    ) -> None:
        refuse(mesh.server_context(), attempt, error, says, strange_file)

    @refusals(REFUSED_ON_CLIENTS)
    def test_on_clients(
        self, attempt: Operation, error: type[Exception], says: str, mesh: Mesh, strange_file: Path
    ) -> None:
        refuse(mesh.client_context("/**"), attempt, error, says, strange_file)

    def test_more_tickets_than_it_was_made_with(self, mesh: Mesh) -> None:
        with pytest.raises(ValueError, match=r"^num_tickets cannot be 3, it is at most 2$"):
            mesh.server_context(resumption=True).num_tickets = 3

    @EACH_ROLE
    @pytest.mark.parametrize(
        "make_another", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
    )
    def test_there_is_only_one(self, make_another: Callable[[object], object], role: str, mesh: Mesh) -> None:
        with pytest.raises(TypeError, match=r"make another one, by Mesh.server_context\(\)"):
            make_another(context_of(mesh, role))

    def test_each_name_of_a_plain_context_was_thought_of(self) -> None:
        """A name that a new Python adds belongs into a table here, and into the docs."""
        names = {name for name in dir(ssl.SSLContext) if not name.startswith("__")}
        assert names <= THOUGHT_OF


THOUGHT_OF = {
    # Shown, and true: test_facade.py
    "cert_store_stats",
    "get_ca_certs",
    "get_ciphers",
    "protocol",
    "security_level",
    "session_stats",
    # Set, where it narrows: test_facade.py
    "keylog_filename",
    "maximum_version",
    "minimum_version",
    "num_tickets",
    "options",
    "set_alpn_protocols",
    "set_ciphers",
    "set_ecdh_curve",
    # Ignored, or refused
    "check_hostname",
    "hostname_checks_common_name",
    "load_cert_chain",
    "load_default_certs",
    "load_dh_params",
    "load_verify_locations",
    "post_handshake_auth",
    "set_default_verify_paths",
    "set_psk_client_callback",
    "set_psk_server_callback",
    "set_servername_callback",
    "sni_callback",
    "sslobject_class",
    "sslsocket_class",
    "verify_flags",
    "verify_mode",
    "_host_flags",
    "_msg_callback",
    # A connection is made by the generation in force
    "wrap_bio",
    "wrap_socket",
    # The ssl module's own
    "_encode_hostname",
    "_load_windows_store_certs",
    "_set_alpn_protocols",
    "_windows_cert_stores",
    "_wrap_bio",
    "_wrap_socket",
    # Fails as in a plain context: OpenSSL has no NPN any more
    "set_npn_protocols",
}


def refuse(context: MeshContext, attempt: Operation, error: type[Exception], says: str, file: Path) -> None:
    shown, generation = shown_by(context), generation_of(context)
    with pytest.raises(error, match=says):
        attempt(context, file)
    assert shown_by(context) == shown
    assert generation_of(context) is generation


def shown_by(context: ssl.SSLContext) -> dict[str, object]:
    """Return all that can be read, as it is read."""
    names = [name for name in dir(ssl.SSLContext) if inspect.isdatadescriptor(getattr(ssl.SSLContext, name))]
    shown = {name: getattr(context, name) for name in names if name not in {"__weakref__", "__dict__"}}
    return {**shown, "ciphers": context.get_ciphers(), "store": context.get_ca_certs(binary_form=True)}


class TestHandshakes:
    """After all of these attempts, with real sockets and loops."""

    @EACH_SERVER
    def test_a_server_serves_and_refuses_as_before(  # noqa: PLR0913, PLR0917  # fixtures
        self, serve: Serving, mesh: Mesh, heard: Heard, prod_ca: CA, dev_ca: CA, strange_file: Path
    ) -> None:
        context = mesh.server_context()
        attempt_all(context, strange_file)
        # What the facade was told could take effect only when the next generation is built.
        mesh.publish(credentials=credentials(prod_ca))
        with serve(context) as service:
            for client, reason in (
                (dev_ca.issue(PATH), Reason.UNKNOWN_TRUST_DOMAIN),
                (dev_ca.issue(f"spiffe://prod.example.org{PATH}"), Reason.UNKNOWN_AUTHORITY),
                (None, Reason.NO_CERTIFICATE),
            ):
                assert knock(service.port, stranger(client)).answer == b""
                assert heard.reason() is reason
            assert knock(service.port, tls12(stranger(prod_ca.issue(PATH)))).answer == b""
            assert service.seen == []
            visit = knock(service.port, stranger(prod_ca.issue(PATH)))
            assert visit.answer == f"spiffe://prod.example.org{PATH}\n".encode()
            assert mesh.snapshot.credentials is not None
            assert visit.presented == mesh.snapshot.credentials.chain[0]
        assert heard.reason() is Reason.ALLOWED
        assert heard.is_quiet()

    @EACH_CLIENT
    def test_a_client_is_served_and_refuses_as_before(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        greet: Callable[[int, ssl.SSLContext], bytes],
        mesh: Mesh,
        heard: Heard,
        prod_ca: CA,
        dev_ca: CA,
        strange_file: Path,
    ) -> None:
        context = mesh.client_context([PATH])
        attempt_all(context, strange_file)
        mesh.publish(credentials=credentials(prod_ca))
        for server, reason in (
            (dev_ca.issue(PATH), Reason.UNKNOWN_TRUST_DOMAIN),
            (dev_ca.issue(f"spiffe://prod.example.org{PATH}"), Reason.UNKNOWN_AUTHORITY),
            (prod_ca.issue("/ns/shop/sa/other"), Reason.UNEXPECTED_SERVER),
            (prod_ca.issue(PATH), Reason.EXPECTED),
        ):
            with presenting_server(server) as port:
                assert greet(port, context) == (HELLO if reason is Reason.EXPECTED else b"")
            assert heard.reason() is reason

    def test_the_attempts_would_loosen_a_plain_context(
        self, prod_ca: CA, dev_ca: CA, strange_file: Path
    ) -> None:
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue(OURS).load_into(plain)
        plain.verify_mode = ssl.CERT_REQUIRED
        both = Memory(plain, stranger(dev_ca.issue(PATH)))
        with pytest.raises(ssl.SSLCertVerificationError):
            both.shake_hands()
        IGNORED["load_verify_locations"](plain, strange_file)
        Memory(plain, stranger(dev_ca.issue(PATH))).shake_hands()


def attempt_all(context: ssl.SSLContext, file: Path) -> None:
    for attempt in ATTEMPTS.values():
        with contextlib.suppress(*ERRORS):
            attempt(context, file)


# -- As a plain context -------------------------------------------------------

# Wraps a socket: a client's, if there is a host name.
Wrap = Callable[[ssl.SSLContext, socket.socket, str | None], ssl.SSLSocket]


class PlainContext(ssl.SSLContext):
    """What Sanic and eventlet turn contexts into."""


def wrapped_by_the_base_class(
    context: ssl.SSLContext, sock: socket.socket, host: str | None
) -> ssl.SSLSocket:
    return ssl.SSLContext.wrap_socket(context, sock, server_side=host is None, server_hostname=host)


def created_as_eventlet_does(context: ssl.SSLContext, sock: socket.socket, host: str | None) -> ssl.SSLSocket:
    create: Callable[..., ssl.SSLSocket] = ssl.SSLSocket._create  # type: ignore[attr-defined]  # noqa: SLF001
    return create(sock=sock, server_side=host is None, server_hostname=host, context=context)


def turned_into_another_class(
    context: ssl.SSLContext, sock: socket.socket, host: str | None
) -> ssl.SSLSocket:
    # Assigning to `__class__` raises.
    object.__setattr__(context, "__class__", PlainContext)
    return context.wrap_socket(sock, server_side=host is None, server_hostname=host)


def swapped_in_by_name(context: ssl.SSLContext, sock: socket.socket, host: str | None) -> ssl.SSLSocket:
    """A listener of another library, whose SNI callback swaps ours in."""
    theirs = ssl.SSLContext(context.protocol)
    CA("their.example").issue(PATH).load_into(theirs)
    theirs.set_servername_callback(lambda tls, *_: setattr(tls, "context", context))
    return theirs.wrap_socket(sock, server_side=host is None, server_hostname=host)


def swapped_in_with_a_certificate_asked_for(
    context: ssl.SSLContext, sock: socket.socket, host: str | None
) -> ssl.SSLSocket:
    theirs = ssl.SSLContext(context.protocol)
    CA("their.example").issue(PATH).load_into(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    theirs.set_servername_callback(lambda tls, *_: setattr(tls, "context", context))
    return theirs.wrap_socket(sock, server_side=host is None, server_hostname=host)


ANYWHERE: dict[str, Wrap] = {
    "wrap_socket of the base class": wrapped_by_the_base_class,
    "SSLSocket._create": created_as_eventlet_does,
    "another class": turned_into_another_class,
}
ON_SERVERS: dict[str, Wrap] = {
    **ANYWHERE,
    "their SNI callback": swapped_in_by_name,
    "their SNI callback, and they ask for a certificate": swapped_in_with_a_certificate_asked_for,
}
EACH_ATTEMPT_TO_LOAD = pytest.mark.parametrize(
    "loading", [False, True], ids=["as it is", "after load_cert_chain"]
)


class TestAsAPlainContext:
    """It has no certificate and trusts nobody, so that nothing comes of it."""

    @EACH_ATTEMPT_TO_LOAD
    @pytest.mark.parametrize("newest", [TLS12, TLS13])
    @pytest.mark.parametrize("wrap", ON_SERVERS.values(), ids=ON_SERVERS)
    def test_no_client_comes_in(  # noqa: PLR0913  # fixtures
        self,
        wrap: Wrap,
        newest: ssl.TLSVersion,
        *,
        loading: bool,
        mesh: Mesh,
        prod_ca: CA,
        strange_file: Path,
    ) -> None:
        for credentials_of_client in (prod_ca.issue(PATH), None):
            context = mesh.server_context(minimum_version=TLS12)
            load(context, strange_file, loading=loading)
            client = stranger(credentials_of_client)
            client.maximum_version = newest
            assert heard_by(wrap, context, client) == b""

    @EACH_ATTEMPT_TO_LOAD
    @pytest.mark.parametrize("newest", [TLS12, TLS13])
    @pytest.mark.parametrize("wrap", ANYWHERE.values(), ids=ANYWHERE)
    def test_no_server_is_trusted(  # noqa: PLR0913  # fixtures
        self,
        wrap: Wrap,
        newest: ssl.TLSVersion,
        *,
        loading: bool,
        mesh: Mesh,
        prod_ca: CA,
        dev_ca: CA,
        strange_file: Path,
    ) -> None:
        context = mesh.client_context([PATH], minimum_version=TLS12)
        load(context, strange_file, loading=loading)
        for issuer in (prod_ca, dev_ca):
            with presenting_server(issuer.issue(PATH, dns=["localhost"]), newest) as port:
                plain = socket.create_connection((HOST, port), TIMEOUT)
                with plain, pytest.raises(ssl.SSLCertVerificationError):
                    wrap(context, plain, "localhost")


def load(context: MeshContext, file: Path, *, loading: bool) -> None:
    if loading:
        context.load_verify_locations(file)
        with pytest.raises(TypeError):
            context.load_cert_chain(file)


def heard_by(wrap: Wrap, context: ssl.SSLContext, client: ssl.SSLContext) -> bytes:
    """Return what a server heard from a client; nothing, if there was no handshake."""
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT)
    theirs.settimeout(TIMEOUT)

    def visit() -> None:
        with theirs, contextlib.suppress(OSError):
            tls = client.wrap_socket(theirs, server_hostname="our.example")
            with tls:
                tls.sendall(HELLO)
                tls.recv(1)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(visit)
        try:
            with ours, wrap(context, ours, None) as tls:
                return tls.recv(len(HELLO))
        except ssl.SSLError:
            return b""


# -- Any sequence -------------------------------------------------------------

TLS_VERSIONS = st.sampled_from(list(ssl.TLSVersion))
OPTIONS = st.one_of(st.sampled_from(list(ssl.Options)), st.integers(0, (1 << 36) - 1))
CIPHERS = st.lists(
    st.sampled_from(
        [
            "ECDHE+AESGCM",
            "ECDHE+CHACHA20",
            "DHE+AES",
            "ALL",
            "aNULL",
            "eNULL",
            "kRSA",
            "SHA1",
            "@SECLEVEL=0",
            "@SECLEVEL=3",
            "!ECDHE",
            "-ALL",
            "@STRENGTH",
            "TLS_AES_128_GCM_SHA256",
        ]
    ),
    min_size=1,
    max_size=4,
).map(":".join)
STEPS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(setting, st.sampled_from(["minimum_version", "maximum_version"]), TLS_VERSIONS),
    st.builds(setting, st.just("options"), OPTIONS),
    st.builds(lambda more: lambda it, _: setattr(it, "options", it.options | more), OPTIONS),
    st.builds(lambda less: lambda it, _: setattr(it, "options", it.options & ~less), OPTIONS),
    st.builds(calling, st.just("set_ciphers"), CIPHERS),
    st.builds(calling, st.just("set_ecdh_curve"), st.sampled_from(["X25519", "secp384r1", "sect233k1"])),
    st.builds(calling, st.just("set_alpn_protocols"), st.lists(st.sampled_from(["h2", "http/1.1"]))),
    st.builds(setting, st.just("num_tickets"), st.integers(-1, 4)),
    st.builds(setting, st.just("verify_flags"), st.integers(0, 0xFFFFF)),
    st.sampled_from(list(ATTEMPTS.values())),
)


@attrs.frozen
class Offered:
    """What the connections of a context may be."""

    versions: frozenset[ssl.TLSVersion]
    ciphers: frozenset[str]
    curbs: int
    security_level: int
    tickets: int
    rest: tuple[object, ...]

    @classmethod
    def by(cls, context: ssl.SSLContext) -> Self:
        # -1 and -2 stand for the newest and the oldest one.
        newest = context.maximum_version if context.maximum_version > 0 else TLS13
        oldest = context.minimum_version
        switched_off = {TLS12: ssl.OP_NO_TLSv1_2, TLS13: ssl.OP_NO_TLSv1_3}
        return cls(
            frozenset(
                version
                for version in ssl.TLSVersion
                if oldest <= version <= newest and not context.options & switched_off.get(version, 0)
            ),
            frozenset(each["name"] for each in context.get_ciphers()),
            # Without the first, a connection that was cut off is told apart from one that ended.
            int(context.options) & ~int(ssl.OP_IGNORE_UNEXPECTED_EOF | ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3),
            context.security_level,
            context.num_tickets if context.protocol is ssl.PROTOCOL_TLS_SERVER else 0,
            (context.verify_mode, context.verify_flags, context.post_handshake_auth, context.sni_callback),
        )

    def is_within(self, limits: Self) -> bool:
        return (
            frozenset() != self.versions <= limits.versions
            and self.ciphers <= limits.ciphers
            and not limits.curbs & ~self.curbs
            and not self.curbs & ~limits.curbs & ~ADDABLE
            and self.security_level >= limits.security_level
            and self.tickets <= limits.tickets
            and self.rest == limits.rest
        )


NO_COMPRESSED_CERTIFICATES = 1 << 33
ADDABLE = int(ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TICKET)


class TestAnySequence:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:ssl.(OP_NO|TLSVersion):DeprecationWarning")
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        role=st.sampled_from(["server", "client"]),
        oldest=st.sampled_from([TLS12, TLS13]),
        steps=st.lists(STEPS, max_size=8),
    )
    def test_offers_nothing_more_and_admits_nobody_else(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        role: str,
        oldest: ssl.TLSVersion,
        steps: list[Operation],
        prod_ca: CA,
        dev_ca: CA,
        strange_file: Path,
    ) -> None:
        context = context_of(mesh_of(prod_ca), role, oldest)
        limits = Offered.by(generation_of(context))
        for step in steps:
            with contextlib.suppress(*ERRORS):
                step(context, strange_file)
        generation = generation_of(context)
        shown, offered = Offered.by(context), Offered.by(generation)
        assert offered.is_within(limits)
        assert attrs.evolve(shown, curbs=offered.curbs) == offered
        assert offered.curbs & ~ADDABLE == (shown.curbs | NO_COMPRESSED_CERTIFICATES) & ~ADDABLE
        assert not generation.check_hostname
        for forged in (dev_ca.issue(f"spiffe://prod.example.org{PATH}"), dev_ca.issue(PATH)):
            refused(context, peer_with(forged, context))
        if not steps:
            admitted(context, right_peer(context, prod_ca))


def test_a_version_that_the_context_was_made_with_is_not_asked_for_again(mesh: Mesh) -> None:
    context = mesh.server_context(minimum_version=TLS12)
    context.maximum_version = TLS12
    with pytest.raises(ValueError, match=r"would leave no version of TLS: this context offers TLS 1\.2$"):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
