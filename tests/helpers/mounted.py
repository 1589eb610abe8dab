"""A service's files, as a platform mounts them, and sources that read them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from meshid.sources import Source
from meshid.sources.files.credential_files import CredentialFiles
from meshid.sources.files.deny_list_file import DenyListFile
from meshid.sources.files.policy_file import PolicyFile
from meshid.sources.files.revocation_list_files import RevocationListFiles
from meshid.sources.files.trust_file import TrustFile
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import POLICY
from tests.helpers.volumes import KubernetesVolume, pair

OWN = "/ns/pay/sa/payments"
NOTHING_DENIED = "version = 1\n"


def sources_in(root: Path) -> list[Source]:
    return [
        CredentialFiles(root / "tls"),
        TrustFile("prod.example.org", root / "ca.pem"),
        PolicyFile(root / "policy.toml", "prod"),
        DenyListFile(root / "deny.toml"),
        RevocationListFiles([root / "crls"]),
    ]


class Mounted:
    """The files of the service ``payments``: a Secret, and plain files beside it."""

    def __init__(self, root: Path, ca: CA) -> None:
        self.ca = ca
        self.root = root
        self.secret = KubernetesVolume(root / "tls", pair(ca.issue(OWN)))
        self.trust = root / "ca.pem"
        self.policy = root / "policy.toml"
        self.deny = root / "deny.toml"
        self.crls = root / "crls"
        self.crls.mkdir()
        self.trust.write_bytes(ca.pem)
        self.policy.write_text(POLICY)
        self.deny.write_text(NOTHING_DENIED)

    def sources(self) -> list[Source]:
        return sources_in(self.root)

    def renew(self) -> Issued:
        """Put a new certificate in place."""
        issued = self.ca.issue(OWN)
        self.secret.swap(pair(issued))
        return issued


def eventually(is_true: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_true():
            return True
        time.sleep(0.005)
    return bool(is_true())


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as a warning or an error."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "meshid.refresh" and record.levelno >= logging.WARNING
    ]


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a second of waiting a fiftieth of one, so that a drill of many rounds ends."""
    for module in ("polled", "revocation_list_files"):
        monkeypatch.setattr(f"meshid.sources.files.{module}.POLL_SECONDS", 0.02)
    monkeypatch.setattr("meshid.sources.files.consistent_read.SETTLING_SECONDS", 0.002)
    monkeypatch.setattr("meshid.sources.alarms.LASTING", 0.1)
    monkeypatch.setattr("meshid.sources.refresher.TICK_SECONDS", 0.02)
