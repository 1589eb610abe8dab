"""`FetchedToken`: a token that a provider gives when it is asked.

The rules of this module:

- The provider is asked in a thread of its own, once at a time, and under no lock of ours.
- Whoever finds a good token takes it at once: only a caller who has none waits, and not for ever.
"""

from __future__ import annotations

import inspect
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Protocol

import attrs

from meshid.errors import TokenUnavailable
from meshid.support.callables import takes
from meshid.support.locks import Order, new_lock
from meshid.support.quoting import described
from meshid.support.types import positive_seconds
from meshid.tokens.binding import certificate_thumbprint
from meshid.tokens.own_token import OwnToken, moment
from meshid.trust.credentials import X509Svid

PAUSE_SECONDS = 5.0
"""Between a failure and the next question: a provider that is down is not asked by each request."""

_MARGIN_SECONDS = 5.0
"""So much before its end a token counts as expired: it has yet to arrive."""

_REFRESH_AT = 0.8
"""As the kubelet does: a new token is fetched after so much of the life of the last one."""

_LIKE_A_TOKEN = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
"""Such as in an error that shows the whole answer of a provider."""


class HasCredentials(Protocol):
    """A snapshot of a mesh."""

    @property
    def credentials(self) -> X509Svid | None:
        """Our own credentials."""


class HasSnapshot(Protocol):
    """A `Mesh`."""

    @property
    def snapshot(self) -> HasCredentials:
        """What is in force."""


