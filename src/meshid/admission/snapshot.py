"""A snapshot: everything in force at one instant, as one immutable value.

What is derived from a part belongs to it: the verifier and its cache belong to the bundles
and revocations, so new trust starts with an empty cache, and a new certificate of our own
keeps the old one. A part is checked when it arrives and not again: an expired certificate of
ours must not stop a revocation from taking effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypedDict, cast

import attrs

from meshid.admission.bound_peers import BoundPeers
from meshid.certificates.leaf import Profile, Role
from meshid.errors import InvalidBundle, InvalidCredentials, InvalidPolicy, PeerRejected, Problem
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Policy
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.key_set import KeySets
from meshid.tokens.token_verifier import TokenVerifier
from meshid.trust.bundles import BundleSet
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations
from meshid.verification.cache import CachedVerifier
from meshid.verification.verifier import ChainVerifier


class Changes(TypedDict, total=False):
    """The parts of a snapshot that can be published."""

    credentials: X509Svid | None
    bundles: BundleSet
    revocations: Revocations
    policy: Policy | None
    keys: KeySets


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything in force at one instant.

    Attributes:
        credentials: Our own certificate and key; None if there are none.
        bundles: The trust bundles.
        revocations: What is revoked.
        policy: Who may reach what; None admits no client.
        keys: The keys of the issuers of tokens.
        requires_tokens: Whether each request needs a token.
        generation: How many publications have changed something so far.
        verifier: Verifies chains under these bundles and revocations, and caches the results.
        open_verifier: The same, for the peers of connections that are open: with the grace of their leafs.
        bound_peers: Binds tokens to peers, and remembers those that were verified.
        pinned_name: The SPIFFE ID that our credentials must have; None if it may be any.
        first_name: The first SPIFFE ID that we had; None if we have had none yet.
    """

    credentials: X509Svid | None
    bundles: BundleSet
    revocations: Revocations
    policy: Policy | None
    keys: KeySets
    generation: int
    verifier: CachedVerifier = attrs.field(eq=False, repr=False)
    open_verifier: CachedVerifier = attrs.field(eq=False, repr=False)
    bound_peers: BoundPeers = attrs.field(eq=False, repr=False)
    requires_tokens: bool = False
    pinned_name: SpiffeId | None = None
    first_name: SpiffeId | None = None

    @property
    def tokens(self) -> TokenVerifier:
        """What verifies tokens: of the issuers in this policy, with these keys and bundles."""
        return self.bound_peers.verifier

    @property
    def takes_tokens(self) -> bool:
        """Whether there are issuers whose tokens count, or tokens are required."""
        return self.requires_tokens or (self.policy is not None and bool(self.policy.issuers))

    def next_end(self, now: float) -> float:
        """Return when the next rule ends after *now*, both in POSIX seconds; infinity if none does."""
        return math.inf if self.policy is None else self.policy.next_end(now)

    @property
    def name(self) -> SpiffeId | None:
        """Our own SPIFFE ID; None without credentials, or if their trust domain is not known."""
        if self.credentials is None:
            return None
        claim = self.credentials.claim
        domains = [bundle.trust_domain for bundle in self.bundles.values() if bundle.profile is Profile.DNS]
        if claim.trust_domain is None and domains:
            return SpiffeId(domains[0], claim.path)
        return claim.spiffe_id


def first_snapshot(
    clock: Callable[[], float],
    leaf_grace: float = 0.0,
    pinned_name: SpiffeId | None = None,
    *,
    requires_tokens: bool = False,
) -> Snapshot:
    """Return the snapshot before the first publication: it trusts nobody.

    Args:
        clock: Returns the POSIX time in seconds.
        leaf_grace: For how many seconds an open connection may outlive its peer's leaf.
        pinned_name: The SPIFFE ID that our credentials must have; None if it may be any.
        requires_tokens: Whether each request needs a token.
    """
    verifier, open_verifier = _verifiers(BundleSet(), Revocations(), clock, leaf_grace)
    return Snapshot(
        credentials=None,
        bundles=BundleSet(),
        revocations=Revocations(),
        policy=None,
        keys=KeySets(),
        generation=0,
        verifier=verifier,
        open_verifier=open_verifier,
        bound_peers=BoundPeers(TokenVerifier((), KeySets(), BundleSet())),
        requires_tokens=requires_tokens,
        pinned_name=pinned_name,
    )


