"""Key sets: the public keys that the tokens of one issuer are verified with (RFC 7517)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Self

import attrs

from meshid.errors import InvalidKeySet, Problem
from meshid.policy.issuers import Issuer
from meshid.support.quoting import quote, quote_all
from meshid.support.strict_json import parse_json
from meshid.support.types import check_type
from meshid.trust.authorities import first_of
from meshid.trust.token_key import TokenKey, ambiguous_ids, read_keys

__all__ = ["KeySet", "KeySets", "TokenKey"]


MAX_KEY_SET_BYTES = 1024 * 1024
"""A key has 0.2 to 8 kB, with its certificates."""

MAX_KEYS = 100
"""Entries of one set; issuers publish from 2 to 20."""


@attrs.frozen(kw_only=True)
class KeySet:
    """The keys of one issuer.

    Attributes:
        issuer: The name of the issuer in the policy.
        keys: Its keys.
        serve_until: Until when they count, in POSIX seconds, if they cannot be read again.
        skipped: The keys that are ignored, and why.
        declared: The issuer that they were read for; they count for no other of that name. None if they count
            for whichever has it.

    Raises:
        TypeError: If a part has another type.
        ValueError: If *serve_until* is negative or not a number.
    """

    issuer: str
    keys: tuple[TokenKey, ...] = ()
    serve_until: float = math.inf
    skipped: tuple[Problem, ...] = attrs.field(default=(), eq=False)
    declared: Issuer | None = attrs.field(default=None, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_type(type(self.issuer), str, "issuer", "the name of an issuer in the policy, a str")
        for each in self.keys:
            check_type(type(each), TokenKey, "each of the keys", "a TokenKey")
        until: object = self.serve_until
        if not isinstance(until, (int, float)) or isinstance(until, bool):
            msg = f"serve_until must be a POSIX time in seconds, not {type(until).__name__}"
            raise TypeError(msg)
        # Written this way so that NaN, which is never over, is rejected.
        if not until >= 0:
            msg = f"serve_until must be a POSIX time in seconds, not {until}"
            raise ValueError(msg)
        if self.declared is not None:
            check_type(type(self.declared), Issuer, "declared", "an Issuer or None")

    def counts_for(self, issuer: Issuer) -> bool:
        """Return whether its keys are those of an issuer that has its name.

        Args:
            issuer: How the policy declares the issuer.
        """
        return self.declared is None or self.declared.shares_keys_with(issuer)

    @classmethod
    def from_json(
        cls,
        issuer: str,
        data: bytes,
        *,
        serve_until: float = math.inf,
        use: str = "sig",
        pinned: Collection[str] = (),
    ) -> Self:
        """Read a JWK Set (RFC 7517 section 5).

        A key that cannot be used is skipped and the set stands: one of an unknown kind, for another
        ``use``, symmetric, or with a private part, which the issuer has given away by publishing it. Of a
        key without ``alg``, the algorithm is that of its kind: RS256, ES256, ES384, ES512 or EdDSA. A set
        may be empty: it verifies no token.

        Args:
            issuer: The name of the issuer in the policy.
            data: The document, at most `MAX_KEY_SET_BYTES` with at most `MAX_KEYS` keys.
            serve_until: Until when the keys count, in POSIX seconds.
            use: The ``use`` that its keys must have, if they have any.
            pinned: The thumbprints of the only keys that count; empty for all.

        Returns:
            The key set; what was ignored, and why, is in its `skipped`: the first 20, and how many more.

        Raises:
            InvalidKeySet: If *data* is not a JSON object with an array ``keys`` of objects, has too many, or
                if different keys have the same ``kid``.
            TypeError: If *issuer* is not a str, or *data* is not bytes.
        """
        check_type(type(issuer), str, "issuer", "the name of an issuer in the policy, a str")
        check_type(type(data), bytes, "data", "a JWK Set as bytes, such as Path(...).read_bytes()")
        entries = [(f"keys[{index}]", jwk) for index, jwk in enumerate(_entries(issuer, data))]
        keys, skipped = read_keys(entries, use)
        if pinned:
            skipped += [
                Problem(f"key {quote(key.key_id or key.thumbprint)}", "it is not one of the pinned keys")
                for key in keys
                if key.thumbprint not in pinned
            ]
            keys = tuple(key for key in keys if key.thumbprint in pinned)
            missing = sorted(set(pinned) - {key.thumbprint for key in keys})
            skipped += [Problem("", f"the pinned key {quote(each)} is not in the set") for each in missing]
        if ambiguous := ambiguous_ids(keys):
            raise _fault(issuer, f"different keys have the same kid: {quote_all(ambiguous)}")
        if not keys:
            skipped.insert(0, Problem("", "no key in the set can be used, so it verifies no token"))
        return cls(issuer=issuer, keys=keys, serve_until=serve_until, skipped=first_of(skipped))


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

    def has_keys_of(self, other: KeySets) -> bool:
        """Return whether it has the same keys, whatever the times until which they count.

        Args:
            other: The key sets to compare with.
        """
        mine, theirs = ({name: frozenset(each.keys) for name, each in sets.items()} for sets in (self, other))
        return mine == theirs

    def __repr__(self) -> str:
        return f"KeySets({list(self.values())!r})"


def _entries(issuer: str, data: bytes) -> list[dict[str, Any]]:
    if len(data) > MAX_KEY_SET_BYTES:
        raise _fault(issuer, f"it has {len(data)} bytes, and at most {MAX_KEY_SET_BYTES} are read")
    try:
        document = parse_json(data)
    except ValueError as error:
        raise _fault(issuer, str(error)) from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise _fault(issuer, 'it must be a JSON object with an array "keys" of objects')
    if len(keys) > MAX_KEYS:
        raise _fault(issuer, f"it has {len(keys)} keys, and at most {MAX_KEYS} are read")
    return keys


def _fault(issuer: str, what: str) -> InvalidKeySet:
    return InvalidKeySet(f"keys of issuer {quote(issuer)}: {what}")
