"""Mounts that are never updated.

A file that Kubernetes mounts with ``subPath`` stays as it was when the container started:
an update of the Secret never reaches it (https://github.com/kubernetes/kubernetes/issues/50345).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from meshid.support.quoting import quote

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


def warnings_about(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return a warning for each file that is itself a mount point, where the system lists them."""
    mounted = _mount_points()
    return tuple(
        f"{quote(str(path))} is mounted as a single file (subPath), and such a mount is never updated;"
        " mount the whole directory"
        for path in paths
        if bytes(path.resolve()) in mounted
    )


def _mount_points() -> frozenset[bytes]:
    """Return where something is mounted (proc_pid_mountinfo(5), the fifth field)."""
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except OSError:
        return frozenset()
    points = (line.split(b" ")[4] for line in lines if line.count(b" ") >= 4)  # noqa: PLR2004
    return frozenset(_ESCAPE.sub(lambda octal: bytes([int(octal[1], 8)]), point) for point in points)