def _verifiers(
    bundles: BundleSet, revocations: Revocations, clock: Callable[[], float], leaf_grace: float
) -> tuple[CachedVerifier, CachedVerifier]:
    """Return the verifier for chains that arrive, and the one for open connections."""
    verifier = CachedVerifier(ChainVerifier(bundles, revocations=revocations, clock=clock))
    if not leaf_grace:
        return verifier, verifier
    # With a cache of its own: what it remembers must never admit anybody.
    graced = ChainVerifier(bundles, revocations=revocations, clock=clock, leaf_grace=leaf_grace)
    return verifier, CachedVerifier(graced)


def next_snapshot(current: Snapshot, changes: Changes, now: float) -> Snapshot:
    """Return *current* with the *changes*, each checked; *current* itself if nothing differs.

    Args:
        current: The snapshot in force.
        changes: The new parts.
        now: The POSIX time in seconds.

    Raises:
        InvalidCredentials: If new credentials are not in date, do not have the pinned name, do not
            verify under the bundle of their trust domain, or do not belong to the policy's environment.
        InvalidBundle: If none of the authorities of a new bundle is in date.
        InvalidRevocations: If a revocation list is older than the one in force.
        InvalidPolicy: If a new policy is for another environment than our credentials.
        TypeError: If there is no such part, or if one has the wrong type.
    """
    for name, value in changes.items():
        _check_type(name, value)
    # Equal content is not a change: it keeps the cache warm and the TLS sessions alive.
    wanted = {**changes, "keys": _keys_after(current, changes)}
    different = {name: value for name, value in wanted.items() if value != getattr(current, name)}
    news = cast("Changes", different)
    if not news:
        return current
    # That the same keys count for longer changes nothing for anybody.
    is_same = news.keys() == {"keys"} and news["keys"].has_keys_of(current.keys)
    draft = attrs.evolve(current, **news, generation=current.generation + (0 if is_same else 1))
    draft = attrs.evolve(draft, first_name=current.first_name or draft.name)
    # First, because it costs nothing: of many bundles each may be tried alone.
    if "bundles" in news:
        _check_bundles(draft.bundles, current.bundles, now)
    if "bundles" in news or "revocations" in news:
        before = current.open_verifier.verifier
        verifier, open_verifier = _verifiers(
            draft.bundles, draft.revocations, before.clock, before.leaf_grace
        )
        draft = attrs.evolve(draft, verifier=verifier, open_verifier=open_verifier)
    if _token_parts(draft) != _token_parts(current):
        draft = attrs.evolve(draft, bound_peers=_bound_peers(draft))
    if "revocations" in news:
        draft.revocations.check_follows(current.revocations)
    if "bundles" in news or "revocations" in news:
        draft.revocations.ask_signers_of(current.revocations)
    if "credentials" in news:
        _check_credentials(draft, now)
    if "credentials" in news or "policy" in news:
        _check_environment(draft, news)
    return draft


def _keys_after(current: Snapshot, changes: Changes) -> KeySets:
    """Return the keys that are in force with the *changes*: never those of another issuer of the same name.

    Until its own keys are there, an issuer that is declared in another way has none: whoever had its name
    before could sign for it otherwise.
    """
    before = _issuers(current.policy)
    after = _issuers(changes["policy"]) if "policy" in changes else before
    if "keys" in changes:
        keys = changes["keys"]
    else:
        # Keys may be published before the policy that declares their issuer.
        keys = KeySets(
            each
            for name, each in current.keys.items()
            if name not in before or (name in after and before[name].shares_keys_with(after[name]))
        )
    # What was read under one policy may arrive under the next.
    return KeySets(each for name, each in keys.items() if name not in after or each.counts_for(after[name]))


def _issuers(policy: Policy | None) -> dict[str, Issuer]:
    return {} if policy is None else {issuer.name: issuer for issuer in policy.issuers}


