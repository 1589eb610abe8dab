"""The files of a service, each good or spoilt, and the peers that they let in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import attrs
from cryptography import x509

from meshid.sources import (
    CredentialFiles,
    DenyListFile,
    PolicyFile,
    RevocationListFiles,
    Source,
    TrustFile,
)
from meshid.testing import CA, Issued
from tests.helpers.forged import GENERALIZED_TIME, SEQUENCE, Field, der, edited, pem
from tests.helpers.mounted import OWN
from tests.helpers.volumes import KubernetesVolume, pair

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[[allow]]
id = "everybody"
from = ["/ns/shop/**", "spiffe://partner.example/ns/shop/**"]
to = ["payments"]
"""
RULED_OUT = """
[[deny]]
id = "out-{0}"
from = ["/ns/shop/sa/{0}"]
to = ["**"]
"""
GARBAGE = b"\x00\xff-----BEGIN \n[[[{"


@attrs.define(eq=False)
class Guest:
    """A peer, and whether it ought to be admitted.

    Attributes:
        issued: Its certificate.
        part: The part of the mesh's state that removes it; none ever does if empty.
        removed: Whether it is removed now.
        since: When that last changed: seconds of the monotonic clock.
    """

    name: str
    issued: Issued
    part: str
    removed: bool = False
    since: float = attrs.field(factory=time.monotonic)


@attrs.define(eq=False)
class Part:
    """One part of what is mounted.

    Attributes:
        write: Writes it as it ought to be now.
        spoilt: The ways to spoil it.
        busy_until: Until when it is left alone, so that a change is read before the next one.
    """

    write: Callable[[], None]
    spoilt: Mapping[str, Callable[[], None]]
    busy_until: float = 0.0


