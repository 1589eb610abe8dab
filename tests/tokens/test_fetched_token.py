"""A provider is asked once for all who need a token, and holds up only those who have none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from meshid import BundleSet, Mesh
from meshid.testing import CA, Issued, TokenIssuer
from meshid.tokens import FetchedToken, TokenUnavailable
from tests.helpers.mounted import eventually
from tests.helpers.processes import ends_well


class Provider:
    """A clock, and a provider that gives tokens of five minutes, or what it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.issuer = TokenIssuer(clock=lambda: self.now)
        self.given: list[str] = []
        self.asked = 0
        self.answers: Callable[[], object] = self.mint

    def mint(self, **claims: object) -> str:
        self.given.append(self.issuer.mint({"jti": str(len(self.given)), **claims}))
        return self.given[-1]

    def fetch(self) -> str:
        self.asked += 1
        return self.answers()  # type: ignore[return-value]

    def clock(self) -> float:
        return self.now

    def fail(self) -> str:
        msg = "the provider is down"
        raise ConnectionError(msg)


class Hanging:
    """An answer that comes when it is let."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self._answer = answer
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self) -> object:
        self.is_asked.set()
        assert self.may_answer.wait(60)
        return self._answer()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def token(provider: Provider) -> FetchedToken:
    return FetchedToken(provider.fetch, clock=provider.clock)


def refusal(token: FetchedToken) -> str:
    with pytest.raises(TokenUnavailable) as refused:
        token.get()
    return str(refused.value)


def has_answered(provider: Provider, asked: int) -> bool:
    """Wait until the question that was asked last is answered, whichever way."""
    running = [thread for thread in threading.enumerate() if thread.name == "meshid-token"]
    for thread in running:
        thread.join(60)
    return provider.asked == asked


def has_no_failure(token: FetchedToken) -> bool:
    return token.failure is None


# -- Kept, and fetched anew -------------------------------------------------------------------------


def test_the_provider_is_asked_when_the_token_is_first_used(provider: Provider, token: FetchedToken) -> None:
    assert provider.asked == 0
    assert token.header() == f"Bearer {provider.given[0]}"
    assert token.get() == provider.given[0]
    assert (provider.asked, token.failure) == (1, None)


def test_after_80_percent_of_its_life_a_new_one_is_fetched_and_nobody_waits_for_it(
    provider: Provider, token: FetchedToken
) -> None:
    first = token.get()
    provider.now += 239
    assert token.get() == first
    assert provider.asked == 1
    provider.answers = hanging = Hanging(provider.mint)
    provider.now += 1
    assert token.get() == first
    assert hanging.is_asked.wait(60)
    assert token.get() == first
    hanging.may_answer.set()
    assert has_answered(provider, 2)
    assert token.get() == provider.given[1] != first


def test_a_provider_that_repeats_itself_is_not_asked_by_each_request(
    provider: Provider, token: FetchedToken
) -> None:
    """As the metadata servers of clouds do, until shortly before the end."""
    same = provider.mint()
    provider.answers = lambda: same
    provider.now += 290
    assert {token.get() for _ in range(50)} == {same}
    assert provider.asked == 1
    provider.now += 4.9
    assert token.get() == same
    assert has_answered(provider, 1)


def test_many_threads_ask_once(provider: Provider, token: FetchedToken) -> None:
    provider.answers = hanging = Hanging(provider.mint)
    with ThreadPoolExecutor(20) as pool:
        got = [pool.submit(token.get) for _ in range(20)]
        assert hanging.is_asked.wait(60)
        hanging.may_answer.set()
        assert {each.result() for each in got} == {provider.given[0]}
    assert provider.asked == 1


def test_who_comes_late_to_ask_takes_what_another_has_fetched(provider: Provider) -> None:
    """Between the look at the clock and the question, another thread has asked and was answered."""
    is_first = True

    def clock() -> float:
        nonlocal is_first
        if is_first:
            is_first = False
            with ThreadPoolExecutor(1) as pool:
                pool.submit(late.get).result()
        return provider.now

    late = FetchedToken(provider.fetch, clock=clock)
    assert late.get() == provider.given[0]
    assert provider.asked == 1


def test_a_loop_goes_on_while_a_thread_waits(provider: Provider, token: FetchedToken) -> None:
    provider.answers = hanging = Hanging(provider.mint)

    async def main() -> str:
        waiting = asyncio.create_task(asyncio.to_thread(token.header))
        await asyncio.to_thread(hanging.is_asked.wait, 60)
        assert not waiting.done()
        hanging.may_answer.set()
        return await waiting

    assert asyncio.run(main()) == f"Bearer {provider.given[0]}"


# -- A provider that fails --------------------------------------------------------------------------


def test_a_failure_is_said_with_its_cause_and_the_provider_has_a_pause(
    provider: Provider, token: FetchedToken
) -> None:
    provider.answers = provider.fail
    with pytest.raises(TokenUnavailable) as refused:
        token.get()
    assert str(refused.value) == "the provider gives no token: ConnectionError: 'the provider is down'"
    assert isinstance(refused.value.__cause__, ConnectionError)
    provider.answers = provider.mint
    provider.now += 4.9
    assert "is down" in refusal(token)
    assert provider.asked == 1
    provider.now += 0.1
    assert token.get() == provider.given[0]
    assert token.failure is None


def test_the_last_token_serves_until_shortly_before_its_end(provider: Provider, token: FetchedToken) -> None:
    first = token.get()
    provider.answers = provider.fail
    provider.now += 240
    assert token.get() == first
    assert has_answered(provider, 2)
    assert token.failure == "ConnectionError: 'the provider is down'"
    provider.now += 54.9
    assert token.get() == first
    assert has_answered(provider, 3)
    provider.now += 0.1
    assert "is down" in refusal(token)
    assert provider.asked == 3
    provider.now += 5
    assert "is down" in refusal(token)
    assert provider.asked == 4


def test_a_clock_that_steps_back_makes_no_pause_longer(provider: Provider, token: FetchedToken) -> None:
    provider.answers = provider.fail
    refusal(token)
    provider.now -= 3600
    provider.answers = provider.mint
    assert token.get() == provider.given[0]


def test_a_provider_that_hangs_holds_up_only_who_has_no_token(provider: Provider) -> None:
    token = FetchedToken(provider.fetch, timeout=0.05, clock=provider.clock)
    first = token.get()
    provider.answers = hanging = Hanging(provider.mint)
    provider.now += 240
    assert token.get() == first
    assert hanging.is_asked.wait(60)
    assert eventually(lambda: token.failure)
    assert token.failure == "it has not answered for 0.05 s; has it a timeout of its own?"
    assert token.get() == first
    provider.now += 60
    assert refusal(token) == f"the provider gives no token: {token.failure}"
    assert provider.asked == 2
    hanging.may_answer.set()
    assert has_answered(provider, 2)
    assert token.get() == provider.given[1]
    assert has_no_failure(token)


def test_while_it_is_asked_again_the_last_failure_is_still_told(
    provider: Provider, token: FetchedToken
) -> None:
    provider.answers = provider.fail
    refusal(token)
    provider.answers = hanging = Hanging(provider.mint)
    provider.now += 5
    with ThreadPoolExecutor(1) as pool:
        got = pool.submit(token.get)
        assert hanging.is_asked.wait(60)
        assert token.failure == "ConnectionError: 'the provider is down'"
        hanging.may_answer.set()
        assert got.result() == provider.given[0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(b"e30.e30.c2ln", "it is a bytes, not a str", id="bytes"),
        pytest.param(None, "it is a NoneType, not a str", id="nothing"),
        pytest.param("opaque", "it is no signed JWT", id="opaque"),
        pytest.param(
            TokenIssuer(clock=lambda: 1_000_000.0).mint({"exp": 1_000_005}),
            "its token has expired at 1970-01-12 13:46:45 UTC; compare the clocks",
            id="about to expire",
        ),
    ],
)
def test_what_is_no_token_to_send_is_said_and_does_not_replace_the_last(
    provider: Provider, token: FetchedToken, answer: object, why: str
) -> None:
    provider.answers = lambda: answer
    assert refusal(token).startswith(f"the provider gives no token: {why}")
    provider.answers = provider.mint
    provider.now += 5
    good = token.get()
    provider.answers = lambda: answer
    provider.now += 240
    assert token.get() == good
    assert has_answered(provider, 3)
    assert token.get() == good


def test_a_thread_that_cannot_start_is_a_failure(
    provider: Provider, token: FetchedToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert refusal(token).endswith("can't start new thread\"")
    provider.now += 5
    assert token.get() == provider.given[0]


def test_a_provider_that_ends_its_thread_is_a_failure(provider: Provider, token: FetchedToken) -> None:
    provider.answers = partial(exec, "raise SystemExit(3)")
    assert refusal(token) == "the provider gives no token: SystemExit: '3'"


def test_no_token_is_shown(provider: Provider, token: FetchedToken) -> None:
    def fail() -> str:
        msg = f"what is this: {provider.mint()}"
        raise ValueError(msg)

    provider.answers = fail
    assert refusal(token) == "the provider gives no token: ValueError: 'what is this: ...'"
    provider.answers = provider.mint
    provider.now += 5
    text = token.get()
    parts = [token, *vars(token).values()]
    assert text not in "".join(f"{it!r}{getattr(it, '__dict__', '')}" for it in parts)


FORKING = """
import os, sys, threading
from meshid.testing import TokenIssuer
from meshid.tokens import FetchedToken

