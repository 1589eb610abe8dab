"""What is found in a configuration, and what is not. That each is a trap is shown in tests/proxies."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.__main__ import main
from meshid.cli.nginx.nginx_configuration import Configuration, Directive, read_configuration
from meshid.cli.nginx.nginx_traps import traps_in
from meshid.cli.nginx.trap import Trap
from tests.helpers.proxies import documented, nginx_configuration

CONFIGURATION = documented("nginx", "nginx ends TLS and asks meshid")
HERE = "    location / {\n"
QUESTION = "    location = /_meshid {\n"
PEER = "proxy_set_header X-Meshid-Peer $meshid_peer; proxy_set_header X-Client-Cert-Pem '';"
BEHIND = (
    CONFIGURATION.replace("${LISTEN} ssl http2", "127.0.0.1:8080 proxy_protocol")
    .replace(
        "X-Client-Cert-Pem $ssl_client_escaped_cert", "X-Meshid-Connection $proxy_protocol_tlv_unique_id"
    )
    .replace('X-Client-Cert-Pem ""', 'X-Meshid-Connection ""')
)


GATE = "server { listen %s proxy_protocol; location / { proxy_pass http://a; %%s } }"


def found(text: str) -> list[Trap]:
    return [each.trap for each in traps_in(read_configuration(text))]


def with_(old: str, new: str, text: str = CONFIGURATION) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def on_the_server(text: str) -> str:
    return with_(HERE, f"    {text}\n{HERE}")


def with_location(text: str) -> str:
    return with_(QUESTION, f"    location {text}\n{QUESTION}")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONFIGURATION, id="as documented"),
        pytest.param(nginx_configuration(CONFIGURATION), id="inside http"),
        pytest.param(BEHIND, id="by the handle"),
        pytest.param(on_the_server("return 301 https://$host$request_uri;"), id="a redirect"),
        pytest.param(on_the_server("return https://elsewhere.example;"), id="a redirect without a status"),
        pytest.param(with_location("/gone { return 404; }"), id="a bare error"),
        pytest.param(
            with_location("/old { rewrite ^/old/(.*) /new/$1 permanent; }"), id="rewrite, permanent"
        ),
        pytest.param(with_location("/old { rewrite ^ https://elsewhere.example; }"), id="rewrite elsewhere"),
        pytest.param(with_location("/old { rewrite ^ $scheme://$host/new; }"), id="rewrite, with a scheme"),
        pytest.param(on_the_server("error_page 404 = @other;"), id="error_page of something else"),
        pytest.param(on_the_server("error_page 403 /sorry.html;"), id="error_page with the same status"),
        pytest.param(on_the_server("satisfy all;"), id="satisfy all"),
        pytest.param(with_location("/files/ { alias /srv/files/; }"), id="alias with both ends"),
        pytest.param(with_location("/files { alias /srv/files; }"), id="alias with neither end"),
        pytest.param(with_location("/files { root /srv; try_files $uri =404; }"), id="files"),
        pytest.param(on_the_server("underscores_in_headers off;"), id="underscores off"),
        pytest.param(with_location(f"/a {{ proxy_pass http://$backend; {PEER} }}"), id="a variable"),
        pytest.param(with_location(f"/a {{ proxy_pass http://unix:/run/a.sock; {PEER} }}"), id="a socket"),
        pytest.param(
            with_location("/a { grpc_pass grpc://a:1; grpc_set_header x-meshid-peer $meshid_peer; }"),
            id="gRPC",
        ),
        pytest.param(
            with_location("/a { uwsgi_pass a:1; uwsgi_param HTTP_X_MESHID_PEER $meshid_peer; }"), id="uwsgi"
        ),
        pytest.param(
            CONFIGURATION + "server { listen 81; location / { proxy_pass http://a; } }", id="another port"
        ),
        pytest.param(
            with_("optional_no_ca", "on").replace(
                HERE, f"ssl_client_certificate a; ssl_trusted_certificate b;\n{HERE}"
            ),
            id="nginx checks as well",
        ),
        pytest.param(BEHIND.replace("127.0.0.1:8080", "unix:/run/nginx.sock"), id="PROXY on a socket"),
        pytest.param(
            GATE % "127.0.0.1:80" % "proxy_set_header X-Meshid-Peer $proxy_protocol_tlv_0xE0;", id="a gate"
        ),
    ],
)
def test_nothing_is_found_in_what_is_right(text: str) -> None:
    assert traps_in(read_configuration(text)) == []


@pytest.mark.parametrize(
    ("text", "traps"),
    [
        pytest.param("", [Trap.NOBODY_ASKED], id="nothing"),
        pytest.param("server { location / { } }", [Trap.NOBODY_ASKED], id="no auth_request"),
        pytest.param(
            with_location("/told { return 404 'it was here'; }"),
            [Trap.BEFORE_THE_QUESTION],
            id="an error with a text",
        ),
        pytest.param(
            with_location("/told { limit_except GET { return 204; } }"),
            [Trap.BEFORE_THE_QUESTION],
            id="in limit_except",
        ),
        pytest.param(f"satisfy any;\n{CONFIGURATION}", [Trap.ANY_IS_ENOUGH], id="satisfy any in http"),
        pytest.param(
            on_the_server("error_page 500 @other;"), [Trap.REFUSAL_ANSWERED], id="error_page of 500"
        ),
        pytest.param(
            with_location(f"~ ^/(a.*) {{ proxy_pass http://a/$1; {PEER} }}"),
            [Trap.OTHER_PATH, Trap.DECODED_PATH],
            id="a captured path",
        ),
        pytest.param(on_the_server("set $path ${document_uri};"), [Trap.DECODED_PATH], id="in braces"),
        pytest.param(
            with_location(f"/a {{ proxy_pass http://unix:/run/a.sock:/; {PEER} }}"),
            [Trap.OTHER_PATH],
            id="a socket",
        ),
        pytest.param(
            with_location("/a { fastcgi_pass a:1; include fastcgi_params; }"),
            [Trap.FORGED_PEER, Trap.UNREAD],
            id="fastcgi",
        ),
        pytest.param(
            with_location(
                "/a { proxy_pass http://a; proxy_set_header X-Meshid-Peer $http_x_meshid_peer;"
                ' proxy_set_header X-Client-Cert-Pem ""; }'
            ),
            [Trap.FORGED_PEER],
            id="the client's own",
        ),
        pytest.param(
            on_the_server("if ($ssl_client_verify != SUCCESS) { return 403; }"),
            [Trap.NOT_VERIFIED],
            id="verify",
        ),
        pytest.param(
            BEHIND.replace("127.0.0.1:8080", "8080"), [Trap.CLAIMED_ADDRESS], id="PROXY on all addresses"
        ),
        pytest.param(BEHIND.replace("127.0.0.1:8080", "[::1]:80"), [], id="PROXY on ::1"),
        pytest.param(GATE % "80" % "", [Trap.CLAIMED_ADDRESS, Trap.FORGED_PEER], id="an open gate"),
        pytest.param(
            CONFIGURATION
            + "server { listen ${LISTEN} ssl; location /a { location /a/b { proxy_pass http://b; } } }",
            [Trap.NOBODY_ASKED],
            id="a second server on the port",
        ),
        pytest.param(
            with_("proxy_set_header X-Client-Cert-Pem $ssl_client_escaped_cert", "#"),
            [Trap.WRONG_QUESTION],
            id="nobody",
        ),
    ],
)
def test_each_is_found_once(text: str, traps: list[Trap]) -> None:
    assert found(text) == traps


def test_a_line_that_counts_in_two_servers_is_found_once() -> None:
    text = f"underscores_in_headers on;\n{CONFIGURATION}{CONFIGURATION.replace('${LISTEN}', '444')}"
    assert found(text) == [Trap.FORGED_PEER]


def test_a_large_site_is_looked_at_in_time() -> None:
    locations = "".join(f"location /{n} {{ proxy_pass http://service/{n}; }}\n" for n in range(5000))
    assert len(found(with_(QUESTION, locations + QUESTION))) == 15_000


NAMES = sorted(
    set(re.findall(r"[a-z_]+(?= )", CONFIGURATION)) | {"if", "return", "rewrite", "alias", "set", "satisfy"}
)
ARGUMENTS = st.lists(
    st.sampled_from(
        ["/_meshid", "off", "any", "=", "200", "/", "$uri", "X-Meshid-Peer", "80", "proxy_protocol"]
    ),
    max_size=3,
).map(tuple)
DIRECTIVES = st.recursive(
    st.builds(Directive, st.sampled_from(NAMES), ARGUMENTS, st.just("line 1")),
    lambda inner: st.builds(
        Directive,
        st.sampled_from(["http", "server", "location", "if"]),
        ARGUMENTS,
        st.just("line 1"),
        st.lists(inner, max_size=6).map(tuple),
    ),
)


@given(st.lists(DIRECTIVES, max_size=3).map(tuple))
def test_no_configuration_is_too_odd(directives: tuple[Directive, ...]) -> None:
    for each in traps_in(Configuration(directives)):
        assert each.what.isprintable()


class TestCommand:
    def test_what_is_right_is_a_yes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "mesh.conf"
        file.write_text(CONFIGURATION)
        assert main(["check-nginx", str(file)]) == 0
        assert capsys.readouterr() == ("nothing found\n", "")

    def test_a_trap_is_a_no_with_its_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "mesh.conf"
        file.write_text(
            with_location("/health { return 200 'ok'; }").replace("    ssl_session_tickets off;", "")
        )
        assert main(["check-nginx", str(file)]) == 1
        out, err = capsys.readouterr()
        first, trap, warning = out.splitlines()
        assert (first, err) == ("1 finding, 1 warning", "")
        line = file.read_text().splitlines().index("    location /health { return 200 'ok'; }") + 1
        assert trap.startswith(f"  line {line}: 'return 200 ok': strangers get this")
        assert trap.endswith("[before_the_question]")
        assert warning.endswith("write 'ssl_session_tickets off;' [resumption]")

    def test_a_warning_alone_is_a_yes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        # nginx knows no encoding, and nor do its comments.
        text = b"# caf\xe9\n" + with_("ssl_session_cache   off", "ssl_session_cache builtin").encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert main(["check-nginx", "--json", "-"]) == 0
        (finding,) = json.loads(capsys.readouterr().out)["findings"]
        assert (finding["kind"], finding["warning"]) == ("resumption", True)

    def test_what_cannot_be_read_is_no_answer(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "mesh.conf"
        file.write_text("server {\n  listen 80\n}")
        assert main(["check-nginx", str(file)]) == 2
        assert capsys.readouterr() == ("", f"meshid: {str(file)!r}: line 2: 'listen' has no ';' at its end\n")
