"""Settings: what is set, from where, and everything that is wrong at once."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidSettings, Mesh, Settings, SpiffeId, TrustDomain
from meshid.__main__ import main
from meshid.certificates.leaf import Profile
from meshid.errors import InvalidInput
from meshid.names.peer_pattern import PeerPattern
from meshid.port.proxy_header import SPIFFE_TLVS
from meshid.settings.host_port import Address
from meshid.settings.keys import Found, Key
from meshid.settings.settings import KEYS
from meshid.settings.trust_setting import Trust
from meshid.sources import (
    BundleEndpoint,
    BundleMapFile,
    CredentialFiles,
    DenyListFile,
    PolicyFile,
    RevocationListFiles,
    SourceUnavailable,
    TrustFile,
    WorkloadApi,
)
from meshid.testing import CA
from meshid.tls.tls_settings import protocols
from tests.helpers.endpoints import document, serving
from tests.helpers.mounted import OWN
from tests.helpers.tls_peers import POLICY
from tests.helpers.volumes import KubernetesVolume, pair

TRUST = "prod.example.org=/etc/tls/ca.crt"
PROD = TrustDomain("prod.example.org")


def read(**variables: str) -> Settings:
    return Settings.from_env({"MESHID_TRUST": TRUST, **variables})


def problems(environ: dict[str, str], **arguments: object) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(environ, **arguments)
    return str(caught.value).splitlines()


class TestValues:
    def test_all_of_them(self) -> None:
        settings = read(
            MESHID_ENVIRONMENT="prod",
            MESHID_SPIFFE_ID="spiffe://prod.example.org/ns/pay/sa/payments",
            MESHID_SERVICE="payments",
            MESHID_PORT="8443",
            MESHID_CREDENTIALS="/etc/tls",
            MESHID_KEY="/etc/key",
            MESHID_LAYOUT="istio",
            MESHID_BUNDLE_MAP="/etc/map.json",
            MESHID_POLICY="/etc/policy.toml",
            MESHID_CRLS="/etc/crls, /etc/other.crl",
            MESHID_DENY="/etc/deny.toml",
            MESHID_CRL_GRACE="1.5",
            MESHID_START_TIMEOUT="30",
            MESHID_LEAF_GRACE="60",
            MESHID_TOKENS="required",
        )
        assert settings == Settings(
            environment="prod",
            spiffe_id=SpiffeId.parse("spiffe://prod.example.org/ns/pay/sa/payments"),
            service="payments",
            port=8443,
            credentials=Path("/etc/tls"),
            key=Path("/etc/key"),
            layout="istio",
            trust=(Trust(trust_domain=PROD, location=Path("/etc/tls/ca.crt")),),
            bundle_map=Path("/etc/map.json"),
            policy=Path("/etc/policy.toml"),
            crls=(Path("/etc/crls"), Path("/etc/other.crl")),
            deny=Path("/etc/deny.toml"),
            crl_grace=1.5,
            start_timeout=30.0,
            leaf_grace=60,
            tokens="required",
        )
        kinds = [CredentialFiles, TrustFile, BundleMapFile, PolicyFile, DenyListFile, RevocationListFiles]
        assert [type(source) for source in settings.sources()] == kinds
        assert [type(source) for source in read().sources()] == [TrustFile]

    def test_an_empty_variable_is_not_set(self) -> None:
        assert read(MESHID_SERVICE="") == read()

    @pytest.mark.parametrize(
        ("text", "seconds"), [("0", 0), ("3600", 3600), ("inf", math.inf), ("1e3", 1000)]
    )
    def test_seconds(self, text: str, seconds: float) -> None:
        assert read(MESHID_CRL_GRACE=text).crl_grace == seconds

    @pytest.mark.parametrize("text", ["-1", "nan", "an hour", "1e999"])
    def test_what_are_no_seconds(self, text: str) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_CRL_GRACE": text})
        said = f"{text!r} is not a number of seconds: write 0 or more, or inf for ever"
        assert problem == f"crl_grace, from variable MESHID_CRL_GRACE: {said}"

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("3600", 3600)])
    def test_a_grace_of_leafs(self, text: str, seconds: float) -> None:
        assert read(MESHID_LEAF_GRACE=text).leaf_grace == seconds

    @pytest.mark.parametrize("text", ["inf", "3601"])
    def test_a_grace_of_leafs_without_a_bound(self, text: str) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_LEAF_GRACE": text})
        assert problem.startswith("leaf_grace, from variable MESHID_LEAF_GRACE: the grace of a leaf is ")
        assert problem.endswith(": write a number of seconds from 0 to 3600")

    @pytest.mark.parametrize("text", ["true", "Required", "required,", "none"])
    def test_tokens_are_optional_or_required(self, text: str) -> None:
        assert (read().tokens, read(MESHID_TOKENS="optional").tokens) == ("optional", "optional")
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_TOKENS": text})
        said = f"{text!r} is neither: write optional or required"
        assert problem == f"tokens, from variable MESHID_TOKENS: {said}"

    def test_what_stays_encoded(self) -> None:
        assert read().keep_encoded == ()
        assert read(MESHID_KEEP_ENCODED="%25 %2F,%2F").keep_encoded == ("%2F", "%25")

    @pytest.mark.parametrize("text", ["%2f", "/", "%3F", "2F"])
    def test_what_never_stays_encoded(self, text: str) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_KEEP_ENCODED": text})
        said = f"{text!r} cannot stay encoded; write some of %2F, %3B, %23, %25"
        assert problem == f"keep_encoded, from variable MESHID_KEEP_ENCODED: {said}"

    @pytest.mark.parametrize("text", ["0", "80", "65535"])
    def test_ports(self, text: str) -> None:
        assert read(MESHID_PORT=text).port == int(text)

    @pytest.mark.parametrize("text", ["65536", "-1", "http", "80 ", "0x50", "٨٠", "8443/tcp"])
    def test_what_are_no_ports(self, text: str) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_PORT": text})
        assert problem.startswith("port, from variable MESHID_PORT: ")
        assert problem.endswith(" is not a port: write a number from 0 to 65535, 0 for a free one")

    def test_a_layout_that_is_unknown(self) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_LAYOUT": "isto"})
        assert problem.startswith(
            "layout, from variable MESHID_LAYOUT: layout 'isto' is unknown; write one of: "
        )

    @pytest.mark.parametrize("setting", ["port", "crl_grace"])
    @pytest.mark.parametrize(
        ("number", "shown"),
        [(10**5000, "this int"), (-(10**5000), "this int"), (-1, "'-1'"), (-1.5, "'-1.5'"), (True, "'True'")],
        ids=["large", "small", "negative", "float", "bool"],
    )
    def test_a_number_that_is_none(self, setting: str, number: float, shown: str) -> None:
        (problem,) = problems({}, trust=[TRUST], **{setting: number})
        assert problem.startswith(f"{setting}, from argument: {shown} is not a ")

    @pytest.mark.parametrize("name", ["MESHID_PORT", "MESHID_CRL_GRACE"])
    def test_a_number_of_thousands_of_digits(self, name: str, tmp_path: Path) -> None:
        digits = "9" * 5000
        (problem,) = problems({"MESHID_TRUST": TRUST, name: digits})
        assert problem.partition(": ")[2].startswith(f"'{'9' * 256}'... (5000 characters) is not a ")
        config = tmp_path / "meshid.toml"
        key = name.removeprefix("MESHID_").lower()
        config.write_text(f"trust = ['{TRUST}']\n{key} = 0x{'f' * 5000}\n")
        (problem,) = problems({"MESHID_CONFIG": str(config)})
        assert problem.startswith(f"{key}, from {str(config)!r} (MESHID_CONFIG): this int is not a ")

    def test_a_list_in_place_of_a_number_is_not_repeated(self) -> None:
        (problem,) = problems({}, trust=[TRUST], crl_grace=["secret"])
        assert problem.startswith("crl_grace, from argument: this list is not a number of seconds: ")

    @pytest.mark.parametrize("name", ["/", ".", "..", "/etc/", "{tmp_path}"])
    def test_a_state_file_that_is_a_directory(self, name: str, tmp_path: Path) -> None:
        value = name.format(tmp_path=tmp_path)
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_STATE_FILE": value})
        shown = repr(str(Path(value)))
        said = f"{shown} is a directory; give the path of a file"
        assert problem == f"state_file, from variable MESHID_STATE_FILE: {said}"
        assert read(MESHID_STATE_FILE=str(tmp_path / "x")).state_file == tmp_path / "x"

    @pytest.mark.parametrize("key", [key for key in KEYS if key.parser not in {"port", "seconds"}])
    def test_what_is_more_than_a_line(self, key: Key) -> None:
        value = ["a\0b"] if key.parser in {"kept", "paths", "peers", "protocols", "trusts"} else "a\0b"
        problem, *_ = problems({}, **{"trust": [TRUST], key.name: value})
        assert problem == f"{key.name}, from argument: must be one line, without NUL"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("payments", "'payments' does not begin with 'spiffe://'"),
            (
                "spiffe://prod.example.org",
                "spiffe://prod.example.org is a trust domain; write the SPIFFE ID of this service, such as",
            ),
        ],
    )
    def test_what_is_no_name_of_ours(self, text: str, said: str) -> None:
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_SPIFFE_ID": text})
        assert problem.startswith(f"spiffe_id, from variable MESHID_SPIFFE_ID: {said}")
        own = SpiffeId.parse("spiffe://prod.example.org/x")
        assert Settings.from_env({}, trust=[TRUST], spiffe_id=own).spiffe_id is own


class TestOfThePort:
    """What `meshid port` and `meshid authorizer` read."""

    def test_all_of_them(self) -> None:
        settings = read(
            MESHID_HOST="::",
            MESHID_UPSTREAM="unix:/run/app.sock",
            MESHID_EXPECT="/ns/pay/**, spiffe://partner.example/api",
            MESHID_ALPN="h2,http/1.1",
            MESHID_PROXY_PROTOCOL="true",
            MESHID_SPIFFE_TLV="0xd0",
            MESHID_REMOTE_UPSTREAM="false",
            MESHID_MAX_CONNECTIONS="100",
            MESHID_IDLE_TIMEOUT="600",
            MESHID_AUTHORIZER="unix:/run/meshid/authorizer.sock",
            MESHID_PROXY="nginx",
            MESHID_INTERMEDIATES="/etc/inter.pem",
            MESHID_ELEMENTS="2",
            MESHID_STATUS_ADDRESS="127.0.0.1:9901",
            MESHID_DRAIN_TIMEOUT="5",
        )
        assert settings == Settings(
            trust=(Trust(trust_domain=PROD, location=Path("/etc/tls/ca.crt")),),
            host="::",
            upstream="unix:/run/app.sock",
            expect=(PeerPattern.parse("/ns/pay/**"), PeerPattern.parse("spiffe://partner.example/api")),
            alpn=("h2", "http/1.1"),
            proxy_protocol=True,
            spiffe_tlv=0xD0,
            remote_upstream=False,
            max_connections=100,
            idle_timeout=600.0,
            authorizer=Path("/run/meshid/authorizer.sock"),
            proxy="nginx",
            intermediates=Path("/etc/inter.pem"),
            elements=2,
            status_address=Address("127.0.0.1", 9901),
            drain_timeout=5.0,
        )

    def test_arguments_of_any_type(self) -> None:
        expect, address = PeerPattern.parse("/a"), Address("::1", 0)
        settings = Settings.from_env(
            {}, trust=[TRUST], expect=[expect], spiffe_tlv=224, elements=3, status_address=address
        )
        assert (settings.expect, settings.elements, settings.status_address) == ((expect,), 3, address)
        assert settings.spiffe_tlv == 0xE0
        assert str(address) == "[::1]:0"
        assert str(Address("localhost", 1)) == "localhost:1"

    def test_each_type_that_the_header_may_have(self) -> None:
        for each in SPIFFE_TLVS:
            assert Settings.from_env({}, trust=[TRUST], spiffe_tlv=hex(each)).spiffe_tlv == each

    def test_for_ever_is_no_timeout(self) -> None:
        assert Settings.from_env({}, trust=[TRUST], idle_timeout="inf").idle_timeout is None

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("expect", ["payments:8443"], "'payments:8443' must begin with '/' or 'spiffe://'"),
            ("alpn", "h2", "must be a list of strings, not str"),
            (
                "alpn",
                ["h2,http/1.1"],
                "'h2,http/1.1' is not the name of one protocol: write h2 or http/1.1, each",
            ),
            ("alpn", ["h2", ""], "'' is not the name of one protocol"),
            ("alpn", ["ä"], r"'\xe4' is not the name of one protocol"),
            ("alpn", ["h" * 256], f"'{'h' * 100}"),
            ("proxy_protocol", "yes", "'yes' is neither: write true or false"),
            ("proxy_protocol", 1, "'1' is neither: write true or false"),
            ("authorizer", "/run/a.sock", "'/run/a.sock' is not a Unix socket: write unix:/run/"),
            ("authorizer", "unix:", "'unix:' is not a Unix socket: write unix:/run/"),
            ("authorizer", "unix://run/a.sock", "'unix://run/a.sock' is not a Unix socket: write unix:/"),
            ("spiffe_tlv", "0xg0", "'0xg0' is not a type for it: write 0xD0, or a number from 0xE0 to 0xEF"),
            ("spiffe_tlv", "0xAA", "'0xAA' is not a type for it: write 0xD0, or a number from 0xE0 to 0xEF"),
            ("spiffe_tlv", 256, "'256' is not a type for it: write 0xD0, or a number from 0xE0 to 0xEF"),
            ("idle_timeout", "0", "'0' would end everything at once: write more than 0, or inf for ever"),
            ("elements", "0", "'0' is not a number of them: write 1 or more"),
            ("elements", "1.5", "'1.5' is not a number of them: write 1 or more"),
            ("elements", True, "'True' is not a number of them: write 1 or more"),
            ("elements", 10**9, "'1000000000' is not a number of them: write 1 or more"),
            ("status_address", "9901", "'9901' is not an address: write HOST:PORT, such as 127.0.0.1:9901"),
            ("status_address", "::1:9901", "'::1:9901' is not an address: write HOST:PORT, such as"),
            ("status_address", "a:65536", "'a:65536' is not an address: write HOST:PORT, such as"),
        ],
    )
    def test_what_is_wrong(self, key: str, value: object, said: str) -> None:
        (problem,) = problems({}, trust=[TRUST], **{key: value})
        assert problem.startswith(f"{key}, from argument: {said}")

    @given(st.text())
    def test_a_protocol_is_read_as_it_is_written_or_refused(self, text: str) -> None:
        try:
            settings = Settings.from_env({}, trust=[TRUST], alpn=[text])
        except InvalidSettings:
            return
        assert settings.alpn == protocols([text])
        assert Settings.from_env({"MESHID_ALPN": f"{text}, h2"}, trust=[TRUST]).alpn == (text, "h2")

    @given(st.text())
    def test_an_address_is_read_as_it_is_written_or_refused(self, text: str) -> None:
        try:
            address = Address.parse(text)
        except InvalidInput:
            return
        assert Address.parse(str(address)) == address


class TestSecrets:
    """A key that is set in place of something else is neither in an error nor in its traceback."""

    @pytest.fixture
    def pem(self, prod_ca: CA) -> str:
        return prod_ca.issue().key_pem.decode()

    @pytest.mark.parametrize("suffix", ["", "_FILE"])
    @pytest.mark.parametrize("form", ["pem", "one line", "base64"])
    @pytest.mark.parametrize("name", [*(key.name for key in KEYS), "config", "config_dir"])
    def test_wherever_it_is_set(self, name: str, form: str, suffix: str, pem: str) -> None:
        body = "".join(pem.splitlines()[1:-1])
        value = {"pem": pem, "one line": pem.replace("\n", "\\n"), "base64": body}[form]
        variable = f"MESHID_{name.upper()}{suffix}"
        with pytest.raises(InvalidSettings) as caught:
            Settings.from_env({"MESHID_TRUST": TRUST, variable: value})
        kept = [frame.frame.f_locals for frame in caught.traceback[1:]]
        assert kept
        assert caught.value.__context__ is None
        assert all(body[:20] not in text for text in (str(caught.value), repr(kept)))
        if (name, suffix) not in {("trust", "_FILE"), ("config", "_FILE"), ("config_dir", "_FILE")}:
            assert f"{variable}: is the content of a PEM file; give the path of" in str(caught.value)

    def test_in_a_list_of_a_file(self, pem: str, tmp_path: Path) -> None:
        config = tmp_path / "meshid.toml"
        text = json.dumps(pem)
        config.write_text(f"trust = ['{TRUST}']\ncrls = ['/x', {text}]\ncrl_grace = [{text}]\n")
        told = problems({"MESHID_CONFIG": str(config)})
        assert len(told) == 2
        assert not [each for each in told if "BEGIN" in each]

    def test_what_is_shown_of_a_value_that_was_found_is_not_the_value(self, pem: str) -> None:
        assert repr(Found(pem, "variable X")).startswith("Found(origin='variable X'")


class TestTwins:
    """``MESHID_KEY_FILE`` names a file that has the path of the key in it, and not the key."""

    def test_a_key(self, tmp_path: Path, prod_ca: CA) -> None:
        file = tmp_path / "k.key"
        file.write_bytes(prod_ca.issue().key_pem)
        environ = {"MESHID_TRUST": TRUST, "MESHID_CREDENTIALS": "c", "MESHID_KEY_FILE": str(file)}
        (problem,) = problems(environ)
        assert problem == (
            f"key, from {str(file)!r} (variable MESHID_KEY_FILE): is the content of a PEM file; give the path"
            " of that file: set MESHID_KEY to it, and not MESHID_KEY_FILE, which names a file with the path"
            " in it"
        )

    @pytest.mark.parametrize(
        ("policy", "said"),
        [
            (POLICY, "must be one line, without NUL: set MESHID_POLICY to it, and not MESHID_POLICY_FILE"),
            ("{}", "must be a path, not '{}': set MESHID_POLICY to it"),
        ],
    )
    def test_a_policy(self, policy: str, said: str, tmp_path: Path) -> None:
        file = tmp_path / "policy"
        file.write_text(policy)
        environ = {"MESHID_TRUST": TRUST, "MESHID_ENVIRONMENT": "prod", "MESHID_POLICY_FILE": str(file)}
        (problem,) = problems(environ)
        assert problem.startswith(f"policy, from {str(file)!r} (variable MESHID_POLICY_FILE): {said}")

    @pytest.mark.parametrize("name", ["MESHID_KEY_FILE", "MESHID_CONFIG", "MESHID_CONFIG_DIR"])
    def test_a_path_that_cannot_be_one(self, name: str) -> None:
        assert problems({"MESHID_TRUST": TRUST, name: "a\0b"}) == [f"{name}: must be one line, without NUL"]

    def test_an_empty_path(self) -> None:
        assert problems({}, trust=[TRUST], deny="") == ["deny, from argument: must be a path, not ''"]


class TestWorkloadApi:
    def test_it_is_enough(self) -> None:
        settings = Settings.from_env(
            {"MESHID_WORKLOAD_API": "unix:///x", "SPIFFE_ENDPOINT_SOCKET": "unix:///y"}
        )
        assert [source.name for source in settings.sources()] == ["Workload API 'unix:///x'"]

    def test_ours_of_several_certificates_is_set(self) -> None:
        name = "spiffe://prod.example.org/x"
        environ = {"MESHID_WORKLOAD_API": "unix:///x", "MESHID_SVID_HINT": "web", "MESHID_SPIFFE_ID": name}
        settings = Settings.from_env(environ)
        assert (settings.svid_hint, settings.spiffe_id) == ("web", SpiffeId.parse(name))
        (source,) = settings.sources()
        assert isinstance(source, WorkloadApi)

    def test_a_hint_without_an_agent(self) -> None:
        assert problems({"MESHID_TRUST": TRUST, "MESHID_SVID_HINT": "web"}) == [
            "workload_api: is not set: a hint is that of one of its certificates; set MESHID_WORKLOAD_API"
        ]

    @pytest.mark.parametrize("name", ["MESHID_WORKLOAD_API", "SPIFFE_ENDPOINT_SOCKET"])
    def test_the_address_of_a_port_is_not_taken_for_a_kubernetes_service(self, name: str) -> None:
        (source,) = Settings.from_env({name: "tcp://127.0.0.1:8081"}).sources()
        assert source.name == "Workload API 'tcp://127.0.0.1:8081'"

    @pytest.mark.parametrize("address", ["unix:agent.sock", "unix:run/agent.sock", "tcp://localhost:80"])
    def test_an_address_that_is_relative_or_a_name(self, address: str) -> None:
        for name in ("MESHID_WORKLOAD_API", "SPIFFE_ENDPOINT_SOCKET"):
            (problem,) = problems({name: address})
            assert problem.startswith(f"workload_api, from variable {name}: {address!r} is not the address")

    def test_the_usual_variable_counts_where_no_other_certificate_is_set(self) -> None:
        environ = {"SPIFFE_ENDPOINT_SOCKET": "unix:///y"}
        settings = Settings.from_env(environ)
        assert settings.workload_api == "unix:///y"
        assert settings.origins["workload_api"] == "variable SPIFFE_ENDPOINT_SOCKET"
        assert Settings.from_env(environ, trust=[TRUST], credentials="/tls").workload_api is None

    def test_an_address_that_is_none(self) -> None:
        (problem,) = problems({"MESHID_WORKLOAD_API": "/run/agent.sock"})
        assert problem.startswith(
            "workload_api, from variable MESHID_WORKLOAD_API: '/run/agent.sock' is not the address of a"
        )


class TestTrust:
    @pytest.mark.parametrize(
        ("text", "trust"),
        [
            ("prod.example.org=ca.crt", Trust(trust_domain=PROD, location=Path("/base/ca.crt"))),
            (
                "cluster.local=/ca.crt;profile=linkerd",
                Trust(
                    trust_domain=TrustDomain("cluster.local"),
                    location=Path("/ca.crt"),
                    profile=Profile.LINKERD,
                ),
            ),
            (
                "prod.example.org=https://x.example/bundle;roots=roots.pem",
                Trust(
                    trust_domain=PROD,
                    location="https://x.example/bundle",
                    roots=Path("/base/roots.pem"),
                ),
            ),
            (
                "prod.example.org=https://x.example/b;endpoint=spiffe://x.example/server;bundle=/x.json",
                Trust(
                    trust_domain=PROD,
                    location="https://x.example/b",
                    endpoint=SpiffeId.parse("spiffe://x.example/server"),
                    bundle=Path("/x.json"),
                ),
            ),
        ],
    )
    def test_its_forms(self, text: str, trust: Trust) -> None:
        assert Trust.parse(text, Path("/base")) == trust

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("/etc/ca.crt", "'/etc/ca.crt' must be TRUST_DOMAIN=PATH or TRUST_DOMAIN=https://HOST/PATH"),
            ("prod.example.org=", "'prod.example.org=' must be TRUST_DOMAIN=PATH or"),
            ("prod.example.org=http://x/", "'prod.example.org=http://x/' must be TRUST_DOMAIN=PATH or"),
            ("Prod=/ca.crt", "trust domain 'Prod' may hold only"),
            ("p=/ca.crt;profile=istio", "profile 'istio' is unknown; write one of: spiffe, linkerd, dns"),
            ("p=/ca.crt;roots=/x", "'roots=/x' is not an option here; write one of: profile="),
            (
                "p=https://x/;profile=dns",
                "'profile=dns' is not an option here; write one of: bundle=, endpoint=, roots=",
            ),
            ("p=/ca.crt;profile", "'profile' is not an option here; write one of: profile="),
            (
                "p=https://x/;endpoint=spiffe://p/x",
                "'p=https://x/;endpoint=spiffe://p/x': endpoint= and bundle= go",
            ),
            ("p=https://x/;endpoint=p;bundle=x", "'p' does not begin with 'spiffe://'"),
        ],
    )
    def test_what_is_none(self, text: str, said: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            Trust.parse(text)
        assert str(caught.value).startswith(said)

    @given(st.text())
    def test_whatever_it_is_it_is_read_or_refused(self, text: str) -> None:
        try:
            trust = Trust.parse(text)
        except InvalidInput as error:
            assert str(error).isprintable()
        else:
            assert text.startswith(f"{trust.trust_domain}=")

    def test_two_of_one_trust_domain(self) -> None:
        (problem,) = problems({"MESHID_TRUST": f"{TRUST}\n{TRUST}"})
        assert problem == (
            "trust, from variable MESHID_TRUST: prod.example.org appears twice;"
            " write one bundle for each trust domain"
        )

    def test_endpoints_are_sources(self, tmp_path: Path, prod_ca: CA) -> None:
        (tmp_path / "ca.pem").write_bytes(prod_ca.pem)
        for options in ("", ";roots=ca.pem", ";endpoint=spiffe://prod.example.org/x;bundle=ca.pem"):
            trust = Trust.parse(f"prod.example.org=https://x.example/b{options}", tmp_path)
            assert isinstance(trust.source(), BundleEndpoint)

    @pytest.mark.parametrize("option", ["roots=gone", "endpoint=spiffe://prod.example.org/x;bundle=gone"])
    def test_a_file_of_an_endpoint_that_is_missing_is_a_fault_of_that_source(
        self, tmp_path: Path, option: str
    ) -> None:
        source = Trust.parse(f"prod.example.org=https://x.example/b;{option}", tmp_path).source()
        with pytest.raises(
            SourceUnavailable, match=r"/gone' cannot be read: No such file or directory$"
        ) as caught:
            source.read()
        assert str(caught.value).startswith(source.name)

    def test_a_file_of_an_endpoint_may_come_later(self, tmp_path: Path, prod_ca: CA) -> None:
        with serving(prod_ca.issue("/x"), document(prod_ca)) as endpoint:
            option = f"prod.example.org={endpoint.url()};endpoint=spiffe://prod.example.org/x;bundle=ca.pem"
            source = Trust.parse(option, tmp_path).source()
            with pytest.raises(SourceUnavailable):
                source.read()
            (tmp_path / "ca.pem").write_bytes(prod_ca.pem)
            assert source.read().bundles == (prod_ca.bundle(),)


class TestLayers:
    @pytest.fixture
    def layered(self, tmp_path: Path) -> dict[str, str]:
        """The service is set everywhere, each other key in one place less."""
        config = tmp_path / "meshid.toml"
        config.write_text(
            'service = "file"\nport = 1\nenvironment = "file"\ndeny = "deny.toml"\n'
            'crls = ["a b.crl"]\ntrust = ["prod.example.org=ca.pem"]\ncrl_grace = 60\n'
        )
        directory = tmp_path / "config"
        KubernetesVolume(
            directory, {"service": b"directory\n", "port": b"2", "policy.toml": b"x", "policy": b"p"}
        )
        return {"MESHID_CONFIG": str(config), "MESHID_CONFIG_DIR": str(directory)}

    def test_the_first_layer_that_has_a_value_decides(self, tmp_path: Path, layered: dict[str, str]) -> None:
        secret = tmp_path / "service"
        secret.write_text("twin\n")
        environ = {**layered, "MESHID_SERVICE_FILE": str(secret)}
        settings = Settings.from_env({**layered, "MESHID_SERVICE": "variable"}, service="argument")
        assert (settings.service, settings.origins["service"]) == ("argument", "argument")
        settings = Settings.from_env({**layered, "MESHID_SERVICE": "variable"})
        assert (settings.service, settings.origins["service"]) == ("variable", "variable MESHID_SERVICE")
        settings = Settings.from_env(environ)
        assert settings.service == "twin"
        assert settings.origins["service"] == f"{str(secret)!r} (variable MESHID_SERVICE_FILE)"
        settings = Settings.from_env(layered)
        assert (settings.service, settings.port, settings.environment) == ("directory", 2, "file")
        directory = tmp_path / "config"
        assert settings.origins["port"] == f"{str(directory / 'port')!r} (MESHID_CONFIG_DIR)"
        assert settings.origins["environment"] == f"{str(tmp_path / 'meshid.toml')!r} (MESHID_CONFIG)"
        assert settings.origins["layout"] == "default"

    def test_relative_paths_begin_where_they_stand(self, tmp_path: Path, layered: dict[str, str]) -> None:
        settings = Settings.from_env({**layered, "MESHID_CREDENTIALS": "tls"})
        assert settings.credentials == Path("tls")
        assert settings.policy == tmp_path / "config" / "p"
        assert settings.deny == tmp_path / "deny.toml"
        assert settings.crls == (tmp_path / "a b.crl",)
        assert settings.trust[0].location == tmp_path / "ca.pem"

    def test_arguments_may_have_their_own_types(self) -> None:
        settings = Settings.from_env(
            {}, trust=[TRUST], crls=(Path("/a b"),), deny=Path("/deny"), port=80, crl_grace=1
        )
        assert (settings.crls, settings.deny) == ((Path("/a b"),), Path("/deny"))
        assert (settings.port, settings.crl_grace) == (80, 1.0)
        with pytest.raises(TypeError, match=r"^there is no setting servcie$"):
            Settings.from_env({}, servcie="x")


class TestWhatIsWrong:
    def test_nothing_is_set(self) -> None:
        assert problems({}) == [
            "trust: is not set: no peer can be verified; set MESHID_TRUST=prod.example.org=/etc/tls/ca.crt"
        ]

    def test_what_needs_something_else(self) -> None:
        assert problems({"MESHID_TRUST": TRUST, "MESHID_POLICY": "p", "MESHID_KEY": "k"}) == [
            "environment: is not set: a policy is loaded for one environment; set MESHID_ENVIRONMENT",
            "credentials: is not set: a key needs its certificate; set MESHID_CREDENTIALS",
        ]

    def test_a_wrong_value_is_not_a_missing_one(self) -> None:
        (problem,) = problems({"MESHID_TRUST": "x"})
        assert problem.startswith("trust, from variable MESHID_TRUST: 'x' must be ")

    def test_a_variable_that_is_unknown(self) -> None:
        assert problems({"MESHID_TRUST": TRUST, "MESHID_SERVCE": "x", "MESHID_ZZZ_FILE": "y"}) == [
            "MESHID_SERVCE: is unknown; did you mean 'MESHID_SERVICE'?",
            "MESHID_ZZZ_FILE: is unknown; write one of: "
            + ", ".join([*(key.variable for key in KEYS), "MESHID_CONFIG", "MESHID_CONFIG_DIR"]),
        ]

    def test_a_variable_and_its_twin(self) -> None:
        assert problems({"MESHID_TRUST": TRUST, "MESHID_TRUST_FILE": "/x"}) == [
            "MESHID_TRUST_FILE: is set, and so is MESHID_TRUST; set one of them"
        ]

    @pytest.mark.parametrize("service", ["MESHID", "MESHID_SIDECAR"])
    def test_the_variables_of_a_kubernetes_service(self, service: str) -> None:
        """As the kubelet sets them for each Service of the namespace."""
        links = {
            f"{service}_SERVICE_HOST": "10.0.0.1",
            f"{service}_SERVICE_PORT": "8443",
            f"{service}_SERVICE_PORT_HTTPS": "8443",
            f"{service}_PORT": "tcp://10.0.0.1:8443",
            f"{service}_PORT_8443_TCP": "tcp://10.0.0.1:8443",
            f"{service}_PORT_8443_TCP_PROTO": "tcp",
            f"{service}_PORT_8443_TCP_PORT": "8443",
            f"{service}_PORT_8443_TCP_ADDR": "10.0.0.1",
        }
        assert problems({"MESHID_TRUST": TRUST, **links}) == [
            (
                f"{service}_PORT, {service}_PORT_8443_TCP, {service}_PORT_8443_TCP_ADDR and 5 more:"
                " come from Kubernetes, for a Service whose name begins with 'meshid':"
                " set enableServiceLinks: false in the pod, or rename the Service"
            )
        ]
        (problem,) = problems({"MESHID_TRUST": TRUST, f"{service}_PORT": "tcp://10.0.0.1:8443"})
        assert problem.startswith(f"{service}_PORT: comes from Kubernetes")

    def test_everything_at_once(self, tmp_path: Path) -> None:
        config = tmp_path / "meshid.toml"
        config.write_text(
            'servcie = "x"\nport = "x"\ntrust = "prod.example.org=/x"\nkey = 1\ncrl_grace = true\n'
        )
        directory = tmp_path / "config"
        directory.mkdir()
        (directory / "polcy").write_text("x")
        (directory / "deny").write_bytes(b"\xff")
        (directory / "crls").mkdir()
        environ = {
            "MESHID_CONFIG": str(config),
            "MESHID_CONFIG_DIR": str(directory),
            "MESHID_SERVICE_FILE": str(tmp_path / "gone"),
            "MESHID_LAYOUT_FILE": str(tmp_path),
            "MESHID_DENY_FILE": "/dev/null",
        }
        file = "'/meshid.toml' (MESHID_CONFIG)"
        told = [problem.replace(str(tmp_path), "") for problem in problems(environ)]
        assert told == [
            "'/dev/null' (variable MESHID_DENY_FILE): '/dev/null' cannot be read: it is not a regular file",
            "'' (variable MESHID_LAYOUT_FILE): cannot be read: Is a directory",
            "'/gone' (variable MESHID_SERVICE_FILE): cannot be read: No such file or directory",
            "'/config/crls' (MESHID_CONFIG_DIR): cannot be read: Is a directory",
            "'/config/deny' (MESHID_CONFIG_DIR): is not UTF-8",
            "'/config/polcy': is unknown; did you mean 'policy'?",
            f"{file} 'servcie': is unknown; did you mean 'service'?",
            f"port, from {file}: 'x' is not a port: write a number from 0 to 65535, 0 for a free one",
            f"key, from {file}: must be a string, not int",
            f"trust, from {file}: must be a list of strings, not str",
            f"crl_grace, from {file}: 'True' is not a number of seconds: write 0 or more, or inf for ever",
            "credentials: is not set: a key needs its certificate; set MESHID_CREDENTIALS",
        ]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"service = ", "it cannot be parsed as TOML: "),
            (b"", "'{config}' cannot be read: it is empty"),
        ],
    )
    def test_a_config_file(self, tmp_path: Path, content: bytes | None, said: str) -> None:
        config = tmp_path / "meshid.toml"
        if content is not None:
            config.write_bytes(content)
        (problem,) = problems({"MESHID_TRUST": TRUST, "MESHID_CONFIG": str(config)})
        assert problem.startswith(f"{str(config)!r} (MESHID_CONFIG): {said.format(config=config)}")

    def test_a_directory_that_is_missing(self, tmp_path: Path) -> None:
        gone = str(tmp_path / "gone")
        assert problems({"MESHID_TRUST": TRUST, "MESHID_CONFIG_DIR": gone}) == [
            f"MESHID_CONFIG_DIR: {gone!r} cannot be read: No such file or directory"
        ]

    def test_an_item_of_a_list_that_is_no_text(self) -> None:
        (problem,) = problems({}, trust=[TRUST, 1])
        assert problem == "trust, from argument: must be a string, not int"

    @given(st.dictionaries(st.sampled_from([key.variable for key in KEYS]), st.text(), max_size=4))
    def test_whatever_is_in_the_variables_they_are_read_or_refused(self, environ: dict[str, str]) -> None:
        try:
            settings = Settings.from_env(environ)
        except InvalidSettings as error:
            assert error.problems
        else:
            assert settings.trust or settings.bundle_map or settings.workload_api


class TestMesh:
    @pytest.fixture
    def environ(self, tmp_path: Path, prod_ca: CA) -> dict[str, str]:
        KubernetesVolume(tmp_path / "tls", {**pair(prod_ca.issue(OWN)), "ca.crt": prod_ca.pem})
        (tmp_path / "policy.toml").write_text(POLICY)
        return {
            "MESHID_ENVIRONMENT": "prod",
            "MESHID_SERVICE": "payments",
            "MESHID_CREDENTIALS": str(tmp_path / "tls"),
            "MESHID_TRUST": f"prod.example.org={tmp_path / 'tls'}",
            "MESHID_POLICY": str(tmp_path / "policy.toml"),
            "PATH": "/bin",
        }

    def test_the_variables_of_a_container_are_enough(self, environ: dict[str, str]) -> None:
        with Mesh.from_env(environ) as mesh:
            assert str(mesh.snapshot.name) == f"spiffe://prod.example.org{OWN}"
            assert mesh.service == "payments"
            assert mesh.health().ready

    def test_they_are_shown_with_their_origins(
        self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert main(["settings"]) == 0
        rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
        assert rows[0] == ["environment", "prod", "variable MESHID_ENVIRONMENT"]
        assert rows[4] == ["port", "not", "set"]
        assert ["proxy_protocol", "false", "default"] in rows
        assert [row[0] for row in rows] == [key.name for key in KEYS]
        assert main(["settings", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["service"] == {"value": "payments", "origin": "variable MESHID_SERVICE"}
        monkeypatch.setenv("MESHID_SERVCE", "x\x1b[2J")
        assert main(["settings"]) == 2
        assert (
            capsys.readouterr().err == "meshid: MESHID_SERVCE: is unknown; did you mean 'MESHID_SERVICE'?\n"
        )

    def test_a_list_is_shown_on_one_line(self) -> None:
        settings = Settings.from_env({}, trust=[TRUST, "dev.example.org=/x"])
        shown = {name: value for name, value, _ in settings.items()}
        assert shown["trust"] == f"{TRUST}, dev.example.org=/x"


def test_the_fields_are_the_keys_and_help_says_what_each_is_for() -> None:
    fields = [field.name for field in attrs.fields(Settings) if not field.name.startswith("_")]
    assert fields == [*(key.name for key in KEYS), "origins"]
    about = Settings.__doc__
    assert about is not None
    assert "    port: The port to listen on, for your server to read; 0 is a free one.\n" in about
    assert re.findall(r"^    (\w+): ", about, re.MULTILINE) == fields


def test_the_page_says_what_each_key_is_for() -> None:
    docs = Path(__file__).parents[2] / "docs"
    pages = "".join((docs / name).read_text("utf-8") for name in ("reloading.md", "port.md")).replace("`", "")
    for key in KEYS:
        assert f"| {key.name} | {key.about.replace('`', '')}" in pages
