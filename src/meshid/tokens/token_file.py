"""`TokenFile`: a token that the platform keeps fresh in a file."""

from __future__ import annotations

import math
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from meshid.errors import TokenUnavailable
from meshid.support.quoting import quote
from meshid.tokens.compact_jws import MAX_TOKEN_BYTES
from meshid.tokens.own_token import OwnToken, moment

_LOOK_SECONDS = 1.0

_Identity: TypeAlias = tuple[int, ...]


class TokenFile:
    """Our token from a file that somebody else renews: a projected volume of Kubernetes, spiffe-helper.

    It is looked at again when it is used, once a second at most, and read when it has changed.
    A file that goes missing, or is not right, changes nothing as long as the last token is in date.
    All methods may be called from any thread, and from a loop: none waits for anything but the disk.

    Args:
        path: The file: one JWT, and perhaps a newline; 16 KiB at most.
        clock: Returns the POSIX time in seconds.

    Raises:
        TypeError: If *path* is no path.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._clock = clock
        self._looked_at = -math.inf
        self._found: _Identity | None = None
        self._token: OwnToken | None = None
        self._fault = ""

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"

    def get(self) -> str:
        """Return the token.

        Raises:
            TokenUnavailable: If the file has none that is in date, and the last one is not, either.
        """
        now = self._clock()
        if not 0 <= now - self._looked_at < _LOOK_SECONDS:
            self._fault = self._look(now)
            # Last, so that no other thread relies on a look that is not over.
            self._looked_at = now
        token, why = self._token, self._fault
        if token is not None:
            if now < token.expires_at:
                return token.text
            why = why or _expired(token)
        msg = f"there is no token in {quote(str(self._path))}: {why}"
        raise TokenUnavailable(msg)

    def header(self) -> str:
        """Return the value of ``Authorization`` (RFC 6750 section 2.1).

        Raises:
            TokenUnavailable: As `get` does.
        """
        return f"Bearer {self.get()}"

    def _look(self, now: float) -> str:
        """Read the file if it has changed; return what is wrong with it."""
        try:
            found = _identity(self._path)
            if found == self._found:
                return ""
            token = self._read(found)
        # A NUL in the path is a ValueError.
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else quote(str(error))
            return f"it cannot be read: {why}"
        if isinstance(token, str):
            return token
        if token.expires_at <= now:
            return _expired(token)
        self._token, self._found = token, found
        return ""

    def _read(self, found: _Identity) -> OwnToken | str:
        # Opening a FIFO would wait for its writer.
        if not stat.S_ISREG(found[0]):
            return "it is not a regular file"
        with self._path.open("rb") as file:
            data = file.read(MAX_TOKEN_BYTES + 3)
        return "it is being written" if _identity(self._path) != found else OwnToken.read(_text(data))


def _identity(path: Path) -> _Identity:
    it = path.stat()
    return it.st_mode, it.st_dev, it.st_ino, it.st_size, it.st_mtime_ns, it.st_ctime_ns


def _text(data: bytes) -> str:
    # What is no ASCII is no token in the next step, either.
    text = data.decode("ascii", "replace")
    return text.removesuffix("\n").removesuffix("\r")


def _expired(token: OwnToken) -> str:
    return f"its token has expired at {moment(token.expires_at)}; is it still being renewed?"
