"""What stays in force of the revocation lists before, when new ones arrive.

Nothing that goes bad gives a revoked certificate back: a list is replaced only by a later one
of its issuer that the same authority signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from meshid.trust.crl import RevocationList, Undetermined


def newer_in(each: RevocationList, before: Sequence[RevocationList]) -> RevocationList | None:
    """Return the list in force that *each* would undo, because it is later; None without one."""
    # Two lists of one issuer may be in force together: neither undoes the other.
    if each in before:
        return None
    return next((known for known in before if each.is_older_than(known)), None)


def rollback(each: RevocationList, newer: RevocationList) -> str:
    """Return a text that says that *each* is older than the list in force."""
    return f"{each} is older than the one in force, {newer.version()}"


def lists_after(
    lists: Sequence[RevocationList],
    undetermined: Sequence[Undetermined],
    before: Sequence[RevocationList],
    now: datetime,
) -> tuple[tuple[RevocationList, ...], tuple[str, ...]]:
    """Return the lists to put in force after those *before*, and a text about each that is missed.

    Args:
        lists: The new lists.
        undetermined: Those that cannot be used.
        before: The lists in force.
        now: The present instant.
    """
    # The object that is in force remembers who signed it.
    known = {each: each for each in before}
    newer = {each: newer_in(each, before) for each in lists}
    accepted = tuple(known.get(each, each) for each in lists if newer[each] is None)
    texts = [rollback(each, later) for each, later in newer.items() if later is not None]
    missing = [each for each in before if each not in newer and not _has_successor(each, accepted)]
    kept = []
    for each in missing:
        why = _why_missing(each, lists, undetermined)
        if why is None and (end := each.crl.next_update_utc) is not None:
            if now > end:
                continue
            why = f"is gone, and stays in force until {end}"
        texts.append(f"{each} {why or 'is gone, and stays in force'}")
        kept.append(each)
    return (*accepted, *kept), tuple(texts)


def ended_after(
    crls: Sequence[RevocationList], before: Sequence[RevocationList], now: datetime
) -> tuple[RevocationList, ...]:
    """Return the lists of those *before* that are gone only because of the time.

    The clock may be wrong. When it is right again, they are in force again, unless they have successors.

    Args:
        crls: The lists to put in force.
        before: The lists in force, and those that ended earlier.
        now: The present instant.
    """
    gone = [each for each in before if each not in crls and not _has_successor(each, crls)]
    return tuple(each for each in gone if (end := each.crl.next_update_utc) is not None and end < now)


def undetermined_after(
    undetermined: Sequence[Undetermined], before: Sequence[Undetermined]
) -> tuple[tuple[Undetermined, ...], tuple[str, ...]]:
    """Return which of the lists that cannot be used count, and a text about each other one.

    Args:
        undetermined: Those of now.
        before: Those that counted so far.
    """
    now, then = ({each.issuer_key for each in some} for some in (undetermined, before))
    counting = [each for each in undetermined if not then.isdisjoint({None, each.issuer_key})]
    # A list whose issuer cannot be read any more may be one of those before.
    still = [each for each in before if None in now and each.issuer_key not in now]
    texts = tuple(f"{each.text}; what was in force stays" for each in undetermined if each not in counting)
    return (*counting, *still), texts


def _has_successor(each: RevocationList, accepted: Sequence[RevocationList]) -> bool:
    return any(each.is_like(other) and not other.is_older_than(each) for other in accepted)


def _why_missing(
    each: RevocationList, lists: Sequence[RevocationList], undetermined: Sequence[Undetermined]
) -> str | None:
    """Say why *each* has no successor although there is a list; None if there is none."""
    for other in lists:
        if other.is_older_than(each):
            return "stays in force"
        # That of a namesake, in another trust domain, is not meant to replace it.
        if other.is_named_like(each) and not other.signers():
            return f"stays in force, because its signer did not sign the one {other.version()}"
    if any(other.issuer_key in {None, each.issuer_key} for other in undetermined):
        return "stays in force, because a list that may replace it cannot be used"
    return None
