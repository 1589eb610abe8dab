"""What holds behind each proxy that hands over the whole chain; the tests of a proxy inherit these."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import pytest

from meshid import BundleSet, Revocations, TrustBundle
from meshid.testing import CA, Issued
from tests.helpers.forwarding import Pairs
from tests.helpers.path_tricks import breaches, wide_policy
from tests.helpers.proxies import CURL, OPENSSL
from tests.helpers.proxy_dialects import forged
from tests.helpers.proxy_scene import CHECKOUT, CHECKOUT_ID, CLOSED, SPEAKING, Line, Line2, Scene, policy_of
from tests.helpers.tls_peers import HOST, stranger

PUBLIC, CHARGES = ("GET", "/public"), ("POST", "/v1/charges")

WEB_ID = "spiffe://prod.example.org/ns/web/sa/front"
DEV_ID = "spiffe://dev.example.org/ns/web/sa/front"

Verdict = tuple[int, str, str | None]
"""The status, the reason of the audit event, and the peer that the upstream was told of."""

_ALL: list[Verdict] = [(200, "allowed", CHECKOUT_ID)] * 2


def _refused(reason: str, status: int = 403) -> list[Verdict]:
    return [(status, reason, None)] * 2


VERDICTS: Mapping[str, list[Verdict]] = {
    "checkout": _ALL,
    "checkout, of the root itself": _ALL,
    "checkout, deep": _ALL,
    "a leaf without its intermediate": _refused("unknown_authority"),
    "web": [(200, "allowed", WEB_ID), (403, "no_rule", None)],
    "federated": [(200, "allowed", DEV_ID), (403, "no_rule", None)],
    "forged": _refused("foreign_authority"),
    "expired": _refused("expired"),
    "of an unknown trust domain": _refused("unknown_trust_domain"),
    "none": _refused("no_certificate", 401),
}
"""What becomes of ``GET /public`` and ``POST /v1/charges``."""

BROKEN: Mapping[str, bytes | None] = {
    "gone": None,
    "hangs": b"",
    "no HTTP": b"\x00\x01 what is this\r\n\r\n",
    "HTTP/0.9": b"yes\n",
    "closes at once": b"\n",
    "breaks off in the head": b"HTTP/1.1 200 OK\r\nX-Meshid-Pe",
    "breaks off in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na",
    "only goes on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: /public\r\nContent-Length: 0\r\n\r\n",
    "fails": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "is not ready": b"HTTP/1.1 503 Wait\r\nContent-Length: 0\r\n\r\n",
}
"""What an authorizer may answer that is none; empty: nothing, ever."""


@contextlib.contextmanager
def broken_authorizer(where: Path, answer: bytes | None) -> Iterator[None]:
    """Listen at *where*, and answer each connection with *answer*, whatever is asked."""
    if answer is None:
        yield
        return
    over = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            if not answer:
                over.wait()
            connection.sendall(answer.lstrip(b"\n"))

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threads.append(threading.Thread(target=serve, args=(listener.accept()[0],)))
                threads[-1].start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(where))
        listener.listen()
        threads.append(threading.Thread(target=accept, args=(listener,)))
        threads[0].start()
        try:
            yield
        finally:
            where.unlink()
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


@attrs.frozen
class Proxied:
    """A scene with a proxy in it.

    Attributes:
        scene: What stands around it.
        port: The port of the proxy.
        socket: Where it asks.
    """

    scene: Scene
    port: int
    socket: Path

    def once(self, client: str | Issued | None, request: tuple[str, str] = PUBLIC) -> int:
        """Ask on a connection of its own, and return the status."""
        context = self.scene.context(client) if isinstance(client, str) else stranger(client)
        with Line(self.port, context) as line:
            return line.ask(*request).status

    def verdict(
        self, line: Line | Line2, request: tuple[str, str], fields: Sequence[tuple[bytes, bytes]] = ()
    ) -> Verdict:
        """Ask on a connection that is kept."""
        answer = line.ask(*request, fields)
        # Whoever is refused is a stranger.
        assert not [name for name in answer.headers if "meshid" in name]
        received = self.scene.upstream.taken()
        peers = [value.decode() for each in received for value in each.all("x-meshid-peer")]
        assert len(received) == len(peers) <= 1
        for each in received:
            assert (each.method.decode(), each.target.decode()) == request
            assert [name for name, _ in each.headers if is_of_proxies(name)] == [b"x-meshid-peer"]
        event = self.scene.heard.next()
        if event.decision.reason in {"allowed", "no_rule"}:
            assert event.decision.request == " ".join(request)
        assert self.scene.heard.is_quiet()
        return answer.status, str(event.decision.reason), peers[0] if peers else None


def is_of_proxies(name: bytes) -> bool:
    """Return whether a service might take a header for one of its proxy's."""
    return b"_" in name or name.startswith((b"x-meshid-", b"client-cert", b"x-forwarded-client-cert"))


