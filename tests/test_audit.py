"""Every decision explains itself, in one event, whatever a stranger wrote into it."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import AuditEvent, Decision, JsonFormatter, Mesh, PeerRejected, Reason
from meshid.audit import record, wants
from meshid.testing import CA
from tls.wire import PATH, Heard, mesh_of

HASH = "ab" * 32


def event(**parts: object) -> AuditEvent:
    decision: dict[str, object] = {"allowed": False, "reason": Reason.NO_RULE, **parts}
    return AuditEvent(
        time=1_800_000_000.5,
        call="admit",
        decision=Decision(**decision),  # type: ignore[arg-type]
        role="client",
        fingerprint=HASH,
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
        "tls.client.hash.sha256": HASH.upper(),
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
def test_what_a_stranger_writes_forges_no_line_and_fills_no_disk(hostile: str) -> None:
    told = event(target=hostile, request=hostile)
    for line in (as_json(told), str(told)):
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 2000
    json.loads(as_json(told))


@given(st.text(), st.text())
def test_any_text_can_be_told(target: str, request: str) -> None:
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
    def test_hears_of_each_decision(
        self,
        *,
        allowed: bool,
        level: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "meshid.audit")
        told = event(allowed=allowed)
        record(None, told)
        (entry,) = caplog.records
        assert (entry.levelname, entry.getMessage(), entry.meshid) == (level, str(told), told)  # type: ignore[attr-defined]

    def test_hears_only_what_it_listens_to(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "meshid.audit")
        record(None, event(allowed=True))
        assert caplog.records == []

    def test_hears_nothing_that_the_sink_would_not_record(self, caplog: pytest.LogCaptureFixture) -> None:
        def sink(_: AuditEvent) -> None:
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - any will do
            record(sink, event())
        assert caplog.records == []


def test_nobody_listening_wants_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "meshid.audit")
    assert not wants(None, allowed=True)
    assert wants(None, allowed=False)
    assert wants(lambda _: None, allowed=True)


def test_no_key_is_ever_told(prod_ca: CA) -> None:
    heard = Heard()
    mesh: Mesh = mesh_of(prod_ca, audit=heard)
    mesh.admit(prod_ca.issue(PATH).chain)
    told = repr(heard.next()) + repr(mesh.snapshot) + str(mesh.snapshot.credentials)
    assert "PRIVATE" not in told
    assert "key" not in told.lower().replace("monkey", "")
