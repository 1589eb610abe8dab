"""Directories of credentials, as platforms write them."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from meshid.testing import Issued


def pair(issued: Issued) -> dict[str, bytes]:
    """The files of a Secret of type kubernetes.io/tls."""
    return {"tls.crt": issued.chain_pem, "tls.key": issued.key_pem}


class KubernetesVolume:
    """A volume of the kubelet (kubernetes/pkg/volume/util/atomic_writer.go): `..data` is swapped."""

    def __init__(self, path: Path, files: Mapping[str, bytes]) -> None:
        self.path = path
        path.mkdir()
        self.swap(files)

    def swap(self, files: Mapping[str, bytes]) -> None:
        """Replace all files at one instant, and then remove the old ones."""
        data = self.path / "..data"
        before = data.readlink() if data.is_symlink() else None
        now = self.path / f"..{uuid.uuid4()}"
        now.mkdir()
        for name, content in files.items():
            (now / name).write_bytes(content)
        temporary = self.path / "..data_tmp"
        temporary.symlink_to(now.name)
        temporary.replace(data)
        for name in files:
            visible = self.path / name
            if not visible.is_symlink():
                visible.symlink_to(Path("..data") / name)
        if before is not None:
            shutil.rmtree(self.path / before)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Lose root's right to read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