class Scene:
    """The service ``payments``, as a platform mounts its files.

    Args:
        root: An empty directory.
        chance: Decides what happens.
    """

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root, self._chance = root, chance
        self.first, self.second = CA("prod.example.org"), CA("prod.example.org", subject="CN=second,O=prod")
        self.ours, self.theirs = CA("partner.example"), CA("partner.example", subject="CN=second,O=partner")
        self._crl_number = 0
        self._lists: list[bytes] = []
        self.guests = list(self._invite())
        self._secret = KubernetesVolume(root / "tls", pair(self.first.issue(OWN)))
        (root / "crls").mkdir()
        self.parts: dict[str, Part] = {
            "credentials": Part(self._renew, self._bad_credentials()),
            "trust": Part(self._write_trust, self._bad_file("ca.pem", self._expired(self.first))),
            "partner": Part(self._write_partner, self._bad_file("partner.pem", *self._bad_authorities())),
            "policy": Part(self._write_policy, self._bad_file("policy.toml", b"version = 1\nallwo = []\n")),
            "deny": Part(self._write_deny, self._bad_file("deny.toml", b"version = 1\n[[dney]]\n")),
            "crl": Part(self._write_crl, self._bad_lists()),
        }
        for part in self.parts.values():
            part.write()

    def sources(self) -> list[Source]:
        """Return the sources that read the files."""
        root = self._root
        return [
            CredentialFiles(root / "tls"),
            TrustFile("prod.example.org", root / "ca.pem"),
            TrustFile("partner.example", root / "partner.pem"),
            PolicyFile(root / "policy.toml", "prod"),
            DenyListFile(root / "deny.toml"),
            RevocationListFiles([root / "crls"]),
        ]

    def remove_or_restore(self, part: str) -> None:
        """Remove one guest, or all of one authority, or let them come back; or renew what is ours."""
        about = [guest for guest in self.guests if guest.part == part]
        if about and part not in {"trust", "partner"}:
            about = [self._chance.choice(about)]
        for guest in about:
            guest.removed = not guest.removed
            # Until the file is written, nobody can say what is right.
            guest.since = float("inf")
        self.parts[part].write()
        for guest in about:
            guest.since = time.monotonic()

    def _invite(self) -> Iterator[Guest]:
        for number in range(4):
            yield from (
                Guest(name, authority.issue(f"/ns/shop/sa/{name}"), part)
                for name, authority, part in (
                    (f"friend-{number}", self.first, ""),
                    (f"second-{number}", self.second, "trust"),
                    (f"partner-{number}", self.ours, ""),
                    (f"their-{number}", self.theirs, "partner"),
                    (f"denied-{number}", self.first, "deny"),
                    (f"revoked-{number}", self.first, "crl"),
                    (f"ruled-{number}", self.first, "policy"),
                )
            )

    def _removed(self, part: str) -> list[Guest]:
        return [guest for guest in self.guests if guest.part == part and guest.removed]

    def _put(self, name: str, data: bytes) -> None:
        new = self._root / f"{name}.new"
        new.write_bytes(data)
        path = self._root / name
        if path.is_dir():
            path.rmdir()
        new.replace(path)

    # -- What is right now

    def _renew(self) -> None:
        self._secret.swap(pair(self.first.issue(OWN)))

    def _write_trust(self) -> None:
        self._put("ca.pem", self.first.pem + (b"" if self._removed("trust") else self.second.pem))

    def _write_partner(self) -> None:
        self._put("partner.pem", self.ours.pem + (b"" if self._removed("partner") else self.theirs.pem))

    def _write_policy(self) -> None:
        out = "".join(RULED_OUT.format(guest.name) for guest in self._removed("policy"))
        self._put("policy.toml", (POLICY + out).encode())

    def _write_deny(self) -> None:
        denied = (
            f'[[deny]]\npeer = "{guest.issued.svid.claim.spiffe_id}"\n' for guest in self._removed("deny")
        )
        self._put("deny.toml", "\n".join(["version = 1", *denied]).encode())

    def _write_crl(self) -> None:
        for stray in (self._root / "crls").iterdir():
            stray.unlink()
        self._crl_number += 1
        number = x509.CRLNumber(self._crl_number), False
        self._lists.append(self.first.crl(*(guest.issued for guest in self._removed("crl")), extra=[number]))
        self._put("crls/first.crl", self._lists[-1])

    # -- What is wrong

    def _bad_credentials(self) -> dict[str, Callable[[], None]]:
        now = datetime.now(UTC)
        expired = self.first.issue(
            OWN, not_before=now - timedelta(hours=2), not_after=now - timedelta(hours=1)
        )
        good = pair(self.first.issue(OWN))
        return {
            "expired": lambda: self._secret.swap(pair(expired)),
            "another key": lambda: self._secret.swap(good | {"tls.key": expired.key_pem}),
            "cut off": lambda: self._secret.swap(good | {"tls.crt": good["tls.crt"][:200]}),
            "another authority": lambda: self._secret.swap(pair(CA("prod.example.org").issue(OWN))),
            "garbage": lambda: self._secret.swap({"tls.crt": GARBAGE, "tls.key": GARBAGE}),
        }

    def _bad_file(self, name: str, *wrong: bytes) -> dict[str, Callable[[], None]]:
        path = self._root / name

        def become_a_directory() -> None:
            path.unlink()
            path.mkdir()

        return {
            "gone": path.unlink,
            "a directory": become_a_directory,
            **{repr(data[:20]): partial(self._put, name, data) for data in (b"", GARBAGE, *wrong)},
        }

    def _expired(self, authority: CA) -> bytes:
        now = datetime.now(UTC)
        return CA(
            str(authority.trust_domain), not_before=now - timedelta(days=2), not_after=now - timedelta(days=1)
        ).pem

    def _bad_authorities(self) -> tuple[bytes, bytes]:
        year_0 = (der(GENERALIZED_TIME, text) for text in (b"00000101000000Z", b"99991231235959Z"))
        forged = edited(self.ours.certificate, self.ours, {Field.VALIDITY: der(SEQUENCE, *year_0)})
        return self._expired(self.ours), pem("CERTIFICATE", forged)

    def _bad_lists(self) -> dict[str, Callable[[], None]]:
        delta = x509.DeltaCRLIndicator(1), True
        path = self._root / "crls/first.crl"
        return {
            "a README": lambda: self._put("crls/README", b"Lists are written here.\n"),
            "cut off": lambda: self._put("crls/first.crl", self._lists[-1][:300]),
            "older": lambda: self._put("crls/first.crl", self._chance.choice(self._lists)),
            "a delta": lambda: self._put("crls/delta.crl", self.first.crl(extra=[delta])),
            "gone": path.unlink,
        }
