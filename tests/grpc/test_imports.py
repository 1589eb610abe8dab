"""The folder has the name of the package that it needs."""

from __future__ import annotations

import subprocess
import sys


def test_without_grpcio_the_extra_is_named() -> None:
    code = "import sys; sys.modules['grpc'] = None; import meshid.grpc"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "this needs an optional dependency: pip install 'grpcio>=1.80' (the extra 'grpc' of meshid)"
    assert run.stderr.endswith(f"meshid.errors.MissingExtra: {expected}\n")
