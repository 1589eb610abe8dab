"""Key sets: the public keys that the tokens of one issuer are verified with (RFC 7517)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshid.errors import InvalidKeySet, Problem
from meshid.support.quoting import quote
from meshid.support.types import check_type


@attrs.frozen(kw_only=True)
class TokenKey:
    """One public key.

    Attributes:
        key_id: Its ``kid``; None if it has none.
        algorithm: The one algorithm that it verifies (RFC 7518 section 3.1, RFC 8037 section 3.1).
        thumbprint: Its thumbprint (RFC 7638, SHA-256, base64url without padding).
        public_key: The key, of `cryptography`.
    """

    key_id: str | None
    algorithm: str
    thumbprint: str
    public_key: object = attrs.field(eq=False, repr=False)


@attrs.frozen(kw_only=True)
class KeySet:
    """The keys of one issuer.

    Attributes:
        issuer: The name of the issuer in the policy.
        keys: Its keys.
        serve_until: Until when they count, in POSIX seconds, if they cannot be read again.
        skipped: The keys that are ignored, and why.
    """

    issuer: str
    keys: tuple[TokenKey, ...] = ()
    serve_until: float = math.inf
    skipped: tuple[Problem, ...] = attrs.field(default=(), eq=False)


class KeySets(Mapping[str, KeySet]):
    """The key sets of all issuers, by the name of the issuer: an immutable mapping.

    Args:
        key_sets: The key sets, in any order.

    Raises:
        InvalidKeySet: If two are of the same issuer.
        TypeError: If *key_sets* are anything else.
    """

    __slots__ = ("_key_sets",)

    def __init__(self, key_sets: Iterable[KeySet] = ()) -> None:
        self._key_sets: dict[str, KeySet] = {}
        check_type(
            type(key_sets), Iterable, "key_sets", "a list of key sets, such as KeySets([key_set, ...])"
        )
        for each in key_sets:
            check_type(type(each), KeySet, "each of the key sets", "a KeySet")
            if each.issuer in self._key_sets:
                msg = f"there are two key sets for issuer {quote(each.issuer)}; they are never merged"
                raise InvalidKeySet(msg)
            self._key_sets[each.issuer] = each

    def __getitem__(self, issuer: str) -> KeySet:
        return self._key_sets[issuer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._key_sets)

    def __len__(self) -> int:
        return len(self._key_sets)

    def __hash__(self) -> int:
        return hash(frozenset(self._key_sets.items()))

    def __repr__(self) -> str:
        return f"KeySets({list(self.values())!r})"
