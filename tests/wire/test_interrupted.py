"""What has arrived is used: a download that was killed or cancelled asks for the rest alone, to within 1 MiB a connection."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.limits import DEFAULT, KiB, MiB
from modelshelf.names import FilePath
from modelshelf.sources.fetch import Wanted, fetch_blob
from modelshelf.stop import Stopped, StopToken
from modelshelf.store.directory import DirectoryStore
from modelshelf.transfer.contract import Downloads
from modelshelf.transfer.download import Remote
from modelshelf.wire import Url, Wire
from tests.making import safetensors
from tests.stand_ins.ollama_registry import OllamaRegistry

CONTENT = safetensors(40 * MiB)
DIGEST = Digest.of(CONTENT)
SENT = 5 * MiB + 300 * KiB
"""What the slow server sends over each connection before it goes silent; a part is 16 MiB."""
LIMITS = replace(DEFAULT, stall_seconds=60)


def fetch(url: str, root: Path, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None) -> Digest:
    remote = Remote(what="model.safetensors", whose="the stand-in", url=Url(url), size=len(CONTENT))
    downloads = Downloads(Wire(limits=LIMITS), stop=stop, on_bytes=on_bytes, limits=LIMITS)
    return fetch_blob(DirectoryStore(root), downloads, Wanted(FilePath("model.safetensors"), remote, DIGEST), LIMITS)[0].digest


@pytest.fixture
def slow(registry: OllamaRegistry) -> Iterator[OllamaRegistry]:
    registry.add_blob(CONTENT)
    registry.faults.stall_after = SENT
    yield registry


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def connections(server: OllamaRegistry) -> int:
    return server.asked("/elsewhere/")


def arrived(root: Path) -> int:
    return sum(one.arrived for one in DirectoryStore(root).arriving())


def asked_again(server: OllamaRegistry, root: Path) -> int:
    """Bytes that the next attempt asks for; it completes."""
    server.faults.stall_after = None
    server.faults.released.set()
    server.requests.clear()
    assert fetch(f"{server.url}/elsewhere/{DIGEST}", root, StopToken()) == DIGEST
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", "")) for _, _, headers in server.requests]
    assert all(ranges), "not the whole file"
    return sum(int(one[2]) + 1 - int(one[1]) for one in ranges if one)


def test_killed_within_its_parts_it_asks_again_for_less_than_a_mib_of_what_each_connection_had_brought(
    slow: OllamaRegistry, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.wire.test_interrupted", f"{slow.url}/elsewhere/{DIGEST}", str(tmp_path)]
    child = subprocess.Popen(command)
    until(lambda: 0 < connections(slow) * (SENT - MiB) < arrived(tmp_path))
    child.send_signal(signal.SIGKILL)
    child.wait()
    brought = connections(slow) * SENT
    assert asked_again(slow, tmp_path) <= len(CONTENT) - brought + connections(slow) * MiB


def test_cancelled_within_its_parts_it_asks_again_for_nothing_that_had_arrived(slow: OllamaRegistry, tmp_path: Path) -> None:
    stop, counts = StopToken(), [0]

    def run() -> None:
        with pytest.raises(Stopped):
            fetch(f"{slow.url}/elsewhere/{DIGEST}", tmp_path, stop, counts.append)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: 0 < connections(slow) * (SENT - MiB) < sum(counts))
    stop.set()
    thread.join()
    assert arrived(tmp_path) == sum(counts)
    assert asked_again(slow, tmp_path) == len(CONTENT) - sum(counts)


if __name__ == "__main__":
    fetch(sys.argv[1], Path(sys.argv[2]), StopToken())
