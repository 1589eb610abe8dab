"""A forked child can take each lock, and what the lock guards is whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshid.support import locks
from meshid.support.locks import Order, new_lock
from tests.helpers.processes import ends_well

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


def is_held(lock: threading.RLock) -> bool:
    """Tell whether a thread has to wait for a lock."""

    def take() -> bool:
        taken = lock.acquire(blocking=False)
        if taken:
            lock.release()
        return taken

    with ThreadPoolExecutor(1) as pool:
        return not pool.submit(take).result()


WAITING = """
import os, sys, threading
from meshid import BundleSet, Mesh, Policy, Revocations
from meshid.testing import CA

where = sys.argv[1]
ca = CA("prod.example.org")
policy = Policy.from_toml('''
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "all"
from = ["/**"]
to = ["**"]
''', "prod")
waiting, forked, here = threading.Event(), threading.Event(), threading.main_thread()

def wait(*_):
    if threading.current_thread() is not here:
        waiting.set()
        forked.wait()

def clock():
    if where == "clock":
        wait()
    return ca.certificate.not_valid_before_utc.timestamp() + 60

mesh = Mesh(
    credentials=ca.issue().svid, bundles=BundleSet([ca.bundle()]), policy=policy, service="payments",
    audit=wait if where == "sink" else None, clock=clock,
)
chain = ca.issue("/a").chain
thread = threading.Thread(target=mesh.admit if where == "sink" else mesh.publish,
                          args=[chain] if where == "sink" else [],
                          kwargs={} if where == "sink" else {"revocations": Revocations(deny=["spiffe://x.example/x"])})
thread.start()
waiting.wait()
child = os.fork()
if child == 0:
    mesh.publish(revocations=Revocations(deny=["spiffe://x.example/y"]))
    mesh.admit(chain)
    os._exit(0)
wrong = os.waitpid(child, 0)[1]
forked.set()
thread.join()
sys.exit(wrong != 0)
"""


@pytest.mark.parametrize("where", ["sink", "clock"])
def test_a_fork_does_not_wait_for_the_users_code(where: str) -> None:
    ends_well(WAITING, where)


@pytest.mark.slow
def test_a_child_that_is_forked_under_load_admits_and_publishes() -> None:
    ends_well(FORKING)


def test_one_lock_excludes_others() -> None:
    lock = new_lock(Order.REMEMBERING)
    with lock:
        assert is_held(lock)
    assert not is_held(lock)


def test_it_does_not_exclude_the_thread_that_holds_it() -> None:
    """A signal handler runs in the middle of what its thread does."""
    lock = new_lock(Order.PUBLISHING)
    with lock, lock:
        assert is_held(lock)
    assert not is_held(lock)


def test_each_lock_is_taken_before_a_fork_and_free_after_it() -> None:
    every = [new_lock(order) for order in Order]
    locks._acquire_all()  # noqa: SLF001 - what the system calls before a fork, and after it
    held = list(map(is_held, every))
    locks._release_all()  # noqa: SLF001
    assert (held, list(map(is_held, every))) == ([True] * len(every), [False] * len(every))


def test_a_fork_in_a_signal_handler_leaves_the_interrupted_fork_its_locks() -> None:
    lock = new_lock(Order.PUBLISHING)
    locks._acquire_all()  # noqa: SLF001
    locks._acquire_all()  # noqa: SLF001
    locks._release_all()  # noqa: SLF001
    assert is_held(lock)
    locks._release_all()  # noqa: SLF001
    assert not is_held(lock)
