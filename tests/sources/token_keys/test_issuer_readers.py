"""Which keys are read as the policy changes, and how often tokens can have them read."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import attrs
import pytest

from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.sources.token_keys import issuer_readers
from meshid.sources.token_keys.issuer_readers import Following, IssuerReader, IssuerReaders
from tests.helpers.issuers import policy_with
from tests.helpers.tls_peers import TIMEOUT

OKTA = Issuer(
    name="okta",
    profile=IssuerProfile.OIDC,
    issuer="https://okta.example",
    audience=("payments",),
    principal="sub",
)
CI = Issuer(
    name="ci",
    profile=IssuerProfile.OIDC,
    issuer="https://ci.example",
    audience=("payments",),
    principal="sub",
    jwks="/etc/ci.json",
)


SPIRE = Issuer(
    name="spire", profile=IssuerProfile.JWT_SVID, issuer=None, audience=("payments",), principal="sub"
)


class TestFollowing:
    @pytest.fixture
    def readers(self) -> IssuerReaders:
        readers = IssuerReaders(time.time)
        readers.follow(policy_with(OKTA, CI, SPIRE))
        return readers

    def test_each_issuer_has_a_reader_except_for_those_whose_keys_are_in_bundles(
        self, readers: IssuerReaders
    ) -> None:
        assert [each.name for each in readers] == [
            "keys of issuer 'ci' '/etc/ci.json'",
            "keys of issuer 'okta' 'https://okta.example'",
        ]
        assert readers.waiting == [*readers]

    def test_the_same_issuers_keep_their_readers(self, readers: IssuerReaders) -> None:
        before = [*readers]
        assert readers.follow(policy_with(attrs.evolve(OKTA, audience=("other",)), CI)) is None
        assert [*readers] == before

    def test_an_issuer_that_is_gone_is_closed(self, readers: IssuerReaders) -> None:
        ci, okta = readers
        following = readers.follow(policy_with(CI))
        assert following == Following((okta,), {})
        assert okta.wait() is None
        assert [*readers] == readers.waiting == [ci]
        assert readers.follow(None) == Following((ci,), {})

    @pytest.mark.parametrize(
        ("changed", "counts"),
        [
            (attrs.evolve(OKTA, issuer="https://evil.example"), "nothing"),
            (attrs.evolve(OKTA, jwks="https://okta.example/keys"), "nothing"),
            (attrs.evolve(OKTA, pinned_keys=("A" * 43,)), "nothing"),
            (attrs.evolve(OKTA, roots="/etc/roots.pem"), "the keys so far"),
            (attrs.evolve(OKTA, bearer_file="/etc/token"), "the keys so far"),
            (attrs.evolve(OKTA, max_stale=600), "the keys so far"),
        ],
        ids=["issuer", "jwks", "pinned_keys", "roots", "bearer_file", "max_stale"],
    )
    def test_one_that_is_declared_in_another_way_has_a_new_reader(
        self, readers: IssuerReaders, changed: Issuer, counts: str
    ) -> None:
        ci, okta = readers
        following = readers.follow(policy_with(changed, CI))
        assert following is not None
        assert following.ended == (okta,)
        ((begun, before),) = following.begun.items()
        assert before is {"nothing": None, "the keys so far": okta}[counts]
        assert [*readers] == [ci, begun]
        assert okta.wait() is None

    def test_a_child_has_all_of_them_wait_for_a_thread(self, readers: IssuerReaders) -> None:
        readers.waiting.clear()
        readers.restart()
        assert readers.waiting == [*readers]


class TestWanted:
    """Anybody can make up a key id: each unknown one asks, and few are heard."""

    @pytest.fixture
    def readers(self) -> IssuerReaders:
        readers = IssuerReaders(time.time)
        readers.follow(policy_with(OKTA))
        return readers

    @pytest.fixture
    def okta(self, readers: IssuerReaders) -> IssuerReader:
        (okta,) = readers
        return okta

    def test_of_a_thousand_that_ask_at_once_one_is_heard(
        self, readers: IssuerReaders, okta: IssuerReader
    ) -> None:
        start = threading.Barrier(8)

        def ask() -> None:
            start.wait(TIMEOUT)
            for _ in range(125):
                readers.want("okta")

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(ask) for _ in range(8)]:
                done.result(TIMEOUT)
        assert okta.inbox.qsize() == 1
        asked = okta.wait()
        assert asked is not None
        assert len(asked) == 1

    def test_the_next_one_is_heard_half_a_minute_later(
        self, readers: IssuerReaders, okta: IssuerReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard = []
        for now in (1000.0, 1001.0, 1029.9, 1030.0, 1059.0, 1060.1):
            monkeypatch.setattr(issuer_readers, "monotonic", partial(float, now))
            readers.want("okta")
            heard.append(okta.inbox.qsize())
        assert heard == [1, 1, 1, 2, 2, 3]

    def test_who_asks_while_another_one_does_does_not_wait(
        self, readers: IssuerReaders, okta: IssuerReader
    ) -> None:
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with okta._wanting:  # noqa: SLF001 - as a thread that is stopped right there
                held.set()
                done.wait(TIMEOUT)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(TIMEOUT)
        readers.want("okta")
        assert okta.inbox.empty()
        done.set()
        thread.join(TIMEOUT)

    def test_an_issuer_that_nobody_declares_asks_nobody(
        self, readers: IssuerReaders, okta: IssuerReader
    ) -> None:
        readers.want("entra")
        assert okta.inbox.empty()
