"""Sets of peers, exceptions and last days in a policy file: what is read, what it means, what it may cost."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidPolicy, Policy, SpiffeId
from meshid.policy.file import peer_sets
from meshid.policy.file.loading import read_toml
from meshid.policy.rules import Rule
from tests.helpers.issuer_files import ISSUERS, document, loaded, problems_of

WHOLE = """\
version = 1

[environments.prod]
trust_domains  = ["prod.example.org"]
federates_with = ["partner.example"]

[environments.dev]
trust_domains = ["dev.example.org"]

[[peers]]
name    = "batch"
members = ["/ns/batch/**", "@payments-api", "spiffe://partner.example/ns/batch/**"]

[[peers]]
name   = "payments-api"
spiffe = ["/ns/payments/sa/api"]

[[peers]]
name   = "old"
spiffe = ["/ns/old/**", "spiffe://partner.example/ns/old/**"]

[[allow]]
id       = "batch-reads"
why      = "Nightly jobs read charges."
owner    = "team-payments"
reviewer = "A. Auditor, 2026-11-02"
from     = ["@batch", "/ns/ops/**"]
not_from = ["/ns/batch/sa/canary", "@old"]
to       = ["payments/8080"]
http     = ["GET /v1/**"]
not_http = ["* /v1/internal/**"]
until    = 2027-01-31
"""


def rule_of(text: str, environment: str = "prod") -> Rule:
    (rule,) = Policy.from_toml(text, environment).rules
    return rule


def texts(values: tuple[object, ...]) -> list[str]:
    return list(map(str, values))


# -- What is read -------------------------------------------------------------


def test_everything_that_a_rule_can_say_is_read() -> None:
    rule = rule_of(WHOLE)
    assert (rule.owner, rule.reviewer) == ("team-payments", "A. Auditor, 2026-11-02")
    assert rule.listed_from == ("@batch", "/ns/ops/**")
    assert texts(rule.sources) == ["/ns/ops/**", "/ns/batch/**", "spiffe://partner.example/ns/batch/**"]
    assert [each.name for each in rule.peers] == ["payments-api"]
    assert texts(rule.not_sources) == [
        "/ns/batch/sa/canary",
        "/ns/old/**",
        "spiffe://partner.example/ns/old/**",
    ]
    assert texts(rule.not_http) == ["* /v1/internal/**"]
    assert (rule.until, rule.sets) == (date(2027, 1, 31), ("batch",))


def test_a_policy_knows_its_sets() -> None:
    policy = Policy.from_toml(WHOLE, "prod")
    (batch,) = policy.sets
    assert (batch.name, batch.place, batch.idle) == ("batch", "peers[0]", ())
    assert texts(batch.sources) == ["/ns/batch/**", "spiffe://partner.example/ns/batch/**"]
    assert batch.peers == tuple(peer for peer in policy.peers if peer.name == "payments-api")
    assert [peer.name for peer in policy.peers] == ["old", "payments-api"]


def test_what_another_environment_federates_with_is_left_out() -> None:
    policy = Policy.from_toml(WHOLE, "dev")
    assert policy.sets[0].idle == (("peers[0].members[2]", "'dev' does not federate with partner.example"),)
    (rule,) = policy.rules
    assert texts(rule.sources) == ["/ns/ops/**", "/ns/batch/**"]
    assert texts(rule.not_sources) == ["/ns/batch/sa/canary", "/ns/old/**"]


def test_a_set_stands_in_not_from_and_what_is_not_here_excepts_nobody() -> None:
    theirs = '[[peers]]\nname = "theirs"\nmembers = ["spiffe://partner.example/**", "@old"]\n'
    text = WHOLE.replace('"@old"]\n', '"@theirs"]\n').replace("[[allow]]", f"{theirs}[[allow]]")
    assert rule_of(text).sets == ("batch", "theirs")
    assert texts(rule_of(text).not_sources) == [
        "/ns/batch/sa/canary",
        "spiffe://partner.example/**",
        "/ns/old/**",
        "spiffe://partner.example/ns/old/**",
    ]
    assert texts(rule_of(text, "dev").not_sources) == ["/ns/batch/sa/canary", "/ns/old/**"]


def test_a_rule_of_classes_lists_what_it_has() -> None:
    rule = rule_of(WHOLE)
    fields = {field.name: getattr(rule, field.name) for field in attrs.fields(Rule)}
    assert Rule(**{key: value for key, value in fields.items() if key != "listed_from"}).listed_from == (
        "/ns/ops/**",
        "/ns/batch/**",
        "spiffe://partner.example/ns/batch/**",
        "@payments-api",
    )


def test_json_says_the_same() -> None:
    written = json.loads(json.dumps(tomllib.loads(WHOLE), default=date.isoformat))
    assert written["allow"][0]["until"] == "2027-01-31"
    read = loaded(written)
    assert read == Policy.from_toml(WHOLE, "prod")
    assert read.rules == Policy.from_toml(WHOLE, "prod").rules


@pytest.mark.parametrize(
    ("day", "end"),
    [
        ("0001-01-01", datetime(1, 1, 2, tzinfo=UTC).timestamp()),
        ("1970-01-01", 86400.0),
        ("2028-02-29", datetime(2028, 3, 1, tzinfo=UTC).timestamp()),
        ("9999-12-31", datetime(9999, 12, 31, tzinfo=UTC).timestamp() + 86400.0),
    ],
)
def test_any_day_of_the_calendar_can_be_the_last(day: str, end: float) -> None:
    text = WHOLE.replace("2027-01-31", day)
    assert rule_of(text).ends_at == end
    rules = read_toml(text, "prod")
    assert len(rules.at(end - 1).rules) == 1
    assert rules.at(end).rules == ()


@given(st.dates())
def test_every_day_is_read_the_same_from_both(day: date) -> None:
    written = json.loads(json.dumps(tomllib.loads(WHOLE), default=date.isoformat))
    written["allow"][0]["until"] = day.isoformat()
    assert loaded(written) == Policy.from_toml(WHOLE.replace("2027-01-31", day.isoformat()), "prod")
    assert loaded(written).rules[0].ends_at is not None


# -- What it means ------------------------------------------------------------

PLAIN = """
version = 1
observe = true
[environments.prod]
trust_domains  = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]
[environments.dev]
trust_domains  = ["dev.example.org"]
[[allow]]
id   = "checkout-charges-cards"
why  = "Checkout charges cards."
from = ["/ns/checkout/sa/api", "/ns/shop-*/**"]
to   = ["payments"]
http = ["POST /v1/charges", "GET /v1/charges/*"]
[[deny]]
id      = "no-build-agents"
from    = ["**"]
to      = ["**", "a/b"]
observe = true
"""


def test_an_old_file_keeps_its_hash() -> None:
    """These were worked out before rules had exceptions and last days, and peers had sets."""
    hashes = [Policy.from_toml(PLAIN, name).hash for name in ("prod", "dev")]
    assert hashes == [
        "2cfc9fa782c24d8a08df2810dcc46c442abbae5864f96c3b431e8dc8c88ceae3",
        "90b9b8e219fd4fcd0ca9478edf4fec824d77707234b0213c4738b3b61773d4d1",
    ]
    assert [loaded(document(), name).hash for name in ("prod", "dev")] == [
        "f1dd1038d407ced7649d18b1f9bbbd6165d6990fb4daef735382b823698a331e",
        "014578726749d24d5af40fadf6d56c4e26ec97e916b4351094c18ce322c32a6b",
    ]


WRITTEN_OUT = WHOLE.replace(
    '"@batch", ', '"/ns/batch/**", "@payments-api", "spiffe://partner.example/ns/batch/**", '
).replace('"@old"]\n', '"/ns/old/**", "spiffe://partner.example/ns/old/**"]\n')


def test_a_set_means_what_its_members_mean() -> None:
    assert WRITTEN_OUT != WHOLE
    whole, written = Policy.from_toml(WHOLE, "prod"), Policy.from_toml(WRITTEN_OUT, "prod")
    assert whole.hash == written.hash
    assert set(whole.rules[0].sources) == set(written.rules[0].sources)
    for path in ("/ns/batch/sa/x", "/ns/batch/sa/canary", "/ns/payments/sa/api", "/ns/old/sa/x", "/ns/a"):
        peer = SpiffeId.parse(f"spiffe://prod.example.org{path}")
        told = [each.decide(peer, "payments/8080", "GET /v1/x") for each in (whole, written)]
        assert told[0].reason == told[1].reason


MEMBERS = st.sampled_from(["/a", "/b/**", "**", "@payments-api", "spiffe://partner.example/x"])


@given(
    st.lists(MEMBERS, min_size=1, max_size=4), st.lists(MEMBERS, max_size=2), st.lists(MEMBERS, max_size=3)
)
def test_any_set_means_what_its_members_mean(members: list[str], more: list[str], less: list[str]) -> None:
    def hash_of(*, as_set: bool) -> str:
        written = document()
        # Whom a token can prove, not every rule can leave out.
        del written["environments"]["prod"]["issuers"]
        written["peers"][0] = {"name": "payments-api", "spiffe": ["/ns/payments/sa/api"]}
        rule: dict[str, Any] = {"id": "r", "to": ["t"]}
        rule["from"] = [*more, "@s"] if as_set else [*more, *members]
        if less:
            rule["not_from"] = ["@n"] if as_set else less
        written["allow"] = [rule]
        written["peers"] += [{"name": "s", "members": members}]
        written["peers"] += [{"name": "n", "members": less}] if less else []
        return loaded(written).hash

    assert hash_of(as_set=True) == hash_of(as_set=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('not_from = ["/ns/batch/sa/canary", "@old"]\n', ""),
        ('not_http = ["* /v1/internal/**"]\n', ""),
        ("until    = 2027-01-31\n", ""),
        ("2027-01-31", "2027-02-01"),
        ('members = ["/ns/batch/**", ', "members = ["),
    ],
    ids=["not_from", "not_http", "until", "another day", "a member less"],
)
def test_what_decides_is_in_the_hash(old: str, new: str) -> None:
    assert old in WHOLE
    assert Policy.from_toml(WHOLE.replace(old, new), "prod") != Policy.from_toml(WHOLE, "prod")


def test_what_is_for_people_is_not_in_the_hash() -> None:
    text = WHOLE.replace("team-payments", "me").replace("A. Auditor", "B").replace("batch", "night", 1)
    text = text.replace("@batch", "@night")
    assert Policy.from_toml(text, "prod").sets[0].name == "night"
    assert Policy.from_toml(text, "prod") == Policy.from_toml(WHOLE, "prod")


# -- What is wrong ------------------------------------------------------------


def wrong(peers: list[dict[str, object]], rule: Mapping[str, object], environment: str = "prod") -> list[str]:
    """Return what is told of a file with more peers, and with this rule."""
    written = document()
    written["peers"] += peers
    written["allow"] = [{"id": "r", "from": ["/a"], "to": ["t"], **rule}]
    return list(map(str, problems_of(written, environment)))


def test_a_set_holds_no_set_and_has_no_alias() -> None:
    told = wrong(
        [
            {"name": "one", "members": ["@two", "/a", "two"]},
            {"name": "two", "members": ["@payments-api"], "spiffe": ["/b"], "tokens": []},
            {"name": "payments-api", "members": ["/c"]},
        ],
        {"from": ["@one"]},
    )
    assert told == [
        (
            "peers[2].spiffe: is of a peer, and with members this is a set, which has no alias of its own; "
            "give the peer a table of its own, and name it in members"
        ),
        (
            "peers[2].tokens: is of a peer, and with members this is a set, which has no alias of its own; "
            "give the peer a table of its own, and name it in members"
        ),
        (
            "peers[3].name: 'payments-api' is already the name of peers[0]; put all aliases of one peer "
            "into one table"
        ),
        "peers[1].members[0]: '@two' is a set, and a set holds no set: write the members of '@two' here",
        "peers[1].members[2]: 'two' is a set of peers: write '@two'",
    ]


def test_members_are_what_from_may_have() -> None:
    told = wrong(
        [
            {
                "name": "s",
                "members": ["@payment-api", "ns/a", 1, "spiffe://dev.example.org/x", "spiffe://x/y"],
            },
            {"name": "empty", "members": []},
            {"members": ["/a"]},
        ],
        {"from": ["@s", "s", "@empty", "@sx"], "not_from": ["@payment"]},
    )
    assert told == [
        'peers[3].name: is missing; write a name for the peer, such as "payments-api"',
        "peers[1].members[1]: 'ns/a' must begin with '/' or 'spiffe://': write '/ns/a'",
        "peers[1].members[2]: must be a string, not the number 1",
        "peers[2].members: is empty; write at least one, or leave the key out",
        (
            "peers[1].members[3]: environment 'prod' neither has nor federates with dev.example.org; it "
            "belongs to environment 'dev': write '/x' for the peers of whichever environment is loaded"
        ),
        (
            "peers[1].members[4]: environment 'prod' neither has nor federates with x; it knows: "
            "prod.example.org, partner.example"
        ),
        "allow[0].from[1]: 's' is a set of peers: write '@s'",
    ]


def test_an_unknown_name_is_told_with_what_was_meant() -> None:
    assert wrong(
        [{"name": "batch", "members": ["@payment-api"]}], {"from": ["@bath"], "not_from": ["@zzzzzzzzzz"]}
    ) == [
        "peers[1].members[0]: there is no peer 'payment-api'; did you mean '@payments-api'?",
        "allow[0].from[0]: there is no peer 'bath'; did you mean '@batch'?",
        "allow[0].not_from[0]: there is no peer 'zzzzzzzzzz'; name it under [[peers]]",
    ]


def test_a_set_that_is_empty_here_is_not_nobody() -> None:
    peers: list[dict[str, object]] = [{"name": "theirs", "members": ["spiffe://partner.example/**"]}]
    assert wrong(peers, {"from": ["@theirs", "/a"], "not_from": ["@theirs"]}) == []
    assert wrong(peers, {"from": ["@theirs", "/a"], "not_from": ["@theirs"]}, "dev") == [
        (
            "allow[0].from[0]: of set 'theirs', nothing is left in environment 'dev': 'dev' does not "
            "federate with partner.example; give it a member of this environment, or leave it out"
        )
    ]


def test_what_only_tokens_prove_excepts_nobody() -> None:
    peers: list[dict[str, object]] = [
        {"name": "runner", "okta": ["1"]},
        {"name": "s", "members": ["/a", "@runner", "@payments-api"]},
        {"name": "abroad", "spiffe": ["spiffe://partner.example/x"], "okta": ["2"]},
    ]
    tail = (
        "is proved only by tokens here, and whoever is not to be let in need not send one; name SPIFFE IDs, "
        "or give it an alias with spiffe"
    )
    assert wrong(peers, {"not_from": ["@runner", "@s", "@abroad"]}) == [
        f"allow[0].not_from[0]: peer 'runner' {tail}",
        f"allow[0].not_from[1]: peer 'runner' of set 's' {tail}",
    ]
    # Where the environment has no issuer, nobody is proved by a token.
    assert wrong(peers, {"not_from": ["@runner", "@abroad"]}, "dev") == []
    written = document(**ISSUERS)
    written["environments"]["prod"]["federates_with"] = ["other.example"]
    written["environments"]["dev"]["federates_with"] = ["partner.example"]
    written["peers"] += peers
    written["allow"] = [{"id": "r", "from": ["/a"], "to": ["t"], "not_from": ["@abroad"]}]
    assert list(map(str, problems_of(written))) == [f"allow[0].not_from[0]: peer 'abroad' {tail}"]


def test_whom_a_token_lets_in_by_name_is_not_left_out_by_certificates() -> None:
    peers: list[dict[str, object]] = [
        {"name": "plain", "spiffe": ["/b"]},
        {"name": "theirs", "spiffe": ["spiffe://partner.example/b"]},
        {"name": "s", "members": ["/a", "@plain", "@payments-api", "@theirs"]},
    ]
    tail = (
        "is in `from` by its name, too, and a token can prove it behind another certificate, which this does "
        "not leave out; have only the others in `from`"
    )
    assert wrong(peers, {"from": ["@s"], "not_from": ["@payments-api", "@plain"]}) == [
        f"allow[0].not_from[0]: peer 'payments-api' {tail}",
        # By a JWT-SVID.
        f"allow[0].not_from[1]: peer 'plain' {tail}",
    ]
    assert wrong(peers, {"from": ["@payments-api"], "not_from": ["@s"]}) == [
        f"allow[0].not_from[0]: peer 'payments-api' of set 's' {tail}",
    ]
    assert wrong(peers, {"from": ["@s"], "not_from": ["@theirs", "/ns/payments/sa/api"]}) == []
    assert wrong(peers, {"from": ["/**"], "not_from": ["@s"]}) == []
    # Without an issuer, nobody has another name by a token.
    assert wrong(peers, {"from": ["@s"], "not_from": ["@payments-api", "@plain"]}, "dev") == []


def test_a_peer_in_a_set_counts_as_each_of_its_spiffe_ids() -> None:
    written = crowded(0, 1000, "from")
    peers = [{"name": f"p{n}", "spiffe": [f"/p{n}/{m}" for m in range(100)]} for n in range(10)]
    written["peers"] = [*peers, {"name": "s", "members": [f"@p{n}" for n in range(10)]}]
    assert list(map(str, problems_of(written))) == [
        "peers: in all rules together, its names stand for more than 100000 members; name less"
    ]


def test_no_rule_is_checked_against_names_that_cannot_be_read() -> None:
    assert [each.partition(":")[0] for each in wrong([{"name": 1, "members": ["@y"]}], {"from": ["@x"]})] == [
        "peers[1].name"
    ]
    written = document()
    written["environments"]["prod"]["trust_domains"] = [1]
    written["peers"] += [{"name": "s", "members": ["spiffe://x/y"]}]
    written["allow"] = [{"id": "r", "from": ["@s"], "not_from": ["@s", "@payments-api"], "to": ["t"]}]
    assert [each.where for each in problems_of(written)] == ["environments.prod.trust_domains[0]"]


# -- What it may cost ---------------------------------------------------------


def crowded(members: int, rules: int, key: str) -> dict[str, Any]:
    written = document()
    written["peers"] = [{"name": "s", "members": [f"/a{n}" for n in range(members)]}]
    written["allow"] = [{"id": f"r{n}", "from": ["/a"], "to": ["t"], key: ["@s"]} for n in range(rules)]
    return written


@pytest.mark.parametrize("key", ["from", "not_from"])
def test_a_large_set_that_is_named_very_often_is_refused_before_it_is_made(key: str) -> None:
    written = crowded(2000, 2000, key)
    assert len(json.dumps(written)) < 200_000
    began = time.process_time()
    assert list(map(str, problems_of(written))) == [
        "peers: in all rules together, its names stand for more than 100000 members; name less"
    ]
    # Four million members take a minute and a gigabyte.
    assert time.process_time() - began < 5


def test_what_names_stand_for_may_be_as_much_as_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    written = crowded(10, 5, "from")
    written["peers"] += [{"name": "p", "spiffe": ["/x", "/y"]}]
    written["allow"][0]["not_from"] = ["@p", "@s"]
    monkeypatch.setattr(peer_sets, "MAX_EXPANDED", 62)
    assert len(loaded(written).rules[0].not_sources) == 12
    monkeypatch.setattr(peer_sets, "MAX_EXPANDED", 61)
    with pytest.raises(InvalidPolicy, match="more than 61 members"):
        loaded(written)


def test_a_set_that_is_named_twice_in_a_rule_counts_once() -> None:
    written = crowded(10, 1, "from")
    written["allow"][0]["from"] = ["@s", "/a1", "@s"]
    (rule,) = loaded(written).rules
    assert texts(rule.sources) == ["/a1", "/a0", *(f"/a{n}" for n in range(2, 10))]
    assert rule.listed_from == ("@s", "/a1", "@s")


def test_rules_that_leave_out_one_set_share_what_finds_its_members() -> None:
    written = crowded(0, 330, "from")
    written["peers"] = [{"name": "s", "members": [f"/**/a{n}*/**/b*/**" for n in range(300)]}]
    for number, rule in enumerate(written["allow"]):
        rule |= {"from": ["/**"], "not_from": ["@s", f"/z{number}/**"]}
    began = time.process_time()
    policy = loaded(written)
    for number in range(200):
        peer = SpiffeId.parse(f"spiffe://prod.example.org/p{number}/a2/b")
        assert not policy.decide(peer, "t").allowed
    assert policy.decide(SpiffeId.parse("spiffe://prod.example.org/z0/x"), "t").rule == "r1"
    # With the members for each rule, that took ten seconds and 280 MB.
    assert time.process_time() - began < 4