issuer = TokenIssuer()
parent = os.getpid()
is_asked, may_answer = threading.Event(), threading.Event()

def fetch():
    if os.getpid() == parent:
        is_asked.set()
        may_answer.wait()
    return issuer.mint({})

token = FetchedToken(fetch)
waiting = threading.Thread(target=token.get)
waiting.start()
is_asked.wait()
child = os.fork()
if child == 0:
    os._exit(0 if token.get() else 1)
status = os.waitpid(child, 0)[1]
may_answer.set()
waiting.join()
sys.exit(status)
"""


def test_a_forked_child_asks_for_itself() -> None:
    ends_well(FORKING)


ENDING = """
import threading
from meshid.tokens import FetchedToken, TokenUnavailable

try:
    FetchedToken(threading.Event().wait, timeout=0.05).get()
except TokenUnavailable:
    pass
"""


def test_a_provider_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    ends_well(ENDING)


WITHOUT_PYJWT = """
import sys
sys.modules["jwt"] = None
from meshid.testing import TokenIssuer
from meshid.tokens import FetchedToken

FetchedToken(lambda: TokenIssuer().mint({})).header()
"""


def test_to_send_a_token_needs_no_optional_dependency() -> None:
    ends_well(WITHOUT_PYJWT)


@pytest.mark.parametrize(
    "fetch", [None, "token", len, asyncio.sleep], ids=["None", "str", "len", "coroutine"]
)
def test_what_cannot_be_asked_is_a_mistake_of_the_caller(fetch: Callable[[], str]) -> None:
    with pytest.raises(TypeError, match="fetch must be a plain function"):
        FetchedToken(fetch)


def test_a_timeout_that_is_none_is_a_mistake_of_the_caller(provider: Provider) -> None:
    with pytest.raises(ValueError, match="timeout"):
        FetchedToken(provider.fetch, timeout=0)


# -- Bound to the certificate of a mesh -------------------------------------------------------------


def thumbprint(issued: Issued) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(issued.chain[0]).digest()).rstrip(b"=").decode()


class Bound:
    """A mesh, and a provider that binds its tokens to a certificate of it."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.ca = CA("prod.example.org")
        self.first, self.second = self.ca.issue("/a"), self.ca.issue("/a")
        self.bound_to = self.first
        self.mesh = Mesh(credentials=self.first.svid, bundles=BundleSet([self.ca.bundle()]))
        self.token = FetchedToken(provider.fetch, mesh=self.mesh, clock=provider.clock)
        provider.answers = self.mint

    def mint(self) -> str:
        return self.provider.mint(cnf={"x5t#S256": thumbprint(self.bound_to)})

    def renew(self) -> None:
        self.bound_to = self.second
        self.mesh.publish(credentials=self.second.svid)


