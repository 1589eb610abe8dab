"""A `urllib3.Retry` that asks a refused server once. It needs urllib3."""

from __future__ import annotations

from typing import Any, Self

from typing_extensions import override
from urllib3 import Retry

from meshid.tls.refusal_of import refusal_of


class RetryUnlessRefused(Retry):
    """A `urllib3.Retry` that does not retry a refusal.

    urllib3 asks a server that `PeerRejected` has refused three times more, and so does requests with
    ``max_retries=3``. Each of these handshakes ends as the first one: the server is the wrong one, or may
    not be there any more. All else is retried as by `urllib3.Retry`, which has the arguments.
    """

    @override
    def increment(  # the parameters of `urllib3.Retry.increment`
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Self:
        """Return what is left after one more failure, as `urllib3.Retry` does.

        Raises:
            urllib3.exceptions.SSLError: If *error* is a refusal.
            urllib3.exceptions.HTTPError: If nothing is left.
        """
        if error is not None and refusal_of(error) is not None:
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)
