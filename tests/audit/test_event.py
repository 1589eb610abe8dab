"""Every decision explains itself, in one event, whatever a stranger wrote into it."""

from __future__ import annotations

import hashlib
import json
import logging

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import AuditEvent, Call, Decision, JsonFormatter, Mesh, PeerRejected, Reason, Revocations
from meshid.audit.connection_info import ConnectionInfo, address_of
from meshid.audit.event import record, wants
from meshid.audit.rate_limit import BURST, MAX_KEYS, RateLimit
from meshid.certificates.reading import to_der
from meshid.testing import CA
from tests.helpers.tls_peers import PATH, Heard, mesh_of

HASH = "ab" * 32


def event(**parts: object) -> AuditEvent:
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
    told = event(target=hostile, request=hostile)
    for line in (as_json(told), str(told)):
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 2000
    json.loads(as_json(told))


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
        record(None, told, RateLimit())
        (entry,) = caplog.records
        assert (entry.levelname, entry.getMessage(), entry.meshid) == (level, str(told), told)  # type: ignore[attr-defined]

    def test_it_gets_only_its_levels(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "meshid.audit")
        record(None, event(allowed=True), RateLimit())
        assert caplog.records == []

    def test_it_gets_nothing_that_the_sink_failed_to_record(self, caplog: pytest.LogCaptureFixture) -> None:
        def sink(_: AuditEvent) -> None:
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - any will do
            record(sink, event(), RateLimit())
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


class TestTheThrottle:
    @pytest.fixture
    def seconds(self) -> Seconds:
        return Seconds()

    def test_what_is_held_back_is_counted(self, seconds: Seconds) -> None:
        throttle = RateLimit(seconds)
        assert [throttle.suppressed("a") for _ in range(BURST)] == [0] * BURST
        assert [throttle.suppressed("a") for _ in range(5)] == [None] * 5
        assert throttle.suppressed("b") == 0
        seconds.now = 1.0
        assert [throttle.suppressed("a"), throttle.suppressed("a")] == [5, None]
        seconds.now = 1000.0
        assert [throttle.suppressed("a") for _ in range(BURST + 1)] == [1, *[0] * (BURST - 1), None]

    def test_its_memory_is_bounded(self, seconds: Seconds) -> None:
        throttle = RateLimit(seconds)
        for _ in range(BURST + 1):
            throttle.suppressed("first")
        for number in range(MAX_KEYS):
            throttle.suppressed(number)
        assert len(throttle._buckets) == MAX_KEYS  # noqa: SLF001
        assert throttle.suppressed("first") == 0

    def test_repeated_refusals_are_logged_at_a_limited_rate(
        self, prod_ca: CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard = Heard()
        mesh = mesh_of(prod_ca, audit=heard)
        stranger, friend = CA("prod.example.org").issue(PATH), prod_ca.issue(PATH)
        for _ in range(5 * BURST):
            with pytest.raises(PeerRejected):
                mesh.admit(stranger.chain)
        assert len(heard.of_handshakes()) == 5 * BURST
        assert BURST <= len(caplog.records) < 2 * BURST
        # That a peer is no longer let in is always told.
        peer = mesh.admit(friend.chain)
        caplog.clear()
        mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{PATH}"]))
        for _ in range(5 * BURST):
            mesh.check(peer)
        assert len(caplog.records) == 5 * BURST

    def test_the_next_line_says_how_many_were_held_back(self, caplog: pytest.LogCaptureFixture) -> None:
        seconds = Seconds()
        throttle = RateLimit(seconds)
        for _ in range(BURST + 3):
            record(None, event(), throttle)
        seconds.now = 1.0
        record(None, event(), throttle)
        assert caplog.records[-1].getMessage().endswith("; 3 more like it were not logged")
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
    assert "key" not in told.lower().replace("monkey", "")
