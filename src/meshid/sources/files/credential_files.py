"""Our own certificate and key, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from meshid.errors import InvalidCredentials
from meshid.sources.files.layouts import AUTO, layout_in, layout_named
from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.credentials import X509Svid

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"


class CredentialFiles(PolledFiles):
    """Our own certificate and key.

    Args:
        path: A directory in the layout of a Kubernetes TLS Secret, of Istio or of spiffe-helper;
            or one PEM file with the key and the chain, such as the ``credentialBundlePath`` of a
            Kubernetes pod certificate; or, with *key*, the file of the chain.
        key: The file of the private key, if it is a separate one.
        layout: The layout of a directory: ``kubernetes-tls``, ``istio`` or ``spiffe-helper``;
            ``auto`` takes the one whose files are there.

    Raises:
        InvalidInput: If *layout* is none of these.
    """

    def __init__(self, path: str | Path, key: str | Path | None = None, *, layout: str = AUTO) -> None:
        super().__init__(f"credentials {quote(str(path))}")
        self._path = Path(path)
        self._key = None if key is None else Path(key)
        self._layout = layout_named(layout)

    @override
    def _paths(self) -> Sequence[Path]:
        if self._key is not None:
            if self._path.is_dir():
                where = quote(str(self._path))
                msg = (
                    f"own certificate: {where} is a directory; beside MESHID_KEY, name the file of the chain"
                )
                raise InvalidCredentials(msg)
            return self._path, self._key
        if self._path.is_file():
            return (self._path,)
        layout = self._layout or layout_in(self._path, "certificate")
        return self._path / layout.certificate, self._path / layout.key

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        if len(contents) == 1 and _CERTIFICATE in contents[0] and _KEY not in contents[0]:
            where = quote(str(paths[0]))
            msg = (
                f"own certificate: there is no private key in {where}; set MESHID_KEY to the file that has it"
            )
            raise InvalidCredentials(msg)
        return State(credentials=X509Svid.from_pem(*contents))