class FetchedToken:
    """Our token from a function that asks a provider for one: AWS STS, Okta, Entra, Google.

    The function is called when the token is first used, and again after 80 % of the token's life,
    while the last one goes on serving. If it fails, it is called again after five seconds at the
    earliest, and the last token serves until five seconds before its ``exp``. It is called in a
    thread of its own, by one thread at a time. All methods may be called from any thread.

    Without a good token, `get` waits for the provider; in a loop, call it by `asyncio.to_thread`.

    Args:
        fetch: Returns a JWT with an ``exp``; give it a timeout of its own. What it raises is shown
            to whoever waits, so it must not raise the token or a password.
        mesh: The mesh whose certificate the token is bound to (``cnf``, RFC 8705 section 3.1): when
            the mesh has a new one, the token is fetched anew. A token without ``cnf`` stays.
        timeout: For how many seconds a caller without a good token waits; 10 by default.
        clock: Returns the POSIX time in seconds.

    Raises:
        TypeError: If *fetch* cannot be called without arguments, or is a coroutine function.
        ValueError: If *timeout* is not positive.
    """

    def __init__(
        self,
        fetch: Callable[[], str],
        *,
        mesh: HasSnapshot | None = None,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if inspect.iscoroutinefunction(fetch) or not takes(fetch, 0):
            msg = "fetch must be a plain function that takes nothing and returns a token"
            raise TypeError(msg)
        self._fetch = fetch
        self._mesh = mesh
        self._timeout = positive_seconds(timeout, "timeout")
        self._clock = clock
        self._starting = new_lock(Order.WAITING)
        self._held: _Held | None = None
        self._last: _Fetch | None = None

    @property
    def failure(self) -> str | None:
        """What went wrong when the provider was asked last, for a health check; None if nothing did."""
        last = self._last
        return None if last is None else last.fault(self._timeout)

    def get(self) -> str:
        """Return the token.

        Raises:
            TokenUnavailable: If there is none that is good, and the provider gives none in time.
        """
        held, now = self._held, self._clock()
        if held is None or now >= held.token.expires_at - _MARGIN_SECONDS or not self._is_ours(held.token):
            return self._asked(held, now).wait(self._timeout).text
        if now >= held.refresh_at:
            self._asked(held, now)
        return held.token.text

    def header(self) -> str:
        """Return the value of ``Authorization`` (RFC 6750 section 2.1).

        Raises:
            TokenUnavailable: As `get` does.
        """
        return f"Bearer {self.get()}"

    def _asked(self, held: _Held | None, now: float) -> _Fetch:
        """Ask the provider, unless it is being asked, has just failed, or has answered since we looked."""
        with self._starting:
            last = self._last
            if last is not None and (last.is_running() or last.failed_near(now) or self._held is not held):
                return last
            self._last = fetch = _Fetch(None if last is None else last.failure)
            try:
                fetch.start(self._run)
            # There are too many threads, or the interpreter is ending.
            except RuntimeError as error:
                fetch.fail(described(error), now, error)
            return fetch

    def _run(self, fetch: _Fetch) -> None:
        try:
            token = self._fetched()
            now = self._clock()
        # Whatever it raises, whoever waits is told.
        except BaseException as error:  # noqa: BLE001
            fetch.fail(_without_tokens(described(error)), self._clock(), error)
            return
        if not isinstance(token, str) and token.expires_at - _MARGIN_SECONDS <= now:
            token = f"its token has expired at {moment(token.expires_at)}; compare the clocks"
        if isinstance(token, str):
            fetch.fail(token, now)
            return
        self._held = _Held(token, now + (token.expires_at - now) * _REFRESH_AT)
        fetch.succeed(token)

    def _fetched(self) -> OwnToken | str:
        """Return what the provider gives, or what is wrong with it."""
        while True:
            own = self._own()
            given: object = self._fetch()
            token = (
                OwnToken.read(given) if type(given) is str else f"it is a {type(given).__name__}, not a str"
            )
            # The next round may raise, and whatever reports that may show all variables.
            del given
            if isinstance(token, str) or self._is_ours(token):
                return token
            # If the mesh had a new certificate meanwhile, the token is bound to the last one.
            if self._own() is own:
                return "its token is bound to another certificate than that of the mesh"

    def _own(self) -> X509Svid | None:
        return None if self._mesh is None else self._mesh.snapshot.credentials

    def _is_ours(self, token: OwnToken) -> bool:
        if self._mesh is None or token.certificate is None:
            return True
        own = self._own()
        return own is not None and token.certificate == certificate_thumbprint(own.chain[0])


@attrs.frozen
class _Held:
    token: OwnToken
    refresh_at: float


class _Fetch:
    """One question to the provider, for all who wait for its answer."""

    def __init__(self, failure: str | None) -> None:
        self.failure = failure  # until there is an answer, that of the question before
        self._error: BaseException | None = None
        self._failed_at = -math.inf
        self._token: OwnToken | None = None
        self._begun_at = time.monotonic()
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, run: Callable[[_Fetch], None]) -> None:
        # A daemon: a provider that hangs must not hold up the end of the process.
        self._thread = threading.Thread(target=run, args=(self,), name="meshid-token", daemon=True)
        self._thread.start()

    def is_running(self) -> bool:
        # A forked child has no such thread.
        return self._thread is not None and self._thread.is_alive() and not self._has_ended.is_set()

    def failed_near(self, now: float) -> bool:
        return abs(now - self._failed_at) < PAUSE_SECONDS

    def fail(self, why: str, now: float, error: BaseException | None = None) -> None:
        self.failure, self._failed_at, self._error = why, now, error
        self._has_ended.set()

    def succeed(self, token: OwnToken) -> None:
        self._token, self.failure = token, None
        self._has_ended.set()

    def wait(self, timeout: float) -> OwnToken:
        has_ended = self._has_ended.wait(max(0.0, self._begun_at + timeout - time.monotonic()))
        if self._token is not None:
            return self._token
        msg = f"the provider gives no token: {self.failure if has_ended else _silent_for(timeout)}"
        raise TokenUnavailable(msg) from self._error

    def fault(self, timeout: float) -> str | None:
        if self.is_running() and time.monotonic() >= self._begun_at + timeout:
            return _silent_for(timeout)
        return self.failure


def _silent_for(seconds: float) -> str:
    return f"it has not answered for {seconds:g} s; has it a timeout of its own?"


def _without_tokens(text: str) -> str:
    return _LIKE_A_TOKEN.sub("...", text)
