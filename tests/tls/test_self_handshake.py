"""Credentials that OpenSSL cannot use are refused when they are published, not at the first handshake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STRICT = """
openssl_conf = meshid
[meshid]
ssl_conf = ssl
[ssl]
system_default = strict
[strict]
SignatureAlgorithms = ECDSA+SHA256
"""

PUBLISHING = """
from cryptography.hazmat.primitives.asymmetric import rsa
from meshid import BundleSet, InvalidCredentials, Mesh
from meshid.testing import CA

ca = CA("prod.example.org")
mesh = Mesh(credentials=ca.issue().svid, bundles=BundleSet([ca.bundle()]))
before = mesh.snapshot
other = ca.issue(key=rsa.generate_private_key(65537, 2048)).svid
for attempt in (lambda: mesh.publish(credentials=other), lambda: Mesh(credentials=other)):
    try:
        attempt()
    except InvalidCredentials as error:
        print(error)
assert mesh.snapshot is before
"""


def test_a_key_that_the_administrator_of_openssl_has_excluded(tmp_path: Path) -> None:
    config = tmp_path / "openssl.cnf"
    config.write_text(STRICT)
    ended = subprocess.run(
        [sys.executable, "-c", PUBLISHING],
        env={**os.environ, "OPENSSL_CONF": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    first, second = ended.stdout.splitlines()
    assert first == second
    assert first.startswith("own certificate: OpenSSL cannot use it in a handshake: ")
    assert "no suitable signature algorithm" in first
