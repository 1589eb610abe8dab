"""`meshid demo`: it passes, and it fails as soon as one of the protections that it shows is gone."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from meshid.__main__ import main
from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.admission.judgement import Judgement, judge
from meshid.admission.question import Question
from meshid.audit.event import AuditEvent
from meshid.cli.demo.clients import CLOSED, GREETING, Client
from meshid.cli.demo.table import Case, CaseTable, Outcome, mismatches
from meshid.decisions import Call, Decision
from meshid.mesh import Mesh
from meshid.policy import Policy
from meshid.reasons import Reason
from meshid.testing import CA
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.connections import MeshSSLObject
from meshid.tls.context import MeshContext
from meshid.trust.bundles import BundleSet
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import ChainVerifier, Peer
from tests.helpers.tls_peers import admission_of

CASES = 26

ROW = re.compile(
    r"^(?P<number>[ \d]\d) (?P<mark>[✓✗]) (?P<case>.{31}) (?P<client>.{8}) (?P<saw>.{27}) "
    r"(?P<decision>.{8}) (?P<reason>.{20}) (?P<rule>\S+)$",
    re.MULTILINE,
)


class Played:
    """What the demo printed, and how it ended."""

    def __init__(self, status: int, out: str) -> None:
        self.status = status
        self.out = out
        self.rows = [
            {name: cell.strip() for name, cell in match.groupdict().items()} for match in ROW.finditer(out)
        ]
        self.wrong = [int(row["number"]) for row in self.rows if row["mark"] == "✗"]


Play = Callable[[], Played]


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str]) -> Play:
    def play() -> Played:
        status = main(["demo"])
        out, err = capsys.readouterr()
        assert err == ""
        return Played(status, out)

    return play


class TestAsItMust:
    def test_every_case_comes_out_as_it_must(self, play: Play) -> None:
        played = play()
        assert (played.status, played.wrong) == (0, [])
        assert [int(row["number"]) for row in played.rows] == list(range(1, CASES + 1))
        assert f"{CASES} of {CASES} as expected, in " in played.out

    def test_each_reason_is_the_one_of_its_case(self, play: Play) -> None:
        told = [(row["case"], row["decision"], row["reason"], row["rule"]) for row in play().rows]
        assert told == [
            ("allowed by a rule", "admitted", "allowed", "checkout-charges"),
            ("denied by a rule", "refused", "denied", "no-build-agents"),
            ("no rule for it", "refused", "no_rule", "-"),
            ("the same workload, from dev", "refused", "no_rule", "-"),
            ("★ a dev CA mints a prod name", "refused", "foreign_authority", "-"),
            ("unknown trust domain", "refused", "unknown_trust_domain", "-"),
            ("self-signed", "refused", "self_signed", "-"),
            ("missing intermediate", "refused", "unknown_authority", "-"),
            ("expired", "refused", "expired", "-"),
            ("not yet valid", "refused", "not_yet_valid", "-"),
            ("no URI SAN", "refused", "no_name", "-"),
            ("two URI SANs", "refused", "ambiguous_name", "-"),
            ("a SPIFFE ID without a path", "refused", "name_without_path", "-"),
            ("a CA certificate as leaf", "refused", "leaf_is_ca", "-"),
            ("a leaf that may sign", "refused", "leaf_may_sign", "-"),
            ("no digitalSignature", "refused", "no_digital_signature", "-"),
            ("no certificate at all", "refused", "no_certificate", "-"),
            ("a Linkerd name, by a rule", "admitted", "allowed", "linkerd-shop"),
            ("its session, offered again", "refused", "deny_listed", "-"),
            ("a peer of the old CA", "refused", "unknown_authority", "-"),
            ("its session, offered again", "refused", "unknown_authority", "-"),
            ("its open connection, at once", "refused", "unknown_authority", "-"),
            ("Linkerd's open connection", "admitted", "allowed", "linkerd-shop"),
            ("a peer of the new CA", "admitted", "allowed", "checkout-charges"),
            ("a key that does not match", "admitted", "allowed", "checkout-charges"),
            ("a policy with a typo", "admitted", "allowed", "checkout-charges"),
        ]

    def test_each_kind_of_client_is_admitted_and_refused(self, play: Play) -> None:
        seen = {(row["client"], row["decision"]) for row in play().rows}
        assert seen == {(kind, verdict) for kind in Client for verdict in ("admitted", "refused")}

    def test_who_is_refused_sees_nothing_of_the_application(self, play: Play) -> None:
        refused = [row for row in play().rows if row["decision"] == "refused"]
        seen = {row["saw"].partition(":")[0] for row in refused}
        assert seen <= {CLOSED, "alert"}

    def test_it_shows_the_policy_and_why_an_update_was_rejected(self, play: Play) -> None:
        out = play().out
        assert '    from = ["/ns/checkout/sa/api"]' in out
        assert "InvalidCredentials: own certificate: the private key is not that of" in out
        assert "InvalidPolicy: allow[0].form: is unknown; did you mean 'from'?" in out

    def test_it_is_plain_and_at_most_120_columns_wide_in_a_pipe(self, play: Play) -> None:
        out = play().out
        assert max(map(len, out.splitlines())) <= 120
        assert "\x1b" not in out

    def test_what_the_audit_hears_is_not_logged_once_more(
        self, play: Play, caplog: pytest.LogCaptureFixture
    ) -> None:
        # `play` looks at standard error, where `logging` prints what nobody handles.
        assert play().status == 0
        assert {record.name for record in caplog.records} <= {"meshid.audit"}

    def test_without_the_openssl_command_the_blocking_client_stands_in(
        self, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        played = play()
        assert (played.status, played.wrong) == (0, [])
        assert {row["client"] for row in played.rows} == {"asyncio", "blocking"}
        assert "There is no openssl command here: the blocking client takes its place.\n" in played.out


def anybody() -> Peer:
    """Some peer; there is no way to make one but to verify one."""
    ca = CA("anybody.example")
    return ChainVerifier(BundleSet([ca.bundle()])).verify(ca.issue("/x").chain)


def let_everybody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def admit(*asked: Any) -> Judgement:  # noqa: ANN401 - passed on
        peer, decision, aside = judge(*asked)
        return peer or anybody(), attrs.evolve(decision, allowed=True), aside

    monkeypatch.setattr("meshid.admission.admission.judge", admit)


def pool_the_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = ChainVerifier.__init__

    def pool(verifier: ChainVerifier, bundles: BundleSet, **rest: Any) -> None:  # noqa: ANN401 - passed on
        every = tuple(authority for bundle in bundles.values() for authority in bundle.authorities)
        pooled = [attrs.evolve(bundle, authorities=every) for bundle in bundles.values()]
        prepare(verifier, BundleSet(pooled), **rest)

    monkeypatch.setattr(ChainVerifier, "__init__", pool)


def forget_the_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "meshid.verification.verifier._check_dates", lambda leaf, *_: leaf.not_valid_after_utc
    )


def admit_nobody_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MeshSSLObject, "do_handshake", ssl.SSLObject.do_handshake)


def believe_a_resumed_session(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = AdmittedConnection._complete  # noqa: SLF001 - what is taken away is inside

    def complete_unless_resumed(connection: MeshSSLObject) -> None:
        if connection.session_reused:
            connection.peer = anybody()
        else:
            complete(connection)

    monkeypatch.setattr(AdmittedConnection, "_complete", complete_unless_resumed)


def issue_no_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Mesh,
        "server_context",
        lambda mesh, **_: MeshContext(admission_of(mesh), question=Question(target="payments")),
    )


def forget_the_revocations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Revocations, "check", lambda *_: None)


def publish_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mesh, "publish", lambda mesh, **_: mesh.snapshot)


def leave_open_connections_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "_review", lambda *_: Ended())


class Matching:
    """Is like any key."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, _: object) -> bool:
        return True