def _token_parts(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what the meaning of a token depends on; nothing without issuers."""
    policy = snapshot.policy
    if policy is None or not policy.issuers:
        return ()
    # The keys for JWT-SVIDs are in the bundles.
    needs_bundles = any(each.profile is IssuerProfile.JWT_SVID for each in policy.issuers)
    bundles = snapshot.bundles if needs_bundles else None
    return policy.issuers, policy.environment.trust_domains, snapshot.keys, bundles


def _bound_peers(snapshot: Snapshot) -> BoundPeers:
    policy = snapshot.policy
    if policy is None:
        return BoundPeers(TokenVerifier((), KeySets(), BundleSet()))
    own = policy.environment.trust_domains
    return BoundPeers(TokenVerifier(policy.issuers, snapshot.keys, snapshot.bundles, trust_domains=own))


PARTS: dict[str, tuple[type, str]] = {
    "credentials": (X509Svid, "an X509Svid or None, such as X509Svid.from_pem(chain, key)"),
    "bundles": (BundleSet, "a BundleSet, such as BundleSet([bundle, ...])"),
    "revocations": (Revocations, "a Revocations, such as Revocations(crls=[...], deny=[...])"),
    "policy": (Policy, "a Policy or None, such as Policy.load(path, environment=...)"),
    "keys": (KeySets, "a KeySets, such as KeySets([key_set, ...])"),
}
_MAY_BE_NONE = frozenset({"credentials", "policy"})


def _check_type(name: str, value: object) -> None:
    if name not in PARTS:
        msg = f"a snapshot has no part {quote(name)}; write one of: {', '.join(PARTS)}"
        raise TypeError(msg)
    kind, right = PARTS[name]
    if not (isinstance(value, kind) or (value is None and name in _MAY_BE_NONE)):
        msg = f"{name} must be {right}, not {type(value).__name__}"
        raise TypeError(msg)


def _check_bundles(bundles: BundleSet, known: BundleSet, now: float) -> None:
    instant = datetime.fromtimestamp(now, UTC)
    for bundle in bundles.values():
        if not bundle.authorities or bundle == known.get(bundle.trust_domain):
            continue
        if not any(
            each.not_valid_before_utc <= instant <= each.not_valid_after_utc for each in bundle.authorities
        ):
            last = max(each.not_valid_after_utc for each in bundle.authorities)
            msg = f"bundle of {bundle.trust_domain}: no authority in it is in date; the last one ends {last}"
            raise InvalidBundle(msg)


def _check_credentials(draft: Snapshot, now: float) -> None:
    if draft.credentials is None:
        return
    if draft.pinned_name not in {None, draft.name}:
        name = draft.name or draft.credentials.claim.path
        msg = f"own certificate: its SPIFFE ID is {name}, and must be {draft.pinned_name}"
        raise InvalidCredentials(msg)
    leaf = draft.credentials.leaf
    instant = datetime.fromtimestamp(now, UTC)
    if not leaf.not_valid_before_utc <= instant <= leaf.not_valid_after_utc:
        msg = (
            f"own certificate: valid from {leaf.not_valid_before_utc} to {leaf.not_valid_after_utc},"
            f" and it is {instant:%Y-%m-%d %H:%M:%S} here"
        )
        raise InvalidCredentials(msg)
    if draft.name is not None and draft.name.trust_domain in draft.bundles:
        _check_own_path(draft.credentials, draft.bundles, now)


def _check_own_path(credentials: X509Svid, bundles: BundleSet, now: float) -> None:
    """Check that peers with the same bundles as ours could verify us, as a client or as a server."""
    verifier = ChainVerifier(bundles)
    for role in Role:
        try:
            verifier.verify(credentials.chain, role=role, now=now)
        except PeerRejected as rejection:
            last = rejection
        else:
            return
    is_unknown = last.reason is Reason.UNKNOWN_AUTHORITY
    what_to_do = "; add its issuer to that bundle, or renew it" if is_unknown else ""
    msg = f"own certificate: {last.decision.sentence}{what_to_do}"
    raise InvalidCredentials(msg) from last


def _check_environment(draft: Snapshot, news: Changes) -> None:
    if draft.policy is None or draft.name is None:
        return
    environment = draft.policy.environment
    if draft.name.trust_domain in environment.trust_domains:
        return
    own = ", ".join(map(str, environment.trust_domains))
    msg = f"own certificate is {draft.name}, and the policy is for environment {environment.name} ({own})"
    if "credentials" in news:
        raise InvalidCredentials(msg)
    raise InvalidPolicy((Problem(f"environments.{environment.name}.trust_domains", msg),))
