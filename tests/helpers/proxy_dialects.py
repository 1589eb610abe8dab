"""What a client may write to be taken for somebody else, in the headers of every proxy."""

from __future__ import annotations

from collections.abc import Sequence

from tests.helpers.forwarding import PROXIES, Pairs, written

_ORIGINAL = (b"x-original-method", b"x-original-uri")
_FORWARDED = (b"x-forwarded-method", b"x-forwarded-uri")
JUDGED: dict[str, tuple[bytes, ...]] = {
    "nginx": _ORIGINAL,
    "haproxy": _ORIGINAL,
    "envoy": (),
    "caddy": _FORWARDED,
    "traefik": _FORWARDED,
    "rfc9440": _ORIGINAL,
}
"""Who may ask an authorizer, and the headers in which it says what is asked for."""

_REQUEST: Pairs = [
    *zip(_ORIGINAL, (b"GET", b"/public"), strict=True),
    *zip(_FORWARDED, (b"GET", b"/public"), strict=True),
    (b"x-envoy-original-path", b"/public"),
    (b"x-http-method-override", b"GET"),
]
_NAMES: Pairs = [
    (b"x-meshid-peer", b"spiffe://prod.example.org/ns/checkout/sa/api"),
    (b"x-meshid-rule", b"charges"),
    (b"x-meshid-connection", b"0" * 32),
    (b"x-amzn-mtls-clientcert-leaf", b"any"),
    (b"l5d-client-id", b"api.checkout.serviceaccount.identity.linkerd.prod.example.org"),
    (b"ssl-client-verify", b"SUCCESS"),
]


def forged(chain: Sequence[bytes], *, besides: str | None = None) -> Pairs:
    """Return all that a client may write to be taken for the owner of *chain* who reads ``/public``.

    Args:
        chain: The chain of the victim, with an intermediate.
        besides: The dialect whose own headers are left out, as its proxy removes or replaces them.
    """
    fields = [field for proxy in PROXIES for field in written(proxy, chain)] + _REQUEST + _NAMES
    # To WSGI the same header, and to ASGI and to most proxies another one.
    fields += [(name.replace(b"-", b"_"), value) for name, value in fields]
    if besides is None:
        return fields
    own = {*dict(written(besides, chain)), *JUDGED.get(besides, ())}
    return [field for field in fields if field[0] not in own]
