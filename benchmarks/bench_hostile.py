"""What the worst input costs, in units of an honest one of the same size in bytes.

What comes before authentication, and what partners and operators load: chains and TLS
messages of strangers, bundles, revocation lists, policies. Stops with status 1 if a hostile
one costs more than 20 times the honest one.

    python benchmarks/bench_hostile.py          all
    python benchmarks/bench_hostile.py chain    those whose name has this in it
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import attrs
import hostile
from hostile import DOMAIN, NAME, PATH, Chain

from meshid import BundleSet, ChainVerifier, MeshidError, Policy, Revocations, SpiffeId, TrustBundle
from meshid.errors import Refused
from meshid.names.spiffe_id import TrustDomain
from meshid.testing import CA
from meshid.tls.peer_chain import read_certificate_message
from meshid.trust.crl import read_list_file

LIMIT = 20
ROUNDS = 5
SIZE = 256 * 1024
REQUESTS = ["GET /v1/a/b", "GET /" + "a/" * 500 + "b", "GET /" + "abc" * 300]


@attrs.frozen
class Row:
    """A hostile call, and the honest one that it is compared with."""

    name: str
    hostile: Callable[[], object]
    honest: Callable[[], object]


def main() -> int:
    """Print a line for each input; return 1 if one costs too much."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    worst = 0.0
    for row in rows():
        if wanted in row.name:
            honest, bad = cost(row.honest), cost(row.hostile)
            worst = max(worst, bad / honest)
            mark = "   TOO MUCH" if bad / honest > LIMIT else ""
            print(f"  {row.name:<66} {bad * 1e3:9.2f} ms {bad / honest:7.1f} x{mark}", flush=True)
    print(f"\nworst: {worst:.1f} x")
    return 1 if worst > LIMIT else 0


def cost(call: Callable[[], object]) -> float:
    """Return the least processor time of a few calls, in seconds: the machine is shared."""
    times = []
    gc.disable()
    for _ in range(ROUNDS):
        start = time.process_time()
        with suppress(MeshidError, Refused):
            call()
        times.append(time.process_time() - start)
        if sum(times) > 1:
            break
    gc.enable()
    return max(min(times), 1e-6)


def rows() -> Iterator[Row]:
    """Yield all comparisons."""
    yield from chains()
    yield from messages()
    yield from partners()
    yield from bundles()
    yield from lists()
    yield from policies()


def chains() -> Iterator[Row]:
    """Yield chains of strangers."""
    root = CA(DOMAIN)
    verifier = ChainVerifier(BundleSet([root.bundle()]))

    def verify(chain: Chain) -> Callable[[], object]:
        return lambda: verifier.verify(chain)

    for name, chain in hostile.hostile_chains(root):
        honest = verify(hostile.honest_chain(root, sum(map(len, chain))))
        yield Row(f"chain: {name}", verify(chain), honest)


def messages() -> Iterator[Row]:
    """Yield TLS Certificate messages, as large as OpenSSL lets them be."""
    root = CA(DOMAIN)
    size = 100_000

    def read(message: bytes) -> Callable[[], object]:
        return lambda: [read_certificate_message(message, tls13=True) for _ in range(100)]

    honest = read(hostile.message([*root.intermediate().issue(PATH).chain, bytes(size)]))
    yield Row("100 messages: 100 kB of empty entries", read(hostile.message([], size=size)), honest)
    yield Row("100 messages: 100 kB of one-byte entries", read(hostile.message([b"0"] * (size // 6))), honest)


def partners() -> Iterator[Row]:
    """Yield what a handshake costs, where a partner publishes as many authorities as a bundle can have."""
    root, many = CA(DOMAIN), [CA("partner.example", subject="CN=all alike") for _ in range(2000)]
    same_name = TrustBundle(TrustDomain("partner.example"), tuple(each.certificate for each in many))
    loaded, alone = (ChainVerifier(BundleSet([root.bundle(), *more])) for more in ([same_name], []))
    stranger = CA("partner.example", subject="CN=all alike")
    chain = root.intermediate().issue(PATH).chain
    for name, issued in {
        "a stranger called like them": stranger.issue(PATH),
        "one that claims our name": stranger.issue(NAME),
        "the last of them": many[-1].issue(PATH),
    }.items():
        yield Row(
            f"2000 authorities of one name: {name}",
            lambda chain=issued.chain: loaded.verify(chain),  # type: ignore[misc]  # bound now
            lambda: alone.verify(chain),
        )
    yield Row(
        "2000 authorities of one name: ourselves", lambda: loaded.verify(chain), lambda: alone.verify(chain)
    )


def bundles() -> Iterator[Row]:
    """Yield bundles of a partner."""
    honest_json, honest_pem = hostile.honest_json(SIZE), hostile.honest_pem(SIZE)
    for name, data in hostile.hostile_json(SIZE):
        yield Row(
            name,
            lambda data=data: TrustBundle.from_spiffe_json(DOMAIN, data),  # type: ignore[misc]  # bound now
            lambda: TrustBundle.from_spiffe_json(DOMAIN, honest_json),
        )
    for name, data in hostile.hostile_pem(SIZE):
        yield Row(
            name,
            lambda data=data: TrustBundle.from_pem(DOMAIN, data),  # type: ignore[misc]  # bound now
            lambda: TrustBundle.from_pem(DOMAIN, honest_pem),
        )


def lists() -> Iterator[Row]:
    """Yield revocation lists: loading them, and asking them."""
    root = CA(DOMAIN)
    leaf = root.issue(PATH).certificate
    spiffe_id = SpiffeId.parse(NAME)
    path = (leaf, root.certificate)
    now = datetime.now(UTC)

    def load(data: bytes) -> Callable[[], object]:
        return lambda: read_list_file("list", data)

    def ask(data: bytes) -> Callable[[], object]:
        good, bad = read_list_file("list", data)
        revocations = Revocations(crls=good, undetermined=bad)
        revocations.find_signers([root.bundle()])

        def many() -> None:
            for _ in range(100):
                with suppress(Refused):
                    revocations.check(spiffe_id, path, now)

        return many

    honest = hostile.honest_crl(root, SIZE)
    for name, data in hostile.hostile_crls(root, SIZE):
        yield Row(f"{name}: loading it", load(data), load(honest))
        yield Row(f"{name}: asking it", ask(data), ask(honest))
    for name, data in hostile.hostile_pem(SIZE):
        yield Row(f"{name}, as a list", load(data), load(honest))


def policies() -> Iterator[Row]:
    """Yield policies: loading them, and deciding under them."""
    size = SIZE // 4
    peers = [SpiffeId.parse(f"spiffe://{DOMAIN}/{'a/' * 50}{number}") for number in range(20)]

    def load(data: bytes) -> Callable[[], object]:
        return lambda: Policy.from_toml(data, environment="prod")

    def decide(data: bytes) -> Callable[[], object]:
        try:
            policy = Policy.from_toml(data, environment="prod")
        except MeshidError:
            return lambda: None
        # No peer twice, because the policy remembers them.
        return lambda: [
            policy.decide(peer, "a/" * 20 + "b", request) for peer in peers for request in REQUESTS
        ]

    honest = hostile.honest_policy(size)
    for name, data in hostile.hostile_policies(size):
        yield Row(f"{name}: loading it", load(data), load(honest))
        yield Row(f"{name}: deciding", decide(data), decide(honest))


if __name__ == "__main__":
    sys.exit(main())
