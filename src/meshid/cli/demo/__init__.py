"""`meshid demo`: a real server tells peers apart, each verdict with its reason."""

from __future__ import annotations

import argparse
import asyncio

from meshid.cli.demo.play import play

ABOUT = "let peers of every kind knock at a real server, and see each verdict with its reason"

_AS_IT_MUST = 0
_NOT_AS_IT_MUST = 1


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(_: argparse.Namespace) -> int:
    """Play the demo on standard output and return the exit status."""
    return _AS_IT_MUST if asyncio.run(play()) else _NOT_AS_IT_MUST
