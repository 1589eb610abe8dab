"""What `meshid check-nginx` finds is a trap: each is set in the documented configuration, and strikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
import pytest

from meshid.cli.nginx.nginx_configuration import read_configuration
from meshid.cli.nginx.nginx_traps import traps_in
from meshid.cli.nginx.trap import Trap
from meshid.http import authorizer
from tests.helpers.path_tricks import wide_policy
from tests.helpers.proxies import NGINX, Program, documented, filled, nginx_configuration
from tests.helpers.proxy_scene import Answer, Line, Scene, proxy_scene, serving_app
from tests.proxies.test_nginx import Nginx, nginx_of, replaced

CONFIGURATION = documented("nginx", "nginx ends TLS and asks meshid")
SET = "        proxy_set_header X-Meshid-Peer $meshid_peer;\n"


def asked(
    nginx: Nginx, client: str, target: str, *headers: tuple[str, str], host: str = "localhost"
) -> Answer:
    with Line(nginx.port, nginx.scene.context(client), host=host) as line:
        return line.ask("GET", target, headers)


def serves_strangers(target: str) -> Callable[[Nginx], bool]:
    """Return whether a client without a certificate is served."""
    return lambda nginx: asked(nginx, "none", target).status == 200


def peers_received(nginx: Nginx, target: str, *headers: tuple[str, str]) -> list[bytes]:
    """Return the names that the service got from a client that wrote one itself."""
    asked(nginx, "checkout", target, ("X-Meshid-Peer", "me"), *headers)
    return [value for each in nginx.scene.upstream.taken() for value in each.all("x-meshid-peer")]


def believes_the_client(target: str) -> Callable[[Nginx], bool]:
    return lambda nginx: b"me" in peers_received(nginx, target)


def serves_another_path(target: str, served: str) -> Callable[[Nginx], bool]:
    """Return whether a request that is allowed for one path arrives with another one."""

    def strikes(nginx: Nginx) -> bool:
        nginx.scene.mesh.publish(policy=wide_policy())
        assert asked(nginx, "web", target).status == 200
        return [each.target for each in nginx.scene.upstream.taken()] == [served.encode("latin-1")]

    return strikes


def writes_headers(nginx: Nginx) -> bool:
    """Return whether a path writes a header of the question, which is sent to the service instead."""
    asked(nginx, "checkout", "/a%0d%0aX-Written:%20yes")
    return any(each.all("x-written") for each in nginx.scene.upstream.taken())


def reads_a_file_above(nginx: Nginx) -> bool:
    nginx.scene.mesh.publish(policy=wide_policy())
    return asked(nginx, "web", "/files../server.pem").body.startswith(b"-----BEGIN")


def is_kept(nginx: Nginx) -> bool:
    return [asked(nginx, client, "/public").status for client in ("checkout", "none")] == [200, 200]


def asks_for_others(nginx: Nginx) -> bool:
    return asked(nginx, "none", "/_meshid").status in {401, 403}


def passes(name: str, target: bytes = b"/public") -> Callable[[Nginx], bool]:
    """Return whether a header of the client reaches the service, which gets the questions in some tests."""

    def strikes(nginx: Nginx) -> bool:
        asked(nginx, "checkout", "/public", (name, "of the client"))
        received = nginx.scene.upstream.taken()
        return any(each.all(name.lower()) for each in received if each.target == target)

    return strikes


def is_a_500(nginx: Nginx) -> bool:
    with nginx.line(Line, "checkout") as line:
        return line.ask("POST", "/v1/charges", body=bytes(3000)).status == 500


def is_always_401(nginx: Nginx) -> bool:
    return asked(nginx, "checkout", "/public").status == 401


def is_400_for_everybody(nginx: Nginx) -> bool:
    return asked(nginx, "checkout", "/public").status == 400


def resumes(nginx: Nginx) -> bool:
    context = nginx.scene.context("checkout")
    with Line(nginx.port, context) as first:
        assert first.ask("GET", "/public").status == 200
        with Line(nginx.port, context, first.tls.session) as second:
            return bool(second.tls.session_reused)


@attrs.frozen
class Set:
    """A trap, set in the documented configuration.

    Attributes:
        trap: What is to be found.
        strikes: Shows that it is one.
        changes: What is replaced by what.
    """

    trap: Trap
    strikes: Callable[[Nginx], bool]
    changes: Sequence[tuple[str, str]]


TO_THE_SERVICE = "proxy_pass http://service; " + SET.strip() + ' proxy_set_header X-Client-Cert-Pem "";'
QUESTION_TO_THE_SERVICE = ("http://unix:${AUTHORIZER_SOCKET}:/authorize", "http://service/authorize")
CACHE = (
    "proxy_cache_path ${FOLDER}/kept-${PORT} keys_zone=kept:1m; proxy_cache kept; proxy_cache_valid any 1m;"
    " proxy_ignore_headers Cache-Control;"
)
OTHER_SERVER = (
    "server { listen ${LISTEN} ssl http2; server_name other; ssl_certificate ${CERTIFICATE};"
    " ssl_certificate_key ${KEY}; location / { proxy_pass http://service; } }"
)


def on_the_server(text: str) -> tuple[str, str]:
    return "    location / {", f"    {text}\n    location / {{"


def location(text: str) -> tuple[str, str]:
    return "    location = /_meshid {", f"    location {text}\n    location = /_meshid {{"


def without(text: str) -> tuple[str, str]:
    return text, ""


TRAPS = {
    "return": Set(
        Trap.BEFORE_THE_QUESTION, serves_strangers("/told"), [location("/told { return 200 'told'; }")]
    ),
    "return in an if": Set(
        Trap.BEFORE_THE_QUESTION,
        serves_strangers("/told"),
        [on_the_server("if ($uri = /told) { return 200 'told'; }")],
    ),
    "auth_request off": Set(
        Trap.NOBODY_ASKED,
        serves_strangers("/v1/open"),
        [location(f"/v1/open {{ auth_request off; {TO_THE_SERVICE} }}")],
    ),
    "auth_request in one location": Set(
        Trap.NOBODY_ASKED,
        serves_strangers("/v1/open"),
        [
            without("    auth_request     /_meshid;"),
            ("    location / {", "    location / {\n        auth_request /_meshid;"),
            location(f"/v1/open {{ {TO_THE_SERVICE} }}"),
        ],
    ),
    "a second server on the port": Set(
        Trap.NOBODY_ASKED,
        lambda nginx: asked(nginx, "none", "/v1/charges", host="other").status == 200,
        [("server {\n", OTHER_SERVER + "\nserver {\n    server_name localhost;\n")],
    ),
    "satisfy any": Set(
        Trap.ANY_IS_ENOUGH,
        serves_strangers("/v1/charges"),
        [on_the_server("satisfy any; allow 127.0.0.1; deny all;")],
    ),
    "error_page with a named location": Set(
        Trap.REFUSAL_ANSWERED,
        serves_strangers("/v1/charges"),
        [
            on_the_server("error_page 401 403 = @other;"),
            location(f"@other {{ auth_request off; {TO_THE_SERVICE} }}"),
        ],
    ),
    "error_page with another status": Set(
        Trap.REFUSAL_ANSWERED,
        serves_strangers("/v1/charges"),
        [
            on_the_server("error_page 401 403 =200 /sorry;"),
            location(f"/sorry {{ auth_request off; {TO_THE_SERVICE} }}"),
        ],
    ),
    "proxy_cache": Set(
        Trap.KEPT_VERDICT,
        is_kept,
        [("upstream service {", f"{CACHE}\nupstream service {{"), without("        proxy_cache off;")],
    ),
    "rewrite": Set(
        Trap.OTHER_PATH,
        serves_another_path("/public/charges", "/v1/charges"),
        [on_the_server("rewrite ^/public/(.*)$ /v1/$1;")],
    ),
    "proxy_pass with a path": Set(
        Trap.OTHER_PATH,
        serves_another_path("/api../v1/charges", "/../v1/charges"),
        [location(f"/api {{ {TO_THE_SERVICE.replace('service;', 'service/;', 1)} }}")],
    ),
    "alias": Set(Trap.OTHER_PATH, reads_a_file_above, [location("/files { alias ${FOLDER}/files/; }")]),
    "the decoded path in the question": Set(
        Trap.DECODED_PATH,
        writes_headers,
        [
            QUESTION_TO_THE_SERVICE,
            ("    location / {", "    location / {\n        set $path $uri;"),
            ("X-Original-URI    $request_uri;", "X-Original-URI $path;"),
        ],
    ),
    "the decoded path to the service": Set(
        Trap.DECODED_PATH,
        serves_another_path("/caf%C3%A9", "/caf\xc3\xa9"),
        [("        proxy_pass http://service;", "        proxy_pass http://service$uri;")],
    ),
    "proxy_set_header drops the others": Set(
        Trap.FORGED_PEER,
        believes_the_client("/public"),
        [location("/public { proxy_pass http://service; proxy_set_header X-Other 1; }")],
    ),
    "underscores": Set(
        Trap.FORGED_PEER, passes("X_Meshid_Peer"), [on_the_server("underscores_in_headers on;")]
    ),
    "no internal": Set(Trap.OPEN_QUESTION, asks_for_others, [without("        internal;\n")]),
    "the client's headers in the question": Set(
        Trap.OPEN_QUESTION,
        passes("X-Anything", b"/authorize"),
        [QUESTION_TO_THE_SERVICE, without("        proxy_pass_request_headers off;")],
    ),
    "no path in the question": Set(
        Trap.WRONG_QUESTION,
        lambda nginx: asked(nginx, "checkout", "/public").status == 403,
        [without("        proxy_set_header X-Original-URI    $request_uri;\n")],
    ),
    "no certificate in the question": Set(
        Trap.WRONG_QUESTION,
        is_always_401,
        [without("        proxy_set_header X-Client-Cert-Pem $ssl_client_escaped_cert;\n")],
    ),
    "no certificate asked for": Set(
        Trap.NOT_VERIFIED, is_always_401, [without("    ssl_verify_client   optional_no_ca;\n")]
    ),
    "an intermediate alone": Set(
        Trap.NOT_VERIFIED,
        is_400_for_everybody,
        [on_the_server("ssl_client_certificate ${INTERMEDIATE};")],
    ),
    "an intermediate alone, on": Set(
        Trap.NOT_VERIFIED,
        is_400_for_everybody,
        [("optional_no_ca;\n", "on;\n"), on_the_server("ssl_client_certificate ${INTERMEDIATE};")],
    ),
    "tickets": Set(Trap.RESUMPTION, resumes, [without("    ssl_session_tickets off;")]),
    "a cache of sessions": Set(
        Trap.RESUMPTION,
        resumes,
        [("    ssl_session_cache   off;", "    ssl_session_cache shared:kept:1m;")],
    ),
    "a limit for bodies": Set(
        Trap.LARGE_BODY, is_a_500, [("        client_max_body_size 0; ", "        client_max_body_size 1k; ")]
    ),
    "the client's certificate header": Set(
        Trap.FORGED_CERTIFICATE,
        passes("X-Client-Cert-Pem"),
        [without('        proxy_set_header X-Client-Cert-Pem "";\n')],
    ),
}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with proxy_scene(tmp_path_factory.mktemp("traps")) as scene:
        (scene.folder / "files").mkdir()
        app = authorizer(scene.mesh, proxy="nginx", intermediates=scene.clients.intermediates)
        with serving_app(app, scene.socket):
            yield scene


@pytest.fixture
def scene(standing: Scene) -> Iterator[Scene]:
    standing.restore()
    yield standing
    standing.restore()


@pytest.mark.parametrize("program", NGINX.values(), ids=list(NGINX))
@pytest.mark.parametrize("trap", TRAPS.values(), ids=list(TRAPS))
def test_it_strikes_and_is_found(scene: Scene, trap: Set, program: Program) -> None:
    text = CONFIGURATION
    for old, new in trap.changes:
        text = replaced(text, old, new)
    assert trap.trap in {each.trap for each in traps_in(read_configuration(text))}
    with nginx_of(scene, program, text, FOLDER=scene.folder) as nginx:
        assert trap.strikes(nginx)
    with nginx_of(scene, program, FOLDER=scene.folder) as nginx:
        assert not strikes_as_documented(trap, nginx)


def strikes_as_documented(trap: Set, nginx: Nginx) -> bool:
    try:
        return trap.strikes(nginx)
    except (AssertionError, IndexError):
        return False


@pytest.mark.parametrize("trap", Trap)
def test_each_kind_is_shown(trap: Trap) -> None:
    if trap not in {Trap.UNREAD, Trap.CLAIMED_ADDRESS}:
        assert trap in {each.trap for each in TRAPS.values()}


def test_the_documented_configurations_are_clean(scene: Scene) -> None:
    handle = documented("nginx", "asks about each request by the handle")
    gate = documented("nginx", "and is a gate")
    for text in (CONFIGURATION, nginx_configuration(CONFIGURATION), handle, gate):
        # As it is, and filled in.
        assert traps_in(read_configuration(text)) == []
        values = {**scene.values(1), "LISTEN": "unix:/run/meshid/nginx.sock"}
        assert traps_in(read_configuration(filled(text, values))) == []
    checks_as_well = documented("nginx", "nginx checks as well")
    text = replaced(CONFIGURATION, "    ssl_verify_client   optional_no_ca;\n", checks_as_well)
    assert traps_in(read_configuration(text)) == []
