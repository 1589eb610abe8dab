"""A file for functions of `ssl` that read files only, such as `load_cert_chain` (CPython gh-60691).

The safest file is one that exists only in memory. Where the system has none, it is one that
only this user can read, for as long as it is needed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HAS_MEMORY_FILES = hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()
"""Whether the system has files that exist only in memory."""


@contextmanager
def file_with(content: bytes) -> Iterator[str]:
    """Provide the path of a file with this *content*, until the end of the block."""
    if HAS_MEMORY_FILES:
        with os.fdopen(os.memfd_create("meshid"), "wb") as opened:
            opened.write(content)
            opened.flush()
            yield f"/proc/self/fd/{opened.fileno()}"
        return
    # Only this user can read the directory, and it is removed at the end of the block.
    with tempfile.TemporaryDirectory(prefix="meshid-") as directory:
        path = Path(directory, "file.pem")
        path.write_bytes(content)
        yield str(path)
