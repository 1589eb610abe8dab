"""No environment of a file that loads can mint a name of another, and each name is one peer's.

Whatever is proven when a file is loaded is asked of an independent model as well: it tries every issuer
against every other, and every name of a small world.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import SpiffeId
from meshid.names.pattern import Pattern
from meshid.policy.file import ambiguity, loading
from meshid.policy.named_peers import PeerNames
from tests.helpers.issuer_files import ISSUERS, THUMBPRINTS, document, loaded, problems_of

ENVIRONMENTS = ["prod", "dev", "test"]

# -- The model: every issuer, every name ---------------------------------------

WORDS = ["a", "b", "ab"]
SEGMENTS = st.sampled_from(["a", "b", "a*", "*b", "*", "**"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=2).map("/".join)
ACCOUNTS = st.tuples(*[st.sampled_from(["a", "b", "a*", "*b", "*"])] * 2).map("/".join)
VALUES = ["/".join(parts) for length in range(1, 4) for parts in product(WORDS, repeat=length)]
PLACES = ["https://a.example", "https://b.example", "https://c.example"]
KEYS = st.lists(st.sampled_from(THUMBPRINTS), min_size=1, max_size=2, unique=True)
ISSUER: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "profile": st.sampled_from(["oidc", "kubernetes"]),
        "issuer": st.sampled_from([*PLACES, PLACES[0] + "/"]),
        "audience": st.just(["x"]),
    },
    optional={"pinned_keys": KEYS, "jwks": st.sampled_from(["/keys", f"{PLACES[1]}/openid/v1/jwks"])},
)
PEER: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "spiffe": st.lists(
            st.one_of(
                PATHS.map(lambda path: f"/{path}"),
                PATHS.map(lambda path: f"spiffe://partner.example/{path}"),
                PATHS.map(lambda path: f"/{path}"),
                st.tuples(
                    st.sampled_from(["partner.example", *(f"{each}.example" for each in ENVIRONMENTS)]), PATHS
                ).map(lambda parts: f"spiffe://{parts[0]}/{parts[1]}"),
            ),
            min_size=1,
            max_size=2,
        )
    },
    optional={
        "kubernetes": st.lists(ACCOUNTS, min_size=1, max_size=2),
        "tokens": st.lists(
            st.fixed_dictionaries({"issuer": st.sampled_from(["i", "j"]), "principal": PATHS}), max_size=2
        ),
    },
)


ALIKE = st.integers(0, 3).map(lambda number: number == 0)


def own_issuer(name: str, environment: str) -> dict[str, Any]:
    profile = "kubernetes" if name == "j" else "oidc"
    return {"profile": profile, "issuer": f"https://{name}.{environment}", "audience": ["x"]}


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Make a file whose only mistakes can be those that the model sees."""
    names = ENVIRONMENTS[: draw(st.integers(1, 3))]
    environments: dict[str, dict[str, Any]] = {
        name: {
            "trust_domains": [f"{name}.example"],
            "federates_with": [
                "partner.example",
                *draw(st.sampled_from([[], [f"{each}.example" for each in ENVIRONMENTS if each != name]])),
            ],
            "issuers": {
                issuer: draw(ISSUER) if draw(ALIKE) else own_issuer(issuer, name)
                for issuer in draw(st.sampled_from(["i", "ij"]))
            },
        }
        for name in names
    }
    listed = draw(st.lists(PEER, min_size=1, max_size=3))
    issuers = [issuer for each in environments.values() for issuer in each["issuers"].values()]
    if all(issuer["profile"] != "kubernetes" for issuer in issuers):
        listed = [{key: value for key, value in peer.items() if key != "kubernetes"} for peer in listed]
    known = {name for each in environments.values() for name in each["issuers"]}
    for peer in listed:
        peer["tokens"] = [each for each in peer.get("tokens", []) if each["issuer"] in known]
    return {
        "version": 1,
        "environments": environments,
        "peers": [{"name": f"p{number}", **peer} for number, peer in enumerate(listed)],
    }