@pytest.fixture
def bound(provider: Provider) -> Bound:
    return Bound(provider)


def test_a_new_certificate_needs_a_new_token(bound: Bound, provider: Provider) -> None:
    first = bound.token.get()
    assert bound.token.get() == first
    bound.renew()
    assert bound.token.get() == provider.given[1] != first
    assert bound.token.get() == provider.given[1]


def test_a_token_that_is_bound_to_nothing_outlives_a_certificate(bound: Bound, provider: Provider) -> None:
    provider.answers = provider.mint
    first = bound.token.get()
    bound.renew()
    assert bound.token.get() == first


def test_a_certificate_that_is_renewed_while_the_provider_is_asked_is_no_failure(
    bound: Bound, provider: Provider
) -> None:
    def too_late() -> str:
        text = bound.mint()
        provider.answers = bound.mint
        bound.renew()
        return text

    provider.answers = too_late
    assert bound.token.get() == provider.given[1]
    assert provider.asked == 2


def test_a_token_that_is_bound_elsewhere_is_not_sent(bound: Bound, provider: Provider) -> None:
    bound.bound_to = bound.second
    elsewhere = "its token is bound to another certificate than that of the mesh"
    assert refusal(bound.token) == f"the provider gives no token: {elsewhere}"
    assert provider.asked == 1


def test_a_mesh_without_a_certificate_sends_no_bound_token(bound: Bound) -> None:
    token = FetchedToken(bound.provider.fetch, mesh=Mesh(), clock=bound.provider.clock)
    assert "bound to another certificate" in refusal(token)
