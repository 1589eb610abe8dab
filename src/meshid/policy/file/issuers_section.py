"""The issuers of one environment: tables of a file to values."""

from __future__ import annotations

import re

from meshid.policy.file import issuer_form
from meshid.policy.file.peer_form import NAME, NAME_OF_ISSUER
from meshid.policy.file.shapes import NamedTables, Shape, TableKey
from meshid.policy.file.table_reader import Fields, TableReader, below, kind
from meshid.policy.issuer_profiles import JUDGED_CLAIMS, PROFILES, ProfileFacts, pin_path
from meshid.policy.issuers import Issuer, IssuerProfile, Pin
from meshid.support.quoting import quote, quote_all

_CHOOSING = ("oidc", "github-actions", "google", "entra")
_DOT_SEGMENT = re.compile(r"/(?:\.|%2[eE]){1,2}(?:/|$)")


def read_issuers(
    reader: TableReader, table: Fields, where: str, key: TableKey[NamedTables]
) -> dict[str, Issuer | None]:
    """Read the issuers of one environment, by name; None for one that is wrong."""
    read = {
        name: _IssuerReader(reader, place, name).read(value)
        for place, name, value in reader.named_tables(table, where, key)
    }
    seen: dict[str | None, Issuer] = {}
    for each in filter(None, read.values()):
        if (first := seen.setdefault(each.issuer, each)) is not each:
            what = "a token is told by its `iss`" if each.issuer else "there is one for JWT-SVIDs"
            reader.fail(each.place, f"is the same issuer as {first.place}: {what}; put both into one table")
    return read