def issuers_of(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for environment, each in content["environments"].items():
        yield from ((environment, issuer) for issuer in each["issuers"].values())


def places_of(issuer: dict[str, Any]) -> set[str]:
    """Return where the keys of an issuer come from, whatever it is called."""
    origin = issuer["issuer"].rstrip("/")
    fallback = f"{origin}/openid/v1/jwks" if issuer["profile"] == "kubernetes" else None
    return {origin, issuer.get("jwks", fallback)} - {None}


def can_cross(content: dict[str, Any]) -> bool:
    """Tell whether a key that may speak for an issuer may speak for one of another environment."""
    # At each place there may be a key that nobody has pinned, and there are those that somebody has.
    published: dict[str, set[str]] = {}
    for _, issuer in issuers_of(content):
        for place in places_of(issuer):
            published.setdefault(place, {f"some key at {place}"}).update(issuer.get("pinned_keys", ()))

    def believed(issuer: dict[str, Any]) -> set[str]:
        at_its_places = set().union(*(published[place] for place in places_of(issuer)))
        return at_its_places & set(issuer.get("pinned_keys", at_its_places))

    return any(
        one != other and believed(by) & believed(of)
        for (one, by), (other, of) in product(issuers_of(content), repeat=2)
    )


def names_twice(content: dict[str, Any]) -> bool:
    """Tell whether a SPIFFE ID or a principal of some environment is two peers."""
    for environment, each in content["environments"].items():
        for value in VALUES:
            for domain in ("partner.example", *(f"{each}.example" for each in ENVIRONMENTS)):
                patterns = {f"spiffe://{domain}/"} | ({"/"} if domain == f"{environment}.example" else set())
                if len(peers_by_path(content, patterns, value)) > 1:
                    return True
            for name, issuer in each["issuers"].items():
                if len(peers_by_principal(content, name, issuer["profile"], value)) > 1:
                    return True
    return False


def peers_by_path(content: dict[str, Any], begins: set[str], value: str) -> set[str]:
    return {
        peer["name"]
        for peer in content["peers"]
        for alias in peer["spiffe"]
        for begin in begins
        if alias.startswith(begin) and Pattern.parse(alias.removeprefix(begin)).matches(value)
    }


def peers_by_principal(content: dict[str, Any], name: str, profile: str, value: str) -> set[str]:
    return {
        peer["name"]
        for peer in content["peers"]
        for alias in [
            *(peer.get("kubernetes", []) if profile == "kubernetes" else []),
            *(each["principal"] for each in peer["tokens"] if each["issuer"] == name),
        ]
        if Pattern.parse(alias).matches(value)
    }


def names_foreign(content: dict[str, Any]) -> bool:
    """Tell whether a peer, who is in every environment, has a name in the trust domain of one of them."""
    own = [f"spiffe://{name}.example/" for name in content["environments"]]
    unknown = [f"spiffe://{name}.example/" for name in ENVIRONMENTS if name not in content["environments"]]
    for alias in (alias for peer in content["peers"] for alias in peer["spiffe"]):
        federated = {
            each for environment in content["environments"].values() for each in environment["federates_with"]
        }
        if any(alias.startswith(each) and each[9:-1] not in federated for each in unknown):
            return True
        if len(own) > 1 and any(map(alias.startswith, own)):
            return True
    return False


def is_declared_twice(content: dict[str, Any]) -> bool:
    listed = [
        [issuer["issuer"] for issuer in each["issuers"].values()] for each in content["environments"].values()
    ]
    return any(len(set(each)) < len(each) for each in listed)


@settings(max_examples=200)
@given(files())
def test_a_file_loads_if_and_only_if_the_model_finds_no_crossing(content: dict[str, Any]) -> None:
    is_wrong = (
        can_cross(content) or names_twice(content) or names_foreign(content) or is_declared_twice(content)
    )
    for environment in content["environments"]:
        assert bool(problems_of(content, environment)) == is_wrong, problems_of(content, environment)


@settings(max_examples=100)
@given(files())
def test_a_name_of_a_file_that_loads_is_what_the_model_says(content: dict[str, Any]) -> None:
    for environment, each in content["environments"].items():
        if problems_of(content, environment):
            return
        policy = loaded(content, environment)
        names = PeerNames(policy.peers, policy.environment.trust_domains, policy.issuers)
        for value in VALUES:
            for domain in (f"{environment}.example", "partner.example"):
                patterns = {f"spiffe://{domain}/"} | ({"/"} if domain != "partner.example" else set())
                found = names.of(SpiffeId.parse(f"spiffe://{domain}/{value}"))
                assert ({found.name} if found else set()) == peers_by_path(content, patterns, value)
            for name, issuer in each["issuers"].items():
                found = names.of_token(name, value)
                expected = peers_by_principal(content, name, issuer["profile"], value)
                assert ({found.name} if found else set()) == expected


# -- Every mutation is found ----------------------------------------------------


def two_environments(*, shared: bool = False) -> dict[str, Any]:
    """Return a file of two environments that loads, both with issuers for the same peers.

    Args:
        shared: Whether their clusters have the default issuer, told apart by their keys alone.
    """
    clusters = "https://kubernetes.default.svc.cluster.local" if shared else "https://{}.cluster.example"
    environments = {
        name: {
            "trust_domains": [f"{name}.example.org"],
            "federates_with": ["partner.example"],
            "issuers": {
                "okta": {
                    "profile": "okta",
                    "issuer": f"https://acme.okta.com/oauth2/{name}",
                    "audience": [f"api://{name}"],
                },
                "cluster": {
                    "profile": "kubernetes",
                    "issuer": clusters.format(name),
                    "audience": [f"meshid:{name}"],
                    "jwks": f"https://{name}.cluster.example/keys",
                    "pinned_keys": [THUMBPRINTS[number]],
                },
                "id": {
                    "profile": "oidc",
                    "issuer": f"https://id.{name}.example",
                    "audience": [f"id:{name}"],
                },
                "spire": {"profile": "jwt-svid", "audience": [f"spire:{name}"]},
            },
        }
        for number, name in enumerate(["prod", "dev"])
    }
    return {
        "version": 1,
        "environments": environments,
        "peers": [
            {
                "name": "payments-api",
                "spiffe": ["/ns/payments/sa/api", "spiffe://partner.example/payments"],
                "kubernetes": ["payments/api"],
                "okta": ["0oa1"],
                "tokens": [{"issuer": "id", "principal": "payments-*"}],
            },
            {
                "name": "checkout",
                "spiffe": ["/ns/checkout/**"],
                "kubernetes": ["checkout/*"],
                "okta": ["0oa2"],
                "tokens": [{"issuer": "id", "principal": "checkout-*"}],
            },
        ],
    }


Change = Callable[[dict[str, Any]], None]


def in_issuer(name: str, **keys: object) -> Change:
    def change(content: dict[str, Any]) -> None:
        issuer = content["environments"]["dev"]["issuers"][name]
        issuer.update(keys)
        for key in [key for key, value in issuer.items() if value is None]:
            del issuer[key]

    return change


def in_peer(key: str, alias: object, which: int = 1) -> Change:
    return lambda content: content["peers"][which][key].append(alias)


def federated(content: dict[str, Any]) -> None:
    content["environments"]["prod"]["federates_with"].append("dev.example.org")
    content["peers"][0]["spiffe"].append("spiffe://dev.example.org/ns/payments/sa/api")


def moved(content: dict[str, Any]) -> None:
    content["environments"]["prod"]["trust_domains"].append("dev.example.org")


def copied(name: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        environments = content["environments"]
        environments["dev"]["issuers"][f"{name}2"] = dict(environments["prod"]["issuers"][name])

    return change


MUTATIONS: dict[str, tuple[bool, Change, str]] = {
    "the same issuer": (
        False,
        in_issuer("okta", issuer="https://acme.okta.com/oauth2/prod"),
        "whoever mints for 'dev.okta' could mint peer 'payments-api' of environment 'prod', as '0oa1'",
    ),
    "the same issuer under another profile": (
        False,
        in_issuer("id", issuer="https://acme.okta.com/oauth2/prod"),
        "'dev.id' could mint peer 'payments-api' of environment 'prod', as '0oa1'",
    ),
    "the same place with a slash": (
        False,
        in_issuer("id", issuer="https://id.prod.example/"),
        "'dev.id' could mint peer 'payments-api' of environment 'prod', as 'payments-'",
    ),
    "the same place of keys with an escape": (
        False,
        in_issuer("cluster", jwks="https://prod.cluster.example/%6beys", pinned_keys=None),
        "'dev.cluster' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "the same place of keys with an empty query": (
        False,
        in_issuer("cluster", jwks="https://prod.cluster.example/keys?", pinned_keys=None),
        "'dev.cluster' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "the same place with an escape": (
        False,
        in_issuer("id", issuer="https://acme.okta.com/oauth2/%70rod"),
        "'dev.id' could mint peer 'payments-api' of environment 'prod', as '0oa1'",
    ),
    "the same keys": (
        False,
        in_issuer("cluster", jwks="https://prod.cluster.example/keys", pinned_keys=None),
        "'dev.cluster' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "the keys at their documented place": (
        False,
        in_issuer("id", jwks="https://acme.okta.com/oauth2/prod/v1/keys"),
        "'dev.id' could mint peer 'payments-api' of environment 'prod', as '0oa1'",
    ),
    "overlapping keys at two places": (
        False,
        in_issuer("cluster", pinned_keys=[THUMBPRINTS[2], THUMBPRINTS[0]]),
        f"the key {THUMBPRINTS[0]} counts in environment 'prod', too",
    ),
    "overlapping keys at one place": (
        True,
        in_issuer("cluster", pinned_keys=[THUMBPRINTS[1], THUMBPRINTS[0]]),
        "'dev.cluster' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "keys of dev that are not pinned": (
        True,
        in_issuer("cluster", pinned_keys=None),
        "'dev.cluster' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "an issuer of prod in dev": (
        False,
        copied("okta"),
        "'dev.okta2' could mint peer 'payments-api' of environment 'prod', as '0oa1'",
    ),
    "an issuer of prod with pinned keys in dev": (
        True,
        copied("cluster"),
        "'dev.cluster2' could mint peer 'payments-api' of environment 'prod', as 'payments/api'",
    ),
    "an alias in a trust domain of dev": (
        False,
        in_peer("spiffe", "spiffe://dev.example.org/ns/*/sa/api"),
        "an authority of 'dev' could mint 'checkout' of another one, as 'spiffe://dev.example.org/ns/x/sa/api'",
    ),
    "an alias in a federated trust domain of dev": (
        False,
        federated,
        "'payments-api' of another one, as 'spiffe://dev.example.org/ns/payments/sa/api'",
    ),
    "a trust domain of dev in prod": (
        False,
        moved,
        "dev.example.org already belongs to environment",
    ),
    "a SPIFFE ID of two peers": (
        False,
        in_peer("spiffe", "/ns/*/sa/api"),
        "'spiffe://prod.example.org/ns/payments/sa/api' would be 'payments-api' and, by peers[1].spiffe[1],",
    ),
    "a federated SPIFFE ID of two peers": (
        False,
        in_peer("spiffe", "spiffe://partner.example/payments"),
        "SPIFFE ID 'spiffe://partner.example/payments' would be 'checkout' and, by peers[0].spiffe[1],",
    ),
    "a service account of two peers": (
        False,
        in_peer("kubernetes", "*/api"),
        "principal 'payments/api' would be 'payments-api' and, by peers[1].kubernetes[1], 'checkout'",
    ),
    "a client of two peers": (
        False,
        in_peer("okta", "0oa1"),
        "principal '0oa1' would be 'checkout' and, by peers[0].okta[0], 'payments-api'",
    ),
    "a shorthand and an alias by issuer": (
        False,
        in_peer("tokens", {"issuer": "cluster", "principal": "payments/*"}),
        "principal 'payments/api' would be 'checkout' and, by peers[0].kubernetes[0], 'payments-api'",
    ),
    "an alias by issuer and a shorthand with a wildcard": (
        False,
        in_peer("tokens", {"issuer": "cluster", "principal": "checkout/api"}, which=0),
        "principal 'checkout/api' would be 'payments-api' and, by peers[1].kubernetes[0], 'checkout'",
    ),
    "two wildcards": (
        False,
        in_peer("tokens", {"issuer": "id", "principal": "*-blue"}),
        "principal 'payments--blue' would be 'checkout' and, by peers[0].tokens[0], 'payments-api'",
    ),
}


@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
@pytest.mark.parametrize("loads_for", ["prod", "dev"])
def test_it_loads_and_says_so(*, shared: bool, loads_for: str) -> None:
    policy = loaded(two_environments(shared=shared), loads_for)
    assert str(policy.isolation) == (
        "isolation is proved: of 8 issuers and 2 peers by name, none of environments 'prod', 'dev' can "
        "mint a name of another, and no principal and no SPIFFE ID names two peers"
    )


def test_one_environment_has_nobody_to_be_told_from() -> None:
    content = two_environments()
    del content["environments"]["dev"]
    assert str(loaded(content).isolation) == (
        "isolation is proved: of 4 issuers and 2 peers by name, no principal and no SPIFFE ID names two peers"
    )
    # Its own trust domain may be spelled out, and is the same as without.
    in_peer("spiffe", "spiffe://prod.example.org/z")(content)
    assert loaded(content).isolation
    in_peer("spiffe", "spiffe://prod.example.org/ns/payments/**")(content)
    (problem,) = problems_of(content)
    assert problem.where == "peers[1].spiffe[2]"
    assert (
        "'spiffe://prod.example.org/ns/payments/sa/api' would be 'checkout' and, by peers[0]" in problem.what
    )


@pytest.mark.parametrize("environment", ["prod", "dev"])
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_found_with_what_it_would_allow(name: str, environment: str) -> None:
    shared, change, told = MUTATIONS[name]
    content = two_environments(shared=shared)
    change(content)
    found = problems_of(content, environment)
    assert found
    assert any(told in each.what for each in found), found


TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
SPELLINGS = [
    (
        "entra",
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        f"https://sts.windows.net/{TENANT}/",
        TENANT,
    ),
    (
        "eks",
        "https://oidc.eks.us-east-1.amazonaws.com/id/1A",
        "https://oidc-eks.us-east-1.api.aws/id/1A",
        "us-east-1/1A",
    ),
]


@pytest.mark.parametrize(("profile", "one", "other", "customer"), SPELLINGS, ids=["entra", "eks"])
def test_a_customer_with_two_issuers_is_in_one_environment(
    profile: str, one: str, other: str, customer: str
) -> None:
    content = two_environments()
    in_issuer("id", issuer=other, profile=profile)(content)
    assert not problems_of(content)
    content["environments"]["prod"]["issuers"]["id"].update(issuer=one, profile=profile)
    (problem,) = problems_of(content)
    assert f"'{customer}' of profile {profile} counts in environment 'prod', too" in problem.what


PLACES_IN_TWO_SPELLINGS = [
    ("https://k.example", "https://k.example/"),
    ("https://k.example/a%2fb?q=1", "https://k.example/a%2Fb?q=%31"),
    ("/etc/keys", "/etc/keys/"),
]


@pytest.mark.parametrize(("one", "other"), PLACES_IN_TWO_SPELLINGS, ids=["a root", "an escape", "a file"])
def test_a_place_of_keys_is_the_same_however_it_is_written(one: str, other: str) -> None:
    content = two_environments()
    in_issuer("id", jwks=other)(content)
    content["environments"]["prod"]["issuers"]["id"]["jwks"] = one
    (problem,) = problems_of(content)
    assert "counts in environment 'prod', too" in problem.what


@pytest.mark.parametrize("other", ["/etc/%6beys", "https://k.example/keys"], ids=["a file", "a URL"])
def test_other_places_of_keys_are_others(other: str) -> None:
    content = two_environments()
    in_issuer("id", jwks=other)(content)
    content["environments"]["prod"]["issuers"]["id"]["jwks"] = "/etc/keys"
    assert not problems_of(content)


NOISE = st.lists(
    st.tuples(st.sampled_from(ENVIRONMENTS), st.sampled_from(["a", "b", "c"]), st.booleans()),
    max_size=4,
    unique=True,
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(MUTATIONS)), NOISE, st.integers(0, 5), st.randoms(use_true_random=False))
def test_a_mutation_is_found_in_any_file(
    name: str, noise: list[tuple[str, str, bool]], count: int, random: Random
) -> None:
    """Whatever else is in the file, in whatever order."""
    shared, change, _ = MUTATIONS[name]
    content = two_environments(shared=shared)
    for environment, issuer, has_keys in noise:
        table = content["environments"].setdefault(
            environment, {"trust_domains": [f"{environment}.example.org"], "issuers": {}}
        )
        place = f"https://{issuer}.{environment}.example"
        table["issuers"][issuer] = {"profile": "oidc", "issuer": place, "audience": ["x"]}
        table["issuers"][issuer] |= {"jwks": f"{place}/keys"} if has_keys else {}
    for number in range(count):
        content["peers"].append(
            {"name": f"n{number}", "spiffe": [f"/noise/{number}"], "okta": [f"n{number}"]}
        )
    mutated = copy.deepcopy(content)
    change(mutated)
    for each in (content, mutated):
        random.shuffle(each["peers"])
        for key in ("environments", *each["environments"]):
            tables = each["environments"] if key == "environments" else each["environments"][key]["issuers"]
            items = list(tables.items())
            random.shuffle(items)
            tables.clear()
            tables.update(items)
    environment = random.choice(sorted(content["environments"]))
    assert problems_of(content, environment) == ()
    assert problems_of(mutated, environment)


# -- What it may cost ------------------------------------------------------------


def many(alias: Callable[[int], dict[str, object]], count: int = 5000) -> dict[str, Any]:
    content = document(
        cluster=ISSUERS["cluster"], okta=ISSUERS["okta"], other=ISSUERS["other"], aws=ISSUERS["aws"]
    )
    content["peers"] = [{"name": f"p{number}", **alias(number)} for number in range(count)]
    content["allow"] = []
    return content


def test_five_thousand_peers_take_a_small_part_of_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By comparisons, which are the same on every machine, and not by time."""
    content = many(
        lambda number: {
            "spiffe": [f"/ns/n{number}/sa/*", f"/vm/*/api-{number}"],
            "kubernetes": [f"n{number}/*"],
            "okta": [f"0oa{number}"],
            "aws": [f"arn:aws:iam::111122223333:role/r{number}"],
            "tokens": [{"issuer": "other", "principal": f"repo:acme/r{number}:*"}],
        },
        400,
    )
    monkeypatch.setattr(ambiguity, "MAX_COMPARISONS", 400 * 25)
    assert not problems_of(content)


@pytest.mark.parametrize(
    "alias",
    [
        lambda number: {"spiffe": [f"/**/x-{number}"]},
        lambda number: {"spiffe": [f"/*-{number}-*" if number % 2 else f"/a{number}"]},
        lambda number: {
            "kubernetes": [f"n{number}/a"],
            "tokens": [{"issuer": "cluster", "principal": f"*/b{number}"}],
        },
    ],
    ids=["deep", "alike", "between"],
)
def test_what_is_too_entangled_is_refused_and_not_passed(
    alias: Callable[[int], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ambiguity, "MAX_COMPARISONS", 10_000)
    found = problems_of(many(alias, 400))
    assert found[-1].where == "peers"
    assert "take more than 10000 comparisons; write fewer of them with wildcards" in found[-1].what


def test_the_pairs_of_issuers_and_aliases_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    content = two_environments()
    content["environments"]["prod"]["issuers"]["cluster2"] = dict(ISSUERS["cluster"])
    monkeypatch.setattr(loading, "MAX_ALIASES", 8)
    assert not problems_of(content)
    monkeypatch.setattr(loading, "MAX_ALIASES", 7)
    assert problems_of(content, "dev") == ()
    ((where, what),) = [(each.where, each.what) for each in problems_of(content)]
    assert (where, what[:37]) == ("peers", "their aliases mean more than 7 pairs ")
