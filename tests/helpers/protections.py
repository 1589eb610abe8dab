"""The protections of the handshake, each of which can be taken away: a plug-in of pytest.

MESHID_TAKE_AWAY='the swap' python -m pytest -p tests.helpers.protections tests/tls
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any, cast

import attrs
import pytest

from meshid.admission.admission import Admission
from meshid.certificates.reading import to_der
from meshid.errors import PeerRejected
from meshid.tls.admitted_connection import AdmittedConnection
from meshid.tls.connections import MeshSSLObject
from meshid.tls.generation import Generation
from meshid.tls.handshakes import Handshakes
from meshid.tls.peer_chain import chain_of

VARIABLE = "MESHID_TAKE_AWAY"

Patch = pytest.MonkeyPatch


def pool_of(generation: Generation) -> bytes:
    """Return all authorities, as DER."""
    judge = cast("Any", generation.judge)
    bundles = judge.admission.snapshot.bundles.values()
    return b"".join(to_der(each) for bundle in bundles for each in bundle.authorities)


def decide_without_the_swap(patch: Patch) -> None:
    patch.setattr(Generation, "trusting", lambda generation, _: generation)


def swap_to_a_pool(patch: Patch) -> None:
    def pooled(generation: Generation, _: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(generation.protocol)
        context.load_verify_locations(cadata=pool_of(generation))
        return context

    patch.setattr(Generation, "trusting", pooled)


def tell_admitted_before_the_end(patch: Patch) -> None:
    trust = AdmittedConnection._trust  # noqa: SLF001 - what is taken away is inside

    def trust_and_tell(connection: AdmittedConnection, chain: list[bytes], generation: Generation) -> object:
        settled = trust(connection, chain, generation)
        generation.judge.answer(cast("MeshSSLObject", connection), chain, settled)
        return settled

    patch.setattr(AdmittedConnection, "_trust", trust_and_tell)


def believe_the_decision_at_the_certificate(patch: Patch) -> None:
    decide = Admission._decide  # noqa: SLF001 - what is taken away is inside

    def without_a_second_look(admission: Admission, *asked: Any) -> object:  # noqa: ANN401 - passed on
        settled = asked[4] if len(asked) > 4 else None
        if settled is None or not settled.admits:
            return decide(admission, *asked)
        return settled.peer, settled.decision

    patch.setattr(Admission, "_decide", without_a_second_look)


def call_no_callback(patch: Patch) -> None:
    patch.setattr("meshid.tls.generation.listen", lambda _: None)


def let_the_first_context_trust(patch: Patch) -> None:
    prepare = Generation.__init__

    def prepare_and_trust(generation: Generation, *arguments: Any, **rest: Any) -> None:  # noqa: ANN401
        prepare(generation, *arguments, **rest)
        if pool := pool_of(generation):
            generation.load_verify_locations(cadata=pool)

    patch.setattr(Generation, "__init__", prepare_and_trust)


def let_exceptions_out_of_the_callback(patch: Patch) -> None:
    def on_certificates(connection: AdmittedConnection, chain: list[bytes], version: str) -> None:
        inside = cast("Any", connection)
        inside._presented, inside._version, inside._generation = chain, version, inside.context  # noqa: SLF001
        inside._settled = inside._trust(chain, inside.context)  # noqa: SLF001

    patch.setattr(AdmittedConnection, "on_certificates", on_certificates)


def let_exceptions_out_and_trust(patch: Patch) -> None:
    let_exceptions_out_of_the_callback(patch)
    let_the_first_context_trust(patch)


def believe_openssl(patch: Patch) -> None:
    def complete(connection: AdmittedConnection) -> None:
        cast("Any", connection)._answer(chain_of(cast("ssl.SSLObject", connection)), None)  # noqa: SLF001

    patch.setattr(AdmittedConnection, "_complete", complete)


def forget_the_deadline(patch: Patch) -> None:
    patch.setattr(Handshakes, "begin", lambda *_: None)


def forget_that_it_failed(patch: Patch) -> None:
    handshake = AdmittedConnection._handshake  # noqa: SLF001 - what is taken away is inside

    def forgetful(connection: AdmittedConnection, tls_handshake: Callable[[], None]) -> None:
        try:
            handshake(connection, tls_handshake)
        except (PeerRejected, ssl.SSLError):
            inside = cast("Any", connection)
            inside._refusal = inside._failure = None  # noqa: SLF001
            raise

    patch.setattr(AdmittedConnection, "_handshake", forgetful)


def blame_tls_for_a_forged_proof(patch: Patch) -> None:
    patch.setattr("meshid.tls.admitted_connection.BAD_PROOF", "")


def start_anywhere(patch: Patch) -> None:
    patch.setattr("meshid.mesh.shake_hands_with_self", lambda _: None)


@attrs.frozen
class Removal:
    """A protection that is taken away.

    Attributes:
        take_away: Takes it away.
        seen_by: Tests that must fail then; every case of a test may, and one has to.
    """

    take_away: Callable[[Patch], None]
    seen_by: tuple[str, ...]


IN_HANDSHAKE, CONNECTIONS = "tests/tls/test_in_handshake.py", "tests/tls/test_connections.py"
BETWEEN = f"{IN_HANDSHAKE}::TestBetweenTheCertificateAndTheEnd"
REFUSAL = f"{IN_HANDSHAKE}::TestARefusal"
PROOF = f"{IN_HANDSHAKE}::TestTheProofOfPossession"
RAISED = f"{IN_HANDSHAKE}::test_whatever_is_raised_while_it_is_decided_nobody_is_let_in"
NO_HOOK = "tests/tls/test_peer_chain.py::TestWithoutThePrivateHook"

PROTECTIONS = {
    "the swap": Removal(decide_without_the_swap, (f"{BETWEEN}::test_nobody_is_admitted_yet",)),
    "one issuer, not a pool": Removal(
        swap_to_a_pool,
        (
            f"{BETWEEN}::test_openssl_trusts_the_issuer_of_this_peer_and_nobody_else",
            f"{IN_HANDSHAKE}::test_two_authorities_of_one_name_are_never_confused",
        ),
    ),
    "admitted at the end": Removal(
        tell_admitted_before_the_end,
        (
            f"{BETWEEN}::test_nobody_is_admitted_yet",
            f"{PROOF}::test_a_client_without_the_key_is_refused_for_that",
            f"{CONNECTIONS}::TestBrokenHandshakes::test_a_peer_that_hangs_up_after_its_certificate_is_not_admitted",
        ),
    ),
    "the snapshot at the end": Removal(
        believe_the_decision_at_the_certificate, (f"{BETWEEN}::test_what_is_taken_away_is_gone",)
    ),
    "the callback": Removal(call_no_callback, (f"{BETWEEN}::test_nobody_is_admitted_yet",)),
    "the look at who was let in": Removal(
        believe_openssl,
        (
            f"{NO_HOOK}::test_not_even_if_openssl_trusts_somebody",
            f"{CONNECTIONS}::TestWhatCannotHappenYet::test_a_leaf_that_was_not_decided_about_is_not_let_in",
        ),
    ),
    "an empty first store": Removal(
        let_the_first_context_trust, (f"{REFUSAL}::test_needs_no_trust_so_the_first_context_has_none",)
    ),
    "no exception leaves the callback": Removal(let_exceptions_out_of_the_callback, (RAISED,)),
    "no exception leaves the callback, nor is there trust": Removal(let_exceptions_out_and_trust, (RAISED,)),
    "the deadline": Removal(
        forget_the_deadline,
        ("tests/tls/test_handshakes.py::TestADeadline::test_is_the_same_error_ever_after",),
    ),
    "once refused, always refused": Removal(
        forget_that_it_failed,
        (f"{REFUSAL}::test_is_told_before_the_proof_and_stays_whatever_comes_after", RAISED),
    ),
    "a reason for a forged proof": Removal(
        blame_tls_for_a_forged_proof,
        (
            f"{PROOF}::test_a_client_without_the_key_is_refused_for_that",
            f"{PROOF}::test_a_server_without_the_key_is_refused_for_that",
        ),
    ),
    "the check at the start": Removal(start_anywhere, (f"{NO_HOOK}::test_no_credentials_are_put_in_force",)),
}


def pytest_configure() -> None:
    """Take away what the environment names, for the whole run."""
    if name := os.environ.get(VARIABLE):
        PROTECTIONS[name].take_away(pytest.MonkeyPatch())