def in_portions(fields: Pairs, size: int = 8000) -> Iterator[Pairs]:
    """Yield the fields in portions that every proxy takes."""
    portion: Pairs = []
    for field in fields:
        if sum(len(name) + len(value) for name, value in [*portion, field]) > size:
            yield portion
            portion = []
        portion.append(field)
    yield portion


def without_intermediate(scene: Scene) -> Issued:
    """Return a leaf that nobody has seen with its chain: of one that was admitted, meshid knows the path."""
    issued = scene.clients.issuing.issue(CHECKOUT)
    return Issued(issued.certificate, issued.key, ())


class WholeChainProxy:
    """The fixtures are ``proxied``, and ``astray``, whose authorizer is what a test puts there."""

    passes_on: ClassVar[Mapping[str, int]] = {}
    """The answers of no authorizer that are passed on to the client."""

    @pytest.mark.parametrize("version", SPEAKING)
    def test_each_certificate_gets_what_is_its_own(self, version: str, proxied: Proxied) -> None:
        scene, found = proxied.scene, {}
        for name in VERDICTS:
            known = name in scene.clients.named
            context = scene.context(name) if known else stranger(without_intermediate(scene))
            with SPEAKING[version](proxied.port, context) as line:
                found[name] = [proxied.verdict(line, request) for request in (PUBLIC, CHARGES)]
        assert found == VERDICTS

    @pytest.mark.parametrize("version", SPEAKING)
    @pytest.mark.parametrize("name", ["web", "none", "forged"])
    def test_what_a_client_writes_changes_nothing(self, name: str, version: str, proxied: Proxied) -> None:
        scene = proxied.scene
        for lies in in_portions(forged(scene.clients.issued("checkout").chain)):
            with SPEAKING[version](proxied.port, scene.context(name)) as line:
                assert [proxied.verdict(line, request, lies) for request in (PUBLIC, CHARGES)] == VERDICTS[
                    name
                ]

    @pytest.mark.parametrize("version", SPEAKING)
    def test_news_are_in_force_at_the_next_request(self, version: str, proxied: Proxied) -> None:
        scene = proxied.scene
        old, new = scene.clients.prod, CA("prod.example.org")
        newcomer = new.intermediate().issue(CHECKOUT)
        both = BundleSet([TrustBundle.from_pem("prod.example.org", old.pem + new.pem)])
        speaks = SPEAKING[version]
        with (
            speaks(proxied.port, stranger(newcomer)) as renewed,
            speaks(proxied.port, scene.context("checkout")) as kept,
        ):

            def told() -> list[tuple[int, str]]:
                return [proxied.verdict(line, CHARGES)[:2] for line in (renewed, kept)]

            allowed = (200, "allowed")
            assert told() == [(403, "unknown_authority"), allowed]
            scene.mesh.publish(bundles=both)
            assert told() == [allowed, allowed]
            scene.mesh.publish(bundles=BundleSet([new.bundle()]))
            assert told() == [allowed, (403, "unknown_authority")]
            scene.mesh.publish(revocations=Revocations(deny=[CHECKOUT_ID]))
            assert told()[0] == (403, "deny_listed")
            scene.mesh.publish(revocations=Revocations(), policy=policy_of(CLOSED))
            assert told()[0] == (403, "no_rule")

    @pytest.mark.parametrize("version", SPEAKING)
    def test_no_trick_reaches_what_the_policy_forbids(self, version: str, proxied: Proxied) -> None:
        scene = proxied.scene
        scene.mesh.publish(policy=wide_policy())
        assert breaches(SPEAKING[version], proxied.port, scene.context("web"), scene.upstream) == []

    @pytest.mark.parametrize("case", BROKEN)
    def test_without_an_answer_of_meshid_nobody_is_served(self, case: str, astray: Proxied) -> None:
        with broken_authorizer(astray.socket, BROKEN[case]):
            assert astray.once("checkout") == self.passes_on.get(case, 403)
        assert astray.scene.upstream.taken() == []
        assert astray.scene.heard.is_quiet()

    def test_curl(self, proxied: Proxied) -> None:
        scene = proxied.scene
        chain, key = scene.files_of("checkout")
        mine: list[str | Path] = ["--cert", chain, "--key", key]
        for version, number in {"--http1.1": "1.1", "--http2": "2"}.items():
            told = curl(proxied, version, *mine, "--data", "a=b", path="/v1/charges")
            assert told == f"{number} 200"
            assert curl(proxied, version, *mine, path="/v1/secrets") == f"{number} 403"
            assert curl(proxied, version, path="/public") == f"{number} 401"
        assert [(it.line, it.body) for it in scene.upstream.taken()] == [
            (b"POST /v1/charges HTTP/1.1", b"a=b")
        ] * 2

    def test_openssl(self, proxied: Proxied) -> None:
        scene = proxied.scene
        for name, status in {"checkout": " 200 ", "expired": " 403 "}.items():
            chain, key = scene.files_of(name)
            assert status in s_client(proxied, "-cert", chain, "-key", key, "-cert_chain", chain)
        assert " 401 " in s_client(proxied)

    def test_more_certificates_than_anybody_needs_are_refused(self, proxied: Proxied) -> None:
        """In HAProxy's buffers are 16 kB; Envoy takes 100 kB of certificates."""
        scene = proxied.scene
        more = [CA("prod.example.org").certificate for _ in range(70)]
        for count in (8, 30, 70):
            issued = scene.clients.issuing.issue(CHECKOUT)
            many = Issued(issued.certificate, issued.key, (*issued.intermediates, *more[:count]))
            assert proxied.once(many) in {0, 403}
        assert scene.upstream.taken() == []
        assert proxied.once("checkout") == 200


