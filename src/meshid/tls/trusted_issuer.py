"""Trust in one certificate, and in nothing else: the one that issued the leaf of a verified path.

OpenSSL is told so by the form `TRUSTED CERTIFICATE`, a certificate with the purposes that it
is trusted for. With it, OpenSSL asks nothing more about the issuer; otherwise it would apply
rules of its own to it, such as what its extended key usage has to say.
"""

from __future__ import annotations

import base64
import ssl

from meshid.tls.memory_file import file_with

_CLIENT_AND_SERVER = bytes.fromhex("3016 3014 06082b06010505070302 06082b06010505070301")
"""OpenSSL's ``X509_CERT_AUX``: trust for clientAuth and serverAuth."""


def trust_issuer(context: ssl.SSLContext, issuer: bytes) -> None:
    """Let *context*, whose store is empty, trust leafs that this certificate (DER) has issued."""
    body = base64.encodebytes(issuer + _CLIENT_AND_SERVER).decode()
    pem = f"-----BEGIN TRUSTED CERTIFICATE-----\n{body}-----END TRUSTED CERTIFICATE-----\n"
    # By a file: `cadata` does not take this form.
    with file_with(pem.encode()) as path:
        context.load_verify_locations(cafile=path)
