"""Every decision explains itself, in one event, whatever a stranger wrote into it."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import AuditEvent, Call, Decision, JsonFormatter, Mesh, PeerRejected, Reason
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.audit.event import new_limits, record, wants
from meshid.audit.rate_limit import BURST, MAX_KINDS, TOTAL_BURST, RateLimit
from meshid.certificates.chain import MAX_LEAF_BYTES
from meshid.certificates.reading import to_der
from meshid.policy.evidence import Binding, TokenEvidence
from meshid.testing import CA
from tests.helpers.tls_peers import PATH, Heard, mesh_of
from tests.helpers.world import padding

HASH = "ab" * 32


def event(from_: str | None = None, **parts: object) -> AuditEvent:
    decision: dict[str, object] = {"allowed": False, "reason": Reason.NO_RULE, **parts}
    return AuditEvent(
        time=1_800_000_000.5,
        call=Call.ADMIT,
        decision=Decision(**decision),  # type: ignore[arg-type]
        role="client",
        leaf=b"a leaf",
        local_name=None,
        environment="prod",
        generation=3,
        connection=ConnectionInfo(address=from_),
    )


def as_json(of: AuditEvent) -> str:
    entry = logging.LogRecord("meshid.audit", logging.WARNING, __file__, 1, "%s", (of,), None)
    entry.meshid = of
    return JsonFormatter().format(entry)


def test_an_event_is_flat_and_holds_what_there_is() -> None:
    told = event(rule="shop", policy_hash=HASH, name="spiffe://prod.example.org/x", target="payments")
    assert told.as_dict() == {
        "time": "2027-01-15T08:00:00.500+00:00",
        "event.name": "meshid.peer.admit",
        "meshid.decision": "deny",
        "meshid.reason": "no_rule",
        "meshid.peer.spiffe_id": "spiffe://prod.example.org/x",
        "meshid.peer.role": "client",
        "meshid.target": "payments",
        "meshid.generation": 3,
        "deployment.environment.name": "prod",
        "security_rule.name": "shop",
        "security_rule.version": HASH,
        "tls.client.hash.sha256": hashlib.sha256(b"a leaf").hexdigest().upper(),
    }


def test_an_event_is_a_line_for_a_person() -> None:
    assert str(event()) == "refused an unnamed client: no_rule"
    told = event(
        allowed=True,
        reason=Reason.ALLOWED,
        rule="shop",
        name="spiffe://prod.example.org/x",
        target="payments",
        request="GET /charges",
        detail="why",
    )
    assert str(told) == (
        "admitted spiffe://prod.example.org/x at 'payments' for 'GET /charges': allowed, rule shop (why)"
    )


TOKEN = TokenEvidence(
    issuer="okta",
    principal="0oa1",
    binding=Binding.CERTIFICATE,
    key="k" * 43,
    key_id="key-1",
    token_id="AT.7",  # noqa: S106 - its jti
    expires_at=1e9,
)


def test_an_event_says_what_a_token_says() -> None:
    named = {"name": "spiffe://prod.example.org/x", "peer_name": "web"}
    told = attrs.evolve(event(**named), token=TOKEN)
    assert {name: value for name, value in told.as_dict().items() if name not in event().as_dict()} == {
        "meshid.peer.spiffe_id": "spiffe://prod.example.org/x",
        "meshid.peer.name": "web",
        "meshid.token.issuer": "okta",
        "meshid.token.principal": "0oa1",
        "meshid.token.key_id": "key-1",
        "meshid.token.jti": "AT.7",
        "meshid.token.binding": "x5t#S256",
    }
    allowed = attrs.evolve(event(**named, allowed=True, reason=Reason.ALLOWED), token=TOKEN)
    assert allowed.as_dict()["meshid.evidence"] == "x509, token"
    assert str(told) == "refused spiffe://prod.example.org/x, with a token of okta '0oa1': no_rule"
    bare = attrs.evolve(told, token=attrs.evolve(TOKEN, key_id=None, token_id=None))
    assert told.as_dict().keys() - bare.as_dict().keys() == {"meshid.token.key_id", "meshid.token.jti"}


def test_json_is_one_object_a_line() -> None:
    told = json.loads(as_json(event(observed=("allow: a", "no_rule"))))
    assert (told["level"], told["meshid.observed"]) == ("WARNING", "allow: a, no_rule")


def test_other_records_are_json_as_well() -> None:
    entry = logging.LogRecord("other", logging.ERROR, __file__, 1, "a\nb %s", ("c",), None)
    told = json.loads(JsonFormatter().format(entry))
    assert (told["level"], told["message"]) == ("ERROR", "a\nb c")


@pytest.mark.parametrize(
    "hostile", ["a\nb", "\x1b[2J", "x" * 10_000, '"}{"', "\u2028\u2029", "\ud800", "\u202e", "\0"]
)
def test_what_a_peer_writes_can_neither_forge_a_line_nor_fill_a_disk(hostile: str) -> None:
    token = attrs.evolve(TOKEN, principal=hostile, key_id=hostile, token_id=hostile)
    told = attrs.evolve(event(target=hostile, request=hostile), token=token)
    for line in (as_json(told), str(told)):
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 3000
    json.loads(as_json(told))
    about_token = [text for name, text in told.as_dict().items() if name.startswith("meshid.token.")]
    assert [text for text in about_token if not str(text).isprintable() or not str(text).isascii()] == []


@given(st.text(), st.text())
def test_any_text_can_be_logged(target: str, request: str) -> None:
    told = event(target=target, request=request)
    assert isinstance(json.loads(as_json(told)), dict)
    assert str(told).isascii()


def test_a_hostile_certificate_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    ca = CA("prod.example.org")
    mesh = mesh_of(ca)
    uri = "spiffe://prod.example.org/x\r\nrefused: spiffe://prod.example.org/admin \x1b[31m"
    with pytest.raises(PeerRejected):
        mesh.admit(ca.issue(uris=[uri]).chain)
    assert all(entry.getMessage().isprintable() for entry in caplog.records)
    assert len(caplog.records) == 1


class TestTheLogger:
    @pytest.mark.parametrize(("allowed", "level"), [(True, "INFO"), (False, "WARNING")])
    def test_it_gets_each_decision(
        self,
        *,
        allowed: bool,
        level: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "meshid.audit")
        told = event(allowed=allowed)
        record(None, told, new_limits())
        (entry,) = caplog.records
        assert (entry.levelname, entry.getMessage(), entry.meshid) == (level, str(told), told)  # type: ignore[attr-defined]

    def test_it_gets_only_its_levels(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "meshid.audit")
        record(None, event(allowed=True), new_limits())
        assert caplog.records == []

    def test_it_gets_nothing_that_the_sink_failed_to_record(self, caplog: pytest.LogCaptureFixture) -> None:
        def sink(_: AuditEvent) -> None:
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - any will do
            record(sink, event(), new_limits())
        assert caplog.records == []


class TestTheLeaf:
    def test_it_is_recorded_as_far_as_it_can_be_read(self, prod_ca: CA) -> None:
        leaf = prod_ca.issue(PATH, subject="CN=a\nb").certificate
        told = attrs.evolve(event(), leaf=to_der(leaf)).as_dict()
        about = {name: value for name, value in told.items() if name.startswith("tls.")}
        assert about == {
            "tls.client.hash.sha256": hashlib.sha256(to_der(leaf)).hexdigest().upper(),
            "tls.client.subject": r"CN=a\nb",
            "tls.client.issuer": "CN=root,O=prod.example.org",
            "tls.client.not_before": leaf.not_valid_before_utc.isoformat(),
            "tls.client.not_after": leaf.not_valid_after_utc.isoformat(),
            "tls.client.x509.serial_number": f"{leaf.serial_number:X}",
        }

    def test_it_is_not_read_if_it_was_refused_for_its_size(self, prod_ca: CA) -> None:
        """The record must not cost more than the refusal."""
        leaf = prod_ca.issue(PATH, extra=[padding(MAX_LEAF_BYTES)]).certificate
        told = attrs.evolve(event(), leaf=to_der(leaf)).as_dict()
        assert {name for name in told if name.startswith("tls.")} == {"tls.client.hash.sha256"}

    def test_a_name_without_end_is_cut(self, prod_ca: CA) -> None:
        leaf = prod_ca.issue(PATH, subject=",".join(f"CN={number}" for number in range(500))).certificate
        told = str(attrs.evolve(event(), leaf=to_der(leaf)).as_dict()["tls.client.subject"])
        assert told.startswith("'CN=0,CN=1,CN=2,")
        assert told.endswith(",CN=43,CN'... (379 characters)")

    def test_without_a_leaf_nothing_is_recorded(self) -> None:
        told = attrs.evolve(event(), leaf=None)
        assert told.fingerprint is None
        assert not any(name.startswith("tls.") for name in told.as_dict())


class TestFacts:
    def test_they_are_recorded_under_their_names(self) -> None:
        facts = ConnectionInfo(
            address="10.0.0.1", port=4711, version="TLSv1.3", cipher="TLS_AES", resumed=False, protocol="h2"
        )
        told = attrs.evolve(event(), connection=facts)
        assert {name: value for name, value in told.as_dict().items() if name in facts.as_dict()} == {
            "network.peer.address": "10.0.0.1",
            "network.peer.port": 4711,
            "tls.protocol.version": "1.3",
            "tls.cipher": "TLS_AES",
            "tls.resumed": False,
            "tls.next_protocol": "h2",
        }
        assert str(told) == "refused an unnamed client from 10.0.0.1: no_rule"

    @pytest.mark.parametrize(
        ("peername", "address", "network"),
        [
            (("10.1.2.3", 80), ("10.1.2.3", 80), "10.1.2.0/24"),
            (("2001:db8:1:2:3::4", 80, 0, 0), ("2001:db8:1:2:3::4", 80), "2001:db8:1:2::/64"),
            (("fe80::1%eth0", 80, 0, 2), ("fe80::1%eth0", 80), "fe80::/64"),
            (("::ffff:10.1.2.3", 80, 0, 0), ("::ffff:10.1.2.3", 80), "10.1.2.0/24"),
            (("64:ff9b::a01:203", 80, 0, 0), ("64:ff9b::a01:203", 80), "10.1.2.0/24"),
            (("64:ff9b:1::a01:203", 80, 0, 0), ("64:ff9b:1::a01:203", 80), "64:ff9b:1::/64"),
            ("/run/socket", (None, None), ""),
            (b"", (None, None), ""),
            (None, (None, None), ""),
        ],
    )
    def test_an_address_and_its_network(
        self, peername: object, address: tuple[str | None, int | None], network: str
    ) -> None:
        assert address_of(peername) == address
        assert ConnectionInfo(address=address[0]).network == network


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


class TestTheRateLimit:
    def test_a_burst_is_logged_and_then_one_a_second(self, seconds: Seconds) -> None:
        limit = RateLimit(seconds)
        assert [limit.suppressed("a") for _ in range(BURST)] == [0] * BURST
        assert [limit.suppressed("a") for _ in range(5)] == [None] * 5
        seconds.now += 1
        assert [limit.suppressed("a"), limit.suppressed("a")] == [5, None]
        seconds.now += 1000
        assert [limit.suppressed("a") for _ in range(BURST + 1)] == [1, *[0] * (BURST - 1), None]

    def test_what_was_suppressed_is_told_with_the_next_line_of_any_kind(self, seconds: Seconds) -> None:
        limit = RateLimit(seconds)
        for _ in range(BURST + 3):
            limit.suppressed("a")
        assert [limit.suppressed("b"), limit.suppressed("b")] == [3, 0]

    def test_many_networks_in_turn_do_not_log_everything(self, seconds: Seconds) -> None:
        limit = RateLimit(seconds)
        told = [limit.suppressed(number) for number in range(2000)]
        assert told == [0] * TOTAL_BURST + [None] * (2000 - TOTAL_BURST)
        seconds.now += 1
        told = [limit.suppressed(number) for number in range(2000)]
        assert told[:11] == [2000 - TOTAL_BURST, *[0] * 9, None]
        assert told.count(None) == 1990

    def test_its_memory_is_bounded(self, seconds: Seconds) -> None:
        limit = RateLimit(seconds)
        for _ in range(BURST + 1):
            limit.suppressed("first")
        for number in range(MAX_KINDS):
            limit.suppressed(number)
        # Over all there is room for a few again.
        seconds.now += 0.4
        assert limit.suppressed("first") is None, "it is remembered for as long as as many others come"
        for number in range(3 * MAX_KINDS):
            limit.suppressed(number)
        seconds.now += 1
        assert limit.suppressed("first") is not None
        assert len(limit._recent) + len(limit._older) <= 2 * MAX_KINDS  # noqa: SLF001

    def test_it_counts_exactly_under_threads(self, seconds: Seconds) -> None:
        limit = RateLimit(seconds)
        told: list[int | None] = []

        def refuse(network: int) -> None:
            told.extend([limit.suppressed((network, number % 50)) for number in range(500)])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(refuse, range(4)))
        seconds.now += 1
        assert sum(each is not None for each in told) == TOTAL_BURST
        assert sum(each or 0 for each in told) + (limit.suppressed("last") or 0) == 2000 - TOTAL_BURST


class TestTheRefusalLog:
    @pytest.mark.parametrize("call", ["admit", "check"])
    def test_repeated_refusals_are_logged_at_a_limited_rate(
        self, call: str, prod_ca: CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard = Heard()
        mesh = mesh_of(prod_ca, audit=heard)
        stranger, peer = CA("prod.example.org").issue(PATH), mesh.admit(prod_ca.issue(PATH).chain)
        heard.next()
        for _ in range(5 * BURST):
            if call == "check":
                assert not mesh.check(peer, target="ledger")
            else:
                with pytest.raises(PeerRejected):
                    mesh.admit(stranger.chain)
        assert [heard.next().call for _ in range(5 * BURST)] == [call] * 5 * BURST
        assert BURST <= len(caplog.records) < 2 * BURST

    def test_one_peer_does_not_silence_another(self, prod_ca: CA, caplog: pytest.LogCaptureFixture) -> None:
        mesh = mesh_of(prod_ca)
        loud, quiet = (mesh.admit(prod_ca.issue(path).chain) for path in (PATH, "/ns/shop/sa/quiet"))
        for _ in range(2 * BURST):
            mesh.check(loud, target="ledger")
        mesh.check(quiet, target="ledger")
        assert "/ns/shop/sa/quiet at 'ledger': no_rule" in caplog.messages[-1]

    def test_strangers_do_not_silence_what_peers_do(
        self, seconds: Seconds, caplog: pytest.LogCaptureFixture
    ) -> None:
        limits = {call: RateLimit(seconds) for call in new_limits()}
        for number in range(2 * TOTAL_BURST):
            record(None, event(from_=f"10.{number}.0.1"), limits)
        assert len(caplog.records) == TOTAL_BURST
        record(None, attrs.evolve(event(), call=Call.CHECK), limits)
        assert len(caplog.records) == TOTAL_BURST + 1

    def test_the_end_of_an_open_connection_is_always_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        ended = attrs.evolve(event(), call=Call.REVIEW)
        limits = new_limits()
        for _ in range(2 * TOTAL_BURST):
            record(None, ended, limits)
        assert len(caplog.records) == 2 * TOTAL_BURST

    def test_the_next_line_says_how_many_were_left_out(
        self, seconds: Seconds, caplog: pytest.LogCaptureFixture
    ) -> None:
        limits = {Call.ADMIT: RateLimit(seconds)}
        for _ in range(BURST + 3):
            record(None, event(), limits)
        seconds.now = 1.0
        record(None, event(), limits)
        assert caplog.records[-1].getMessage().endswith("; 3 before it were not logged")
        assert caplog.records[-1].meshid.as_dict()["meshid.suppressed"] == 3  # type: ignore[attr-defined]


def test_without_a_sink_and_a_logger_no_event_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "meshid.audit")
    assert not wants(None, allowed=True)
    assert wants(None, allowed=False)
    assert wants(lambda _: None, allowed=True)


def test_no_key_is_ever_logged(prod_ca: CA) -> None:
    heard = Heard()
    mesh: Mesh = mesh_of(prod_ca, audit=heard)
    mesh.admit(prod_ca.issue(PATH).chain)
    told = repr(heard.next()) + repr(mesh.snapshot) + str(mesh.snapshot.credentials)
    assert "PRIVATE" not in told
    for public in ("keys=KeySets([])", "jwt_keys=()"):
        told = told.replace(public, "")
    assert "key" not in told.lower().replace("monkey", "")
