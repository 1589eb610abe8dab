"""Run the drill: prints what was seen as JSON; the status is 1 if anything of it was wrong."""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import attrs

from tests.chaos.drill import Drill

parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
parser.add_argument("--seed", type=int, default=int(time.time()), help="what chance begins with (the time)")
parser.add_argument("--poll", type=float, default=1.0, help="seconds between two looks at the files (1)")

if __name__ == "__main__":
    given = parser.parse_args()
    # A deadlock tells where.
    faulthandler.dump_traceback_later(given.seconds + 40, exit=True)
    with (
        tempfile.TemporaryDirectory() as root,
        mock.patch("meshid.sources.files.polled.POLL_SECONDS", given.poll),
        mock.patch("meshid.sources.refresher.TICK_SECONDS", given.poll),
    ):
        report = Drill(Path(root), given.seed).run(given.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(
        json.dumps({"seed": given.seed, "peak MiB": peak, **attrs.asdict(report)}, indent=2) + "\n"
    )
    sys.exit(bool(report.wrong))