def curl(proxied: Proxied, *arguments: str | Path, path: str) -> str:
    """Return the version of HTTP and the status."""
    command: list[str | Path] = [
        CURL.path(),
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
    ]
    command += ["--write-out", "%{http_version} %{http_code}", "--cacert", proxied.scene.folder / "web.pem"]
    return _run([*command, *arguments, f"https://localhost:{proxied.port}{path}"])


def s_client(proxied: Proxied, *arguments: str | Path) -> str:
    """Return the first line of the answer."""
    command: list[str | Path] = [
        OPENSSL.path(),
        "s_client",
        "-quiet",
        "-verify_quiet",
        "-connect",
        f"{HOST}:{proxied.port}",
    ]
    command += ["-CAfile", proxied.scene.folder / "web.pem", "-verify_return_error"]
    return _run(
        [*command, *arguments], b"GET /public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ).partition("\r\n")[0]


def _run(command: list[str | Path], given: bytes = b"") -> str:
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def other_trust(scene: Scene) -> BundleSet:
    """Return the trust of the scene and one authority more: meshid forgets whom it has admitted."""
    prod, dev = scene.clients.prod, scene.clients.dev
    more = TrustBundle.from_pem("prod.example.org", prod.pem + CA("prod.example.org").pem)
    return BundleSet([more, dev.bundle()])


def resumed(proxied: Proxied, client: str, between: Callable[[], object]) -> tuple[bool, int]:
    """Ask on one connection, call *between*, and ask on another with the session of the first.

    Returns:
        Whether the proxy took the session, and the status of the second answer.
    """
    context = proxied.scene.context(client)
    with Line(proxied.port, context) as first:
        assert first.ask(*PUBLIC).status == 200
        session = first.tls.session
    between()
    with Line(proxied.port, context, session) as second:
        status = second.ask(*PUBLIC).status
        return bool(second.tls.session_reused), status


def changed(text: str, *changes: tuple[str, str]) -> str:
    """Replace each first part by the second; each must be there exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the configuration"
        text = text.replace(old, new)
    return text
