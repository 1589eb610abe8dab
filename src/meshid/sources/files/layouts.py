"""The file names under which platforms write credentials and trust."""

from __future__ import annotations

from pathlib import Path

import attrs

from meshid.errors import InvalidInput, SourceUnavailable
from meshid.support.quoting import quote


@attrs.frozen
class Layout:
    """The files of one platform.

    Attributes:
        name: What it is called in a setting.
        certificate: The leaf and its intermediates.
        key: The private key.
        trust: The authorities of our own trust domain.
    """

    name: str
    certificate: str
    key: str
    trust: str


LAYOUTS = (
    # A Secret of type kubernetes.io/tls, cert-manager, csi-driver-spiffe.
    Layout("kubernetes-tls", "tls.crt", "tls.key", "ca.crt"),
    Layout("istio", "cert-chain.pem", "key.pem", "root-cert.pem"),
    Layout("spiffe-helper", "svid.pem", "svid_key.pem", "svid_bundle.pem"),
)

AUTO = "auto"


def layout_named(name: str) -> Layout | None:
    """Return the layout of that name; None for ``auto``.

    Raises:
        InvalidInput: If the name is unknown.
    """
    known = {layout.name: layout for layout in LAYOUTS}
    if name == AUTO or name in known:
        return known.get(name)
    msg = f"layout {quote(name)} is unknown; write one of: {', '.join([AUTO, *known])}"
    raise InvalidInput(msg)


def layout_in(directory: Path, file: str) -> Layout:
    """Return the layout whose *file* (``certificate`` or ``trust``) is in a directory.

    Raises:
        OSError: If the directory cannot be read.
        SourceUnavailable: If there is not exactly one.
    """
    found = [layout for layout in LAYOUTS if (directory / getattr(layout, file)).exists()]
    if len(found) == 1:
        return found[0]
    where = quote(str(directory))
    if found:
        names = " and ".join(layout.name for layout in found)
        msg = f"{where} has files of {names}: set the layout that is meant"
        raise SourceUnavailable(msg)
    directory.stat()  # raises the better error if the directory itself is missing
    wanted = ", ".join(f"{getattr(layout, file)} ({layout.name})" for layout in LAYOUTS)
    msg = f"{where} has none of the known files: {wanted}"
    raise SourceUnavailable(msg)