class _IssuerReader:
    """Reads one issuer."""

    def __init__(self, reader: TableReader, where: str, name: str) -> None:
        self._reader = reader
        self._where = where
        self._name = name

    def read(self, value: object) -> Issuer | None:
        reader, where = self._reader, self._where
        before = len(reader.problems)
        if not NAME.fullmatch(self._name):
            reader.fail(where, f"must be {NAME_OF_ISSUER.wanted}")
        table = reader.table(value, where, issuer_form.ISSUER)
        if table is None:
            return None
        profile = self._profile(table)
        iss = reader.text(table, where, issuer_form.ISS)
        jwks = reader.text(table, where, issuer_form.JWKS)
        audience = reader.formal_texts(table, where, issuer_form.AUDIENCE)
        principal = reader.text(table, where, issuer_form.PRINCIPAL)
        pins = list(reader.named_texts(table, where, issuer_form.PINS))
        roots = reader.text(table, where, issuer_form.ROOTS)
        bearer_file = reader.text(table, where, issuer_form.BEARER_FILE)
        pinned_keys = reader.formal_texts(table, where, issuer_form.PINNED_KEYS)
        binding = reader.text(table, where, issuer_form.BINDING)
        confirms = reader.flag(table, where, issuer_form.CONFIRM_BY_TLS_KEY)
        max_lifetime = reader.seconds(table, where, issuer_form.MAX_LIFETIME)
        max_stale = reader.seconds(table, where, issuer_form.MAX_STALE)
        if profile is None:
            return None
        facts = PROFILES[profile]
        self._check_iss(table, profile, iss)
        self._check_keys(table, profile, jwks)
        self._check_audience(facts, audience)
        self._check_principal(table, profile, principal)
        self._check_pins(table, profile, pins)
        if len(reader.problems) > before:
            return None
        return Issuer(
            name=self._name,
            profile=profile,
            issuer=iss or facts.fixed_issuer,
            audience=tuple(sorted(set(audience))),
            principal=principal or facts.principal,
            pins=tuple(Pin(claim, text) for _, claim, text in sorted(pins, key=lambda pin: pin[1])),
            jwks=jwks or facts.jwks,
            roots=roots or None,
            bearer_file=bearer_file or None,
            pinned_keys=tuple(sorted(set(pinned_keys))),
            binding_required=binding == "required",
            confirms_by_tls_key=confirms,
            max_lifetime=max_lifetime,
            max_stale=max_stale,
            place=where,
        )

    def _fail(self, key: TableKey[Shape], what: str) -> None:
        self._reader.fail(below(self._where, key.name), what)

    def _profile(self, table: Fields) -> IssuerProfile | None:
        value = table.get(issuer_form.PROFILE.name)
        if isinstance(value, str) and value not in set(IssuerProfile):
            near = self._reader.suggestions.to(value, IssuerProfile)
            if near is not None:
                what = f"there is no profile {quote(value)}; did you mean {quote(str(near))}?"
                self._fail(issuer_form.PROFILE, what)
                return None
        text = self._reader.text(table, self._where, issuer_form.PROFILE)
        return IssuerProfile(text) if text else None

    def _check_iss(self, table: Fields, profile: IssuerProfile, iss: str) -> None:
        facts, key = PROFILES[profile], issuer_form.ISS
        if key.name not in table:
            if facts.has_issuer and facts.fixed_issuer is None:
                self._fail(key, f"is missing; write the `iss` of its tokens: {facts.issuer_wanted}")
        elif not facts.has_issuer:
            self._fail(key, f"leave it out: profile {profile} needs none; keys are those of the trust domain")
        elif not iss:
            return  # Its form is wrong: that is told already.
        elif facts.fixed_issuer is not None and iss != facts.fixed_issuer:
            self._fail(key, f"profile {profile} has only one: {facts.fixed_issuer}; leave it out")
        elif facts.issuer_form is not None and not facts.issuer_form.fullmatch(iss):
            self._fail(
                key, f"{quote(iss)} is no issuer of profile {profile}: it must be {facts.issuer_wanted}"
            )
        elif profile is IssuerProfile.OIDC and (other := _sure_profile(iss)) is not None:
            # It knows who shares the issuer, and which tokens are those of users.
            self._fail(key, f'{quote(iss)} is an issuer of profile {other}: write profile = "{other}"')
        elif wrong := _not_canonical(iss):
            self._fail(key, wrong)

    def _check_keys(self, table: Fields, profile: IssuerProfile, jwks: str) -> None:
        if not PROFILES[profile].has_issuer:
            for key in (
                issuer_form.JWKS,
                issuer_form.ROOTS,
                issuer_form.BEARER_FILE,
                issuer_form.PINNED_KEYS,
                issuer_form.MAX_STALE,
            ):
                if key.name in table:
                    self._fail(key, f"leave it out: the keys of profile {profile} are in the trust bundles")
            return
        if jwks and (wrong := _not_canonical(jwks)):
            self._fail(issuer_form.JWKS, wrong)
        if jwks.startswith("/"):
            for key in (issuer_form.ROOTS, issuer_form.BEARER_FILE):
                if key.name in table:
                    self._fail(key, "counts for nothing, because the keys are read from a file; leave it out")

    def _check_audience(self, facts: ProfileFacts, audience: tuple[str, ...]) -> None:
        for each in audience:
            if each in facts.foreign_audiences:
                what = f"{quote(each)} means another service: whoever is sent such a token could use it there"
                self._fail(issuer_form.AUDIENCE, f"{what}; ask for tokens with an audience of your own")

    def _check_principal(self, table: Fields, profile: IssuerProfile, principal: str) -> None:
        key, facts = issuer_form.PRINCIPAL, PROFILES[profile]
        if key.name not in table or table[key.name] == "" or not principal:
            return
        if facts.principals == ():
            what = f"profile {profile} has one: {facts.principal}; leave the key out"
            self._fail(key, f"{what} (it is for {', '.join(_CHOOSING)})")
        elif reason := _never(facts, principal):
            self._fail(key, f"nobody may be told by {quote(principal)}: {reason}")
        elif facts.principals is not None and principal not in facts.principals:
            self._fail(
                key, f"must be {' or '.join(facts.principals)} for profile {profile}, not {kind(principal)}"
            )

    def _check_pins(self, table: Fields, profile: IssuerProfile, pins: list[tuple[str, str, str]]) -> None:
        facts = PROFILES[profile]
        for place, claim, _ in pins:
            if reason := _never(facts, claim):
                self._reader.fail(place, f"cannot be pinned: {reason}")
            elif pin_path(profile, claim) is None:
                self._reader.fail(
                    place, f"is no claim that profile {profile} can pin; {self._known(facts, claim)}"
                )
        written = table.get(issuer_form.PINS.name, {})
        missing = [each for each in facts.needed_pins if not isinstance(written, dict) or each not in written]
        if missing and isinstance(written, dict):
            pinned = ", ".join(f'{each} = "..."' for each in missing)
            what = f"strangers have the same issuer; pin it to what is yours: pins = {{ {pinned} }}"
            self._reader.fail(below(self._where, issuer_form.PINS.name), what)

    def _known(self, facts: ProfileFacts, claim: str) -> str:
        known = [*(facts.pins or ()), *(f"{family}/KEY" for family in facts.pin_families)]
        if near := self._reader.suggestions.to(claim, known):
            return f"did you mean {quote(str(near))}?"
        return f"known: {quote_all(known, limit=20)}" if known else "it has none"


def _sure_profile(iss: str) -> IssuerProfile | None:
    """Return the profile that knows more of an issuer than that it is one; None if no other does."""
    return next((profile for profile, facts in PROFILES.items() if facts.has(iss)), None)


def _never(facts: ProfileFacts, claim: str) -> str | None:
    """Say why nobody may be told by a claim; None if somebody may."""
    root = claim.partition("/")[0]
    if root in facts.never:
        return facts.never[root]
    return "each token is judged by it already, in its own way" if claim in JUDGED_CLAIMS else None


def _not_canonical(where: str) -> str | None:
    """Say what is wrong if a URL or a path could be written otherwise: it would look like another one."""
    host, _, path = where.removeprefix("https://").partition("/")
    name, colon, port = host.partition(":") if where.startswith("https://") else ("local", "", "")
    if "//" in f"/{path}" or _DOT_SEGMENT.search(f"/{path}"):
        return "remove '.', '..' and empty segments from its path"
    if colon and (not port.isdecimal() or port != str(int(port)) or not 0 < int(port) < 1 << 16):
        return f"{quote(host)} is no host with a port"
    if port == "443":
        return "leave out :443, which is the port of https"
    if not name.strip(".") or name != name.strip("."):
        return f"{quote(host)} is no host: it begins or ends with a dot, or is empty"
    return None
