"""Two seconds after a file revokes a peer, it is gone everywhere: the promise in real time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from meshid import Mesh, Peer, PeerRejected, Reason
from meshid.testing import CA, Issued
from tests.helpers.mounted import Mounted, eventually
from tests.helpers.tls_peers import (
    HELLO,
    HOST,
    PATH,
    POLICY,
    SERVERS,
    TIMEOUT,
    knock,
    presenting_server,
    stranger,
)

SECONDS = 2.0
OTHER = "/ns/shop/sa/other"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@attrs.frozen
class Scene:
    mounted: Mounted
    leaving: CA
    bad: Issued
    good: Issued


@pytest.fixture
def scene(tmp_path: Path, prod_ca: CA) -> Scene:
    """Two authorities of one trust domain: ours and the good peer's, and one that can be removed."""
    leaving = CA("prod.example.org", subject="CN=leaving")
    mounted = Mounted(tmp_path, prod_ca)
    mounted.trust.write_bytes(prod_ca.pem + leaving.pem)
    return Scene(mounted, leaving, leaving.issue(PATH), prod_ca.issue(OTHER))


def put(path: Path, content: bytes | str) -> None:
    """Replace a file at one instant."""
    new = path.with_name(f".{path.name}")
    new.write_bytes(content if isinstance(content, bytes) else content.encode())
    new.replace(path)


REMOVALS: dict[str, tuple[Callable[[Scene], None], Reason]] = {
    "a deny list": (
        lambda scene: put(
            scene.mounted.deny, f"version = 1\n[[deny]]\npeer = 'spiffe://prod.example.org{PATH}'\n"
        ),
        Reason.DENY_LISTED,
    ),
    "a revocation list": (
        lambda scene: put(scene.mounted.crls / "leaving.crl", scene.leaving.crl(scene.bad)),
        Reason.REVOKED,
    ),
    "trust without an authority": (
        lambda scene: put(scene.mounted.trust, scene.mounted.ca.pem),
        Reason.UNKNOWN_AUTHORITY,
    ),
    "a policy without a rule": (
        lambda scene: put(scene.mounted.policy, POLICY.replace('"/ns/shop/**"', f'"{OTHER}"')),
        Reason.NO_RULE,
    ),
}


def client_of(issued: Issued, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = stranger(issued)
    context.minimum_version = context.maximum_version = version
    return context


@contextlib.contextmanager
def line(port: int, context: ssl.SSLContext, hello: bytes = HELLO) -> Iterator[ssl.SSLSocket]:
    """Open a connection and get an answer; then it is idle."""
    with socket.create_connection((HOST, port), TIMEOUT) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(hello)
        assert tls.recv(1024)
        yield tls


def ended_at(tls: ssl.SSLSocket) -> float:
    """Send nothing and wait for the end; return when it came."""
    with contextlib.suppress(OSError):
        assert tls.recv(1024) == b""
    return time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize(("remove", "reason"), REMOVALS.values(), ids=REMOVALS)
def test_two_seconds_later_it_is_gone_everywhere(
    scene: Scene, remove: Callable[[Scene], None], reason: Reason
) -> None:
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        revoked: list[Peer] = []
        mesh = enter(
            Mesh.from_sources(
                scene.mounted.sources(), service="payments", on_revoked=lambda peer, *_: revoked.append(peer)
            )
        )
        peer = mesh.admit(scene.bad.chain)
        pool = enter(ThreadPoolExecutor(16))
        services = [
            enter(serve(mesh.server_context(resumption=True, minimum_version=ssl.TLSVersion.TLSv1_2)))
            for serve in SERVERS.values()
        ]
        ends: list[Future[float]] = []
        returning: list[tuple[int, ssl.SSLContext, ssl.SSLSession | None]] = []
        for service in services:
            for version in VERSIONS:
                context = client_of(scene.bad, version)
                session = knock(service.port, context).session
                assert knock(service.port, context, session=session).resumed
                returning.append((service.port, context, session))
                ends.append(pool.submit(ended_at, enter(line(service.port, context))))
        staying = [enter(line(service.port, stranger(scene.good))) for service in services]
        # The other way round: our client, whose server is revoked. A client asks no policy.
        port = enter(presenting_server(scene.bad))
        outgoing = mesh.client_context(expect=[PATH])
        called = enter(line(port, outgoing, b""))
        if reason is not Reason.NO_RULE:
            ends.append(pool.submit(ended_at, called))

        # The servers may still be closing the first connections; those would be ended, too.
        assert eventually(lambda: mesh.open_connections == len(returning) + len(staying) + 1)
        remove(scene)
        removed = time.monotonic()
        time.sleep(SECONDS)

        late = [end.result(TIMEOUT) - removed for end in ends]
        assert max(late) < SECONDS
        decision = mesh.check(peer)
        assert (decision.allowed, decision.reason) == (False, reason)
        for at, context, session in returning:
            assert knock(at, context).answer == b""
            again = knock(at, context, session=session)
            assert again.answer == b""
        with contextlib.suppress(PeerRejected), line(port, outgoing, b""):
            assert reason is Reason.NO_RULE
        assert {each.spiffe_id.path for each in revoked} == {PATH}
        assert len(revoked) == len(ends)
        for tls in staying:
            tls.sendall(HELLO)
            assert tls.recv(1024).endswith(b"other\n")
