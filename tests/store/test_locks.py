"""A process that was paused and wakes removes nothing that is not meant any more: the lock that it takes, and what waits for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.limits import DEFAULT
from modelshelf.stop import Stopped, StopToken
from modelshelf.store.locks import DigestLocks

ONE, OTHER = Digest("1" * 64), Digest("2" * 64)
CHILD = """
import sys
from pathlib import Path
from modelshelf.digest import Digest
from modelshelf.store.locks import DigestLocks
locks = DigestLocks(Path(sys.argv[1]))
with locks.removing(Digest(sys.argv[3])) if sys.argv[2] == "removing" else locks.counting_on([Digest(sys.argv[3])]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def child(file: Path, how: str, digest: Digest) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is ended."""
    command = [sys.executable, "-c", CHILD, str(file), how, digest.hex]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def locks(tmp_path: Path) -> DigestLocks:
    return DigestLocks(tmp_path / "locks", replace(DEFAULT, lock_seconds=0.2))


def test_who_counts_on_a_digest_waits_for_who_removes_it_and_names_the_process(locks: DigestLocks, tmp_path: Path) -> None:
    with child(tmp_path / "locks", "removing", ONE) as process:
        with pytest.raises(BlobBeingDeleted, match=f"process {process.pid}\\."), locks.counting_on([ONE, OTHER]):
            pytest.fail("it is not ours")
        with locks.counting_on([OTHER]):
            pass


def test_a_paused_holder_is_named_as_stopped_and_one_that_dies_holds_nothing(locks: DigestLocks, tmp_path: Path) -> None:
    with child(tmp_path / "locks", "counting-on", ONE) as process:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(BlobBeingDeleted, match="which is stopped.*kill -CONT"), locks.removing(ONE):
            pytest.fail("it is not ours")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with locks.removing(ONE):
            pass


def test_several_may_count_on_a_digest_at_once(locks: DigestLocks, tmp_path: Path) -> None:
    with child(tmp_path / "locks", "counting-on", ONE), locks.counting_on([ONE, OTHER]):
        for digest in (ONE, OTHER):
            with pytest.raises(BlobBeingDeleted), locks.removing(digest):
                pytest.fail("it is not ours")


def test_threads_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    locks = DigestLocks(tmp_path / "locks")
    order: list[str] = []

    def second() -> None:
        with locks.removing(ONE):
            order.append("second")

    with locks.removing(ONE):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_who_waits_hears_the_stop_token(tmp_path: Path) -> None:
    locks, stop = DigestLocks(tmp_path / "locks"), StopToken()
    with child(tmp_path / "locks", "removing", ONE):
        threading.Timer(0.1, stop.set).start()
        with pytest.raises(Stopped), locks.removing(ONE, stop):
            pytest.fail("it is not ours")


def test_ten_thousand_digests_cost_one_descriptor_and_a_moment(locks: DigestLocks, tmp_path: Path) -> None:
    many = [Digest.of(f"{number}".encode()) for number in range(10_000)]
    before = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    with locks.counting_on(many):
        assert len(os.listdir("/proc/self/fd")) == before + 1
        with pytest.raises(BlobBeingDeleted), locks.removing(many[77]):
            pytest.fail("it is counted on")
    assert time.monotonic() - began < 2
