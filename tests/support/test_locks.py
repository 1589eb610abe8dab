"""A forked child can take each lock, and what the lock guards is whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

from meshid.support import locks
from meshid.support.locks import Order, new_lock
from tests.helpers.processes import UNMEASURED

FORKING = """
import os, sys, threading
from meshid import BundleSet, Mesh, Policy, Revocations
from meshid.testing import CA

ca = CA("prod.example.org")
bundles = [BundleSet([ca.bundle()]), BundleSet([ca.bundle(), CA("dev.example.org").bundle()])]
policy = Policy.from_toml('''
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "all"
from = ["/**"]
to = ["**"]
''', "prod")
mesh = Mesh(credentials=ca.issue().svid, bundles=bundles[0], policy=policy, service="payments")
context = mesh.server_context()
chains = [ca.issue(f"/a/{number}").chain for number in range(20)]
over = threading.Event()

def use():
    while not over.is_set():
        for chain in chains:
            mesh.admit(chain)

def change():
    number = 0
    while not over.is_set():
        number += 1
        mesh.publish(bundles=bundles[number % 2], revocations=Revocations(deny=[f"spiffe://x.example/{number}"]))

threads = [threading.Thread(target=each) for each in (use, use, change)]
for thread in threads:
    thread.start()
wrong = 0
for _ in range(60):
    child = os.fork()
    if child == 0:
        mesh.publish(bundles=bundles[0])
        mesh.publish(bundles=bundles[1])
        for chain in chains:
            mesh.admit(chain)
        os._exit(0)
    wrong += os.waitpid(child, 0)[1] != 0
over.set()
for thread in threads:
    thread.join()
sys.exit(wrong)
"""


@pytest.mark.slow
def test_a_child_that_is_forked_under_load_admits_and_publishes() -> None:
    # Python warns when a process with threads forks; servers do it all the same.
    ended = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        timeout=100,
        env=UNMEASURED,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_one_lock_excludes_others() -> None:
    lock = new_lock(Order.REMEMBERING)
    with lock:
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
    lock.release()


def test_each_lock_is_taken_before_a_fork_and_free_after_it() -> None:
    every = [new_lock(order) for order in Order]
    locks._acquire_all()  # noqa: SLF001 - what the system calls before a fork, and after it
    held = [lock.locked() for lock in every]
    locks._release_all()  # noqa: SLF001
    assert (all(held), any(lock.locked() for lock in every)) == (True, False)