def accept_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshid.trust.credentials.public_key_of", lambda _: Matching())
    # OpenSSL would find it, too.
    monkeypatch.setattr("meshid.mesh.shake_hands_with_self", lambda _: None)


def forgive_a_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Policy.from_toml
    monkeypatch.setattr(
        Policy, "from_toml", lambda text, environment: read(text.replace("form =", "from ="), environment)
    )


def tell_the_audit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshid.admission.recorder.record", lambda *_: None)


class TestWithoutAProtection:
    """Each protection that the demo shows is taken away, and the demo says where it is missed."""

    @pytest.mark.parametrize(
        ("take_away", "wrong"),
        [
            pytest.param(let_everybody_in, [*range(2, 18), *range(19, 23)], id="nobody is refused"),
            pytest.param(pool_the_authorities, [5], id="one pool of authorities"),
            pytest.param(forget_the_dates, [9, 10], id="no dates"),
            # Who is refused is refused before: when the certificates arrive.
            pytest.param(admit_nobody_at_the_end, [1, 18, 19, *range(22, 27)], id="no end of the handshake"),
            pytest.param(believe_a_resumed_session, [19], id="resumption without a judge"),
            # A refusal of a session that could never be resumed would prove nothing.
            pytest.param(issue_no_sessions, [19, 21], id="no sessions to refuse"),
            pytest.param(forget_the_revocations, [19], id="no revocations"),
            pytest.param(publish_nothing, [19, 20, 21, 22, 24, 25, 26], id="no publication"),
            pytest.param(leave_open_connections_alone, [22], id="open connections go on"),
            pytest.param(
                accept_any_key,
                [25, 26],
                id="any key",
                # asyncio leaves a connection whose TLS cannot even begin to the garbage collector.
                marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
            ),
            pytest.param(forgive_a_typo, [26], id="typos are forgiven"),
            pytest.param(tell_the_audit_nothing, range(1, CASES + 1), id="no audit"),
        ],
    )
    def test_the_demo_fails_where_it_is_missed(
        self,
        take_away: Callable[[pytest.MonkeyPatch], None],
        wrong: Sequence[int],
        play: Play,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        take_away(monkeypatch)
        played = play()
        assert (played.status, played.wrong) == (1, list(wrong))
        assert f"{CASES - len(wrong)} of {CASES} as expected, in " in played.out
        assert f"Not as expected: {', '.join(map(str, wrong))}.\n" in played.out

    def test_a_byte_that_the_application_saw_is_told(
        self, play: Play, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        let_everybody_in(monkeypatch)
        out = play().out
        assert "the application must have read b'', and has read b'hello\\n'" in out
        assert "the client must not see 'served: hello spiffe://prod.example.org/ns/ci/sa/runner'" in out


REFUSED = Decision(allowed=False, reason=Reason.EXPIRED)
ALLOWED = Decision(allowed=True, reason=Reason.ALLOWED, rule="a-rule")
NAME = "spiffe://prod.example.org/x"

REFUSAL = Case("a case", Reason.EXPIRED)
ADMISSION = Case("a case", Reason.ALLOWED, "a-rule", NAME)
ENDED, CHECKED = attrs.evolve(REFUSAL, call=Call.REVIEW), attrs.evolve(ADMISSION, call=Call.CHECK)
GREETED = f"served: hello {NAME}"


def outcome(*audit: tuple[Call, Decision], saw: str = CLOSED, received: bytes = b"") -> Outcome:
    event = AuditEvent(
        time=0.0,
        call=Call.ADMIT,
        decision=REFUSED,
        role="client",
        leaf=None,
        local_name=None,
        environment=None,
        generation=1,
    )
    events = tuple(attrs.evolve(event, call=call, decision=decision) for call, decision in audit)
    return Outcome(client=Client.ASYNCIO, saw=saw, events=events, received=received)


CHECK = (Call.CHECK, ALLOWED)
TWICE = ((Call.ADMIT, ALLOWED), CHECK)
ONCE = (Call.ADMIT, REFUSED)


class TestMismatches:
    @pytest.mark.parametrize(
        ("case", "found"),
        [
            pytest.param(REFUSAL, outcome(ONCE), id="refused"),
            pytest.param(REFUSAL, outcome(ONCE, saw="alert: unknown ca"), id="refused with an alert"),
            pytest.param(ADMISSION, outcome(*TWICE, saw=GREETED, received=GREETING), id="admitted"),
            pytest.param(ENDED, outcome((Call.REVIEW, REFUSED)), id="an open connection ended"),
            pytest.param(CHECKED, outcome(CHECK, saw=GREETED, received=GREETING), id="one that goes on"),
        ],
    )
    def test_there_are_none_when_all_is_as_it_must_be(self, case: Case, found: Outcome) -> None:
        assert list(mismatches(case, found)) == []

    @pytest.mark.parametrize(
        ("case", "found", "mismatch"),
        [
            pytest.param(
                REFUSAL,
                outcome(),
                "the audit must say admit: refused, expired, rule -; it says nothing",
                id="no decision",
            ),
            pytest.param(
                REFUSAL,
                outcome(ONCE, ONCE),
                "the audit must say admit: refused, expired, rule -;"
                " it says admit: refused, expired, rule -; admit: refused, expired, rule -",
                id="two decisions",
            ),
            pytest.param(
                attrs.evolve(REFUSAL, reason=Reason.NOT_YET_VALID),
                outcome(ONCE),
                "the audit must say admit: refused, not_yet_valid, rule -;"
                " it says admit: refused, expired, rule -",
                id="another reason",
            ),
            pytest.param(
                attrs.evolve(CHECKED, rule="another"),
                outcome(CHECK, saw=GREETED, received=GREETING),
                "the audit must say check: admitted, allowed, rule another;"
                " it says check: admitted, allowed, rule a-rule",
                id="another rule",
            ),
            pytest.param(
                REFUSAL,
                outcome((Call.ADMIT, attrs.evolve(REFUSED, allowed=True))),
                "the audit must say admit: refused, expired, rule -;"
                " it says admit: admitted, expired, rule -",
                id="another verdict",
            ),
            pytest.param(
                REFUSAL,
                outcome(ONCE, saw="no answer for 10 s"),
                "the client must not see 'no answer for 10 s'",
                id="a client that hangs",
            ),
            pytest.param(
                ADMISSION,
                outcome(*TWICE, saw=f"{GREETED}-2", received=GREETING),
                f"the client must not see '{GREETED}-2'",
                id="another name",
            ),
            pytest.param(
                ENDED,
                outcome((Call.REVIEW, REFUSED), saw="no answer for 1 s"),
                "the client must not see 'no answer for 1 s'",
                id="a connection that was left open",
            ),
            pytest.param(
                REFUSAL,
                outcome(ONCE, received=b"h"),
                "the application must have read b'', and has read b'h'",
                id="one byte",
            ),
            pytest.param(
                ADMISSION,
                outcome(*TWICE, saw=GREETED),
                "the application must have read b'hello\\n', and has read b''",
                id="no byte of a peer that was admitted",
            ),
        ],
    )
    def test_each_thing_that_is_not_as_it_must_be_is_one(
        self, case: Case, found: Outcome, mismatch: str
    ) -> None:
        assert list(mismatches(case, found)) == [mismatch]


class TestTable:
    @pytest.fixture
    def add(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
        """Add a row to a table whose colours can be read, and return the lines that it prints."""
        table = CaseTable(lambda text, colour: f"<{colour.name}>{text}</>")

        def add(what: str, saw: str = CLOSED, decisions: int = 1, **more: Any) -> list[str]:  # noqa: ANN401 - passed on
            table.add(Case(what, Reason.EXPIRED), outcome(*[ONCE] * decisions, saw=saw), **more)
            return capsys.readouterr().out.splitlines()

        return add

    def test_a_right_row_has_a_green_tick(self, add: Callable[..., list[str]]) -> None:
        (line,) = add("a case")
        assert line.startswith(" 1 <GOOD>✓</> a case ")

    def test_the_case_to_look_at_stands_out(self, add: Callable[..., list[str]]) -> None:
        (line,) = add("★ a case")
        assert line.startswith("<STAR> 1 ✓ ★ a case ")

    def test_a_wrong_row_stands_out_even_more_with_what_is_wrong_below(
        self, add: Callable[..., list[str]]
    ) -> None:
        first, second = add("★ a case", more=["it is wrong"])
        assert first.startswith("<BAD> 1 ✗ ★ a case ")
        assert second == "<BAD>     it is wrong</>"

    def test_a_row_without_a_decision_says_so(self, add: Callable[..., list[str]]) -> None:
        line, *_ = add("a case", decisions=0)
        assert line.removesuffix("</>").split()[-3:] == ["none", "-", "-"]

    def test_a_cell_that_is_too_long_is_cut(self, add: Callable[..., list[str]]) -> None:
        fitting = f"alert: {'x' * 20}"
        assert f" {fitting} refused " in add("a case", fitting)[0]
        assert f" {fitting[:-1]}… refused " in add("a case", f"{fitting}y")[0]

    def test_a_long_note_is_wrapped(self, add: Callable[..., list[str]]) -> None:
        _, *below = add("a case", note="word " * 40)
        assert len(below) == 2
        assert all(line.startswith("<QUIET>     word ") for line in below)
