"""What each part of the exported filters is for: the real Envoy with it, and without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import attrs
import pytest

from meshid import Policy
from meshid.envoy import export_rbac
from meshid.testing import CA, Issued
from tests.helpers.envoy_filters import Asked, Enforcing, Fields, Listening, enforcing_envoy
from tests.helpers.mounted import eventually
from tests.helpers.proxies import ENVOY, documented, filled, reserved_port, running_proxy
from tests.helpers.proxy_scene import Line, Line2, policy_of, proxy_scene
from tests.helpers.small_world import OLD, PARTNER, PROD
from tests.helpers.tls_peers import HOST, stranger
from tests.helpers.whole_chain import changed
from tests.proxies.test_envoy import put_bundles

FILE = f"""
version = 1
[environments.prod]
trust_domains = ["{PROD}", "{OLD}"]
federates_with = ["{PARTNER}"]
[[allow]]
id = "everything"
from = ["/**"]
to = ["payments"]
"""
POLICY = Policy.from_toml(FILE, "prod")
EXPORTED = export_rbac(POLICY, "payments").yaml
FOR_NOBODY = export_rbac(POLICY, "ledger").yaml

UNESCAPE = "UNESCAPE_AND_FORWARD"
EVERYTHING = dict.fromkeys(("subject", "cert", "chain", "dns", "uri"), True)

GET: Asked = ("GET", "/a")


def policies(fields: Fields, number: int = 0) -> Fields:
    """Return the policies of the first filter, which denies, or of the second one."""
    found: Fields = fields["http_filters"][number]["typed_config"]["rules"]["policies"]
    return found


def without(name: str, number: int | None = None) -> Callable[[Fields], None]:
    """Take a policy of the first filter away, or one of its permissions."""

    def change(fields: Fields) -> None:
        if number is None:
            del policies(fields)[name]
        else:
            del policies(fields)[name]["permissions"][number]

    return change


def setting(**values: object) -> Callable[[Fields], None]:
    return lambda fields: fields.update(values)


def by_the_older_matcher(fields: Fields) -> None:
    policies(fields)["_not_one_name"]["permissions"] = [{"not_rule": {"any": True}}]
    rule = policies(fields, 1)["everything"]
    matcher = rule["principals"][0]["custom"]["typed_config"]["san_matcher"]["matcher"]
    rule["principals"] = [{"authenticated": {"principal_name": matcher}}]


def without_rules(fields: Fields) -> None:
    del fields["http_filters"][1]["typed_config"]["rules"]


@attrs.frozen
class Part:
    """A part, and what is wrong without it.

    Attributes:
        change: Takes it away.
        asked: What is then let through.
        who: Who asks it.
        validation: As for `Enforcing`.
        is_http2: Whether it is asked over HTTP/2.
    """

    change: Callable[[Fields], None]
    asked: Asked = GET
    who: str = "web"
    validation: str = "spiffe"
    is_http2: bool = False


PARTS = {
    "characters": Part(without("_unsafe_path", 0), ("GET", "/a;b")),
    "characters-slash": Part(without("_unsafe_path", 0), ("GET", "/a%2Fb")),
    "characters-octets": Part(without("_unsafe_path", 0), ("GET", "/a%C3%A9")),
    "characters-raw-octets": Part(without("_unsafe_path", 0), ("GET", "/a\xe9"), is_http2=True),
    "characters-escape": Part(without("_unsafe_path", 0), ("GET", "/a%zz")),
    "empty-segment": Part(without("_unsafe_path", 1), ("GET", "//a")),
    "dot-segment": Part(without("_unsafe_path", 2), ("GET", "/a/%2E./b")),
    "segments": Part(without("_unsafe_path", 3), ("GET", "/a" * 257)),
    "length": Part(without("_unsafe_path", 4), ("GET", "/" + "a" * 8192)),
    "method": Part(without("_unknown_method"), ("PURGE", "/a")),
    "method-in-lower-case": Part(without("_unknown_method"), ("get", "/a"), is_http2=True),
    "two-names": Part(without("_not_one_name"), who="two names"),
    "two-trust-domains": Part(without("_not_one_name"), who="a partner with a name of ours"),
    "no-name": Part(without("_not_one_name"), who="no SPIFFE ID"),
    "normalize-path": Part(setting(normalize_path=True), ("GET", "/b/../a")),
    "merge-slashes": Part(setting(merge_slashes=True), ("GET", "//a")),
    "escaped-slashes": Part(
        setting(path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD"), ("GET", "/a%2Fb")
    ),
    "absolute-url": Part(setting(http_protocol_options={}), ("GET", "http://localhost/a")),
    "validated": Part(by_the_older_matcher, who="a stranger with a name of ours", validation="nobody"),
    "uri": Part(by_the_older_matcher, who="a partner with a host of ours"),
    "nobody-may": Part(without_rules, who="partner"),
}
"""Without each of them something gets 200 that the whole export refuses."""

CHAINS = {
    **{f"without-{name}": Enforcing(EXPORTED, part.change, part.validation) for name, part in PARTS.items()},
    "whole-spiffe": Enforcing(EXPORTED),
    "whole-nobody": Enforcing(EXPORTED, validation="nobody"),
    "whole-pooled": Enforcing(EXPORTED, validation="pooled"),
    "resuming": Enforcing(EXPORTED, resumes=True),
    "for-nobody": Enforcing(FOR_NOBODY),
    "no-header": Enforcing(EXPORTED, setting(forward_client_cert_details="SANITIZE")),
    "no-uri-in-it": Enforcing(EXPORTED, setting(set_current_client_cert_details={"dns": True})),
    "more-in-it": Enforcing(
        EXPORTED,
        setting(
            set_current_client_cert_details=dict.fromkeys(("subject", "cert", "chain", "dns", "uri"), True)
        ),
    ),
}


@pytest.fixture(scope="module")
def authorities() -> dict[str, CA]:
    return {name: CA(name) for name in (PROD, OLD, PARTNER)}


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, authorities: dict[str, CA]) -> Iterator[Listening]:
    with enforcing_envoy(tmp_path_factory.mktemp("envoy"), authorities, CHAINS) as running:
        yield running


@pytest.fixture(scope="module")
def peers(authorities: dict[str, CA]) -> dict[str, Issued]:
    ours, partner = authorities[PROD], authorities[PARTNER]
    own, other, foreign = f"spiffe://{PROD}/a", f"spiffe://{PROD}/b", f"spiffe://{PARTNER}/a"
    return {
        "web": ours.issue("/ns/web/sa/front"),
        "partner": partner.issue("/a"),
        "two names": ours.issue(uris=[own, other]),
        "a partner with a name of ours": partner.issue(uris=[foreign, own]),
        "no SPIFFE ID": ours.issue(uris=[f"{own}%20b"]),
        "a stranger with a name of ours": CA("stranger.example").issue(own),
        "a partner with a host of ours": partner.issue(uris=[foreign], dns=[own]),
    }


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_needed(envoy: Listening, peers: dict[str, Issued], name: str) -> None:
    part = PARTS[name]
    kind = Line2 if part.is_http2 else Line
    whole = f"whole-{part.validation}"
    assert envoy.ask(f"without-{name}", peers[part.who], [part.asked], kind) == [200]
    assert envoy.ask(whole, peers[part.who], [part.asked], kind) != [200]
    if part.validation != "nobody":
        assert envoy.ask(whole, peers["web"], [GET], kind) == [200]


@pytest.mark.parametrize("chain", ["whole-pooled", "whole-nobody"])
def test_without_a_certificate_nobody_is_anybody(envoy: Listening, chain: str) -> None:
    assert envoy.ask(chain, None, [GET]) == [403]


@pytest.mark.parametrize("chain", ["no-header", "no-uri-in-it", "for-nobody"])
def test_what_is_missing_keeps_everybody_out(envoy: Listening, peers: dict[str, Issued], chain: str) -> None:
    assert envoy.ask(chain, peers["web"], [GET]) == [403]


SUBJECTS = {
    "none": "",
    "quotes and backslashes": r"CN=a\"\;URI=spiffe://x/b\\,O=\\",
}


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_what_the_header_has_besides_does_not_matter(
    envoy: Listening, authorities: dict[str, CA], subject: str
) -> None:
    issued = authorities[PROD].issue("/a", dns=["a.example", "*.b.example"], subject=subject)
    assert envoy.ask("more-in-it", issued, [GET]) == [200]


HOSTS = {
    "another element": f"a;URI=spiffe://{PROD}/b",
    "another certificate": f"a,Hash={'0' * 64};URI=spiffe://{PROD}/b",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_a_host_that_looks_like_more_of_the_header_is_refused(
    envoy: Listening, authorities: dict[str, CA], host: str
) -> None:
    for uris in ([f"spiffe://{PARTNER}/a"], []):
        issued = authorities[PARTNER].issue(uris=uris, dns=[host])
        assert envoy.ask("more-in-it", issued, [GET]) != [200]


@pytest.mark.parametrize("chain", ["whole-spiffe", "more-in-it"])
def test_what_the_client_writes_into_the_header_is_gone(
    envoy: Listening, peers: dict[str, Issued], chain: str
) -> None:
    written = [("x-forwarded-client-cert", f"Hash={'0' * 64};URI=spiffe://{PROD}/a")]
    for who, status in {"web": 200, "two names": 403}.items():
        with Line(envoy.port, stranger(peers[who]), host=chain) as line:
            assert line.ask(*GET, written).status == status


def test_sessions_are_not_resumed(envoy: Listening, peers: dict[str, Issued]) -> None:
    """One that is counts as without a validated certificate, so it must not be."""
    told: dict[str, Any] = {}
    for chain in ("whole-spiffe", "resuming"):
        context = stranger(peers["web"])
        with Line(envoy.port, context, host=chain) as line:
            assert line.ask(*GET).status == 200
            session = line.tls.session
        with Line(envoy.port, context, session, host=chain) as line:
            told[chain] = (line.tls.session_reused, line.ask(*GET).status)
    assert told == {"whole-spiffe": (False, 200), "resuming": (True, 403)}


ACCESS_LOG = """stat_prefix: mesh
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: {text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE_DETAILS%\\n"}}
"""


SOON = ("--file-flush-interval-msec", "10")
"""When the access log is written; else within ten seconds."""


def test_the_documented_configuration(tmp_path: Path) -> None:
    """As the page has it, with what its policy exports to in the place that the page says."""
    exported = export_rbac(policy_of(documented("envoy", "version = 1")), "payments").yaml
    with proxy_scene(tmp_path / "scene") as scene, reserved_port() as port:
        put_bundles(scene, scene.clients.prod.bundle(), scene.clients.dev.bundle())
        text = filled(
            changed(
                documented("envoy", "Envoy decides by itself"),
                ("          # EXPORTED\n", indent(exported, 10 * " ")),
                ("stat_prefix: mesh\n", ACCESS_LOG),
            ),
            {**scene.values(port), "HOST": HOST, "BUNDLES": scene.folder / "bundles"},
        )
        configuration = tmp_path / "envoy.yaml"
        configuration.write_text(text)
        command: list[str | Path] = [ENVOY.path(), "-c", configuration, "--use-dynamic-base-id"]
        asked = [("GET", "/public"), ("POST", "/v1/charges"), ("GET", "/v1/charges/../../public")]
        with running_proxy([*command, *SOON, "--concurrency", "1", "-l", "error"], port, tmp_path) as proxy:
            told = {}
            for name in ("checkout", "checkout, deep", "web", "federated"):
                with Line(port, scene.context(name)) as line:
                    told[name] = [line.ask(*request).status for request in asked]
            for name in ("none", "forged", "expired", "of an unknown trust domain"):
                with Line(port, scene.context(name)) as line:
                    assert line.ask("GET", "/public").status == 0, name
            assert eventually(lambda: proxy.said().count("rbac_access_denied") == 6)
            assert "/v1/charges rbac_access_denied_matched_policy[none]\n" in proxy.said()
            assert "/public rbac_access_denied_matched_policy[_unsafe_path]\n" in proxy.said()
        served = [(it.line, it.all("x-forwarded-client-cert")) for it in scene.upstream.taken()]
    assert told == {
        "checkout": [200, 200, 403],
        "checkout, deep": [200, 200, 403],
        "web": [200, 403, 403],
        "federated": [200, 403, 403],
    }
    assert len(served) == 6
    assert all(len(elements) == 1 for _, elements in served)
