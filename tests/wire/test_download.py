"""Downloads against a server that misbehaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import (
    AccessDenied,
    ConnectionCut,
    ContentChanged,
    DigestMismatch,
    LimitExceeded,
    ModelshelfError,
    Refused,
    SizeMismatch,
    Stalled,
    TooBusy,
    UnexpectedAnswer,
    WriteFailed,
)
from modelshelf.names import FilePath
from modelshelf.sources.fetch import Wanted, fetch_blob
from modelshelf.stop import Stopped, StopToken
from modelshelf.store.directory import DirectoryStore
from modelshelf.transfer.contract import Downloads
from modelshelf.transfer.download import Remote
from modelshelf.wire import Url, Wire
from tests.making import SMALL, safetensors
from tests.stand_ins.ollama_registry import OllamaRegistry

CONTENT = safetensors(500_000)
DIGEST = Digest.of(CONTENT)


class Fetch:
    def __init__(self, server: OllamaRegistry, store: DirectoryStore) -> None:
        self.server, self.store = server, store
        self.stop = StopToken()
        self.counted = 0
        digest, _ = server.add_blob(CONTENT)
        self.url = Url(f"{server.url}/elsewhere/{digest}")
        self.size = len(CONTENT)
        self.digest: Digest | None = DIGEST

    def __call__(self) -> Digest:
        remote = Remote(what="model.safetensors", whose="the stand-in", url=self.url, size=self.size)
        downloads = Downloads(Wire(limits=SMALL), stop=self.stop, on_bytes=self._count, limits=SMALL)
        wanted = Wanted(FilePath("model.safetensors"), remote, self.digest)
        return fetch_blob(self.store, downloads, wanted, SMALL)[0].digest

    def _count(self, count: int) -> None:
        self.counted += count

    def nothing_visible(self) -> bool:
        return list(self.store.stored()) == []

    def nothing_kept(self) -> bool:
        return self.nothing_visible() and list(self.store.arriving()) == []


@pytest.fixture
def fetch(registry: OllamaRegistry, tmp_path: Path) -> Iterator[Fetch]:
    yield Fetch(registry, DirectoryStore(tmp_path / "store"))


def test_a_large_file_arrives_in_parallel_ranges(fetch: Fetch) -> None:
    assert fetch() == DIGEST
    ranges = {headers.get("Range") for _, _, headers in fetch.server.requests}
    assert len(ranges) == -(-len(CONTENT) // SMALL.part_bytes)
    assert fetch.server.body_bytes == len(CONTENT)
    assert fetch.counted == len(CONTENT)


@pytest.mark.parametrize("after", [1, 1000, 65_535, 65_536, 200_000])
def test_a_connection_cut_after_any_chunk_is_completed(fetch: Fetch, after: int) -> None:
    fetch.server.faults.cut_after, fetch.server.faults.cuts = after, 12
    assert fetch() == DIGEST


def test_a_connection_that_is_always_cut_leaves_nothing_visible_and_the_next_attempt_completes(fetch: Fetch) -> None:
    fetch.server.faults.cut_after, fetch.server.faults.cuts = 0, 10_000
    with pytest.raises(ConnectionCut):
        fetch()
    assert fetch.nothing_visible()
    fetch.server.faults.cuts = 0
    assert fetch() == DIGEST


def test_only_the_rest_is_fetched_after_an_interruption(fetch: Fetch) -> None:
    fetch.server.faults.cut_after, fetch.server.faults.cuts = 0, 10_000

    def let_three_through() -> None:
        fetch.server.faults.cuts = 0 if fetch.server.body_bytes < 3 * SMALL.part_bytes else 10_000

    fetch.server.faults.before_body = let_three_through
    with pytest.raises(ConnectionCut):
        fetch()
    assert fetch.nothing_visible()
    before = fetch.server.body_bytes
    fetch.server.faults.before_body, fetch.server.faults.cuts = None, 0
    assert fetch() == DIGEST
    assert before >= 3 * SMALL.part_bytes
    in_flight = 2 * SMALL.part_bytes  # what other connections had sent when the first one gave up
    assert len(CONTENT) <= fetch.server.body_bytes <= len(CONTENT) + in_flight


def test_a_server_that_ignores_ranges_is_read_from_byte_zero(fetch: Fetch) -> None:
    fetch.server.faults.ignore_ranges = True
    assert fetch() == DIGEST


def test_a_server_that_stops_honouring_ranges_causes_a_restart_not_an_append(fetch: Fetch) -> None:
    faults = fetch.server.faults
    faults.cut_after, faults.cuts, faults.ignore_ranges = 100_000, 1, True
    assert fetch() == DIGEST


def test_a_range_that_is_not_the_one_asked_for_is_refused(fetch: Fetch) -> None:
    fetch.server.faults.lie_about_range = True
    with pytest.raises(UnexpectedAnswer, match="asked for bytes"):
        fetch()
    assert fetch.nothing_visible()


def test_a_416_discards_the_partial_file_and_starts_again_once(fetch: Fetch) -> None:
    fetch.server.faults.refuse_ranges = 1
    assert fetch() == DIGEST
    fetch.store.delete(DIGEST)
    fetch.server.faults.refuse_ranges = 10_000
    with pytest.raises(UnexpectedAnswer, match="416"):
        fetch()
    assert fetch.nothing_visible()


def test_content_whose_etag_changed_starts_again_where_no_digest_is_known(fetch: Fetch) -> None:
    fetch.digest = None
    fetch.server.faults.cut_after, fetch.server.faults.cuts = 0, 10_000
    fetch.server.faults.before_body = lambda: setattr(
        fetch.server.faults, "cuts", 0 if fetch.server.body_bytes < SMALL.part_bytes else 10_000
    )
    with pytest.raises(ConnectionCut):
        fetch()
    fetch.server.faults.before_body, fetch.server.faults.cuts = None, 0
    fetch.server.requests.clear()
    partial = next((fetch.store.root / "ingest").glob("*.parts"))
    partial.write_text(partial.read_text().replace(DIGEST.hex[:32], "another"))
    assert fetch() == DIGEST
    first = [headers["Range"] for _, _, headers in fetch.server.requests if headers.get("Range", "").startswith("bytes=0-")]
    assert first, "the part that had arrived was not asked for again"


def test_mirrors_that_disagree_on_the_etag_are_no_matter_where_the_digest_decides(fetch: Fetch) -> None:
    fetch.server.faults.etag_changes = True
    assert fetch() == DIGEST
    assert fetch.server.body_bytes == len(CONTENT)


def test_mirrors_that_disagree_on_the_content_are_found_out_by_the_digest(fetch: Fetch) -> None:
    fetch.server.faults.etag_changes = True
    fetch.server.faults.flip_byte_at = 400_000
    with pytest.raises(DigestMismatch):
        fetch()
    assert fetch.nothing_kept()


def test_content_that_changes_all_the_time_is_refused_where_no_digest_is_known(fetch: Fetch) -> None:
    fetch.digest = None
    fetch.server.faults.etag_changes = True
    with pytest.raises(Exception, match="changed on"):
        fetch()
    assert fetch.nothing_visible()


def test_content_that_has_an_etag_later_and_none_at_first_is_refused_where_no_digest_is_known(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two servers behind a name sends none: its part is not known to be of the other's file."""
    fetch.digest = None
    original = BaseHTTPRequestHandler.send_header

    def hiding(self: BaseHTTPRequestHandler, name: str, value: str) -> None:
        if name != "ETag" or not self.headers.get("Range", "").startswith("bytes=0-"):
            original(self, name, value)

    monkeypatch.setattr(BaseHTTPRequestHandler, "send_header", hiding)
    with pytest.raises(ContentChanged):
        fetch()
    assert fetch.nothing_visible()


def test_right_size_wrong_bytes_is_refused_and_nothing_is_kept(fetch: Fetch) -> None:
    fetch.server.faults.flip_byte_at = 400_000
    with pytest.raises(DigestMismatch, match="something between this machine"):
        fetch()
    assert fetch.nothing_kept()


def test_a_wrong_part_of_a_resumed_download_is_fetched_again(fetch: Fetch) -> None:
    fetch.server.faults.cut_after, fetch.server.faults.cuts = 0, 10_000
    fetch.server.faults.before_body = lambda: setattr(
        fetch.server.faults, "cuts", 0 if fetch.server.body_bytes < SMALL.part_bytes else 10_000
    )
    with pytest.raises(ConnectionCut):
        fetch()
    data = next((fetch.store.root / "ingest").glob("*.data"))
    with data.open("r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    fetch.server.faults.before_body, fetch.server.faults.cuts = None, 0
    assert fetch() == DIGEST


@pytest.mark.parametrize("grow", [1, 100_000])
def test_a_body_longer_than_listed_is_refused(fetch: Fetch, grow: int) -> None:
    fetch.server.faults.ignore_ranges, fetch.server.faults.grow_by = True, grow
    with pytest.raises((SizeMismatch, UnexpectedAnswer, LimitExceeded)):
        fetch()
    assert fetch.nothing_visible()


def test_a_body_shorter_than_listed_is_refused(fetch: Fetch) -> None:
    fetch.server.faults.ignore_ranges, fetch.server.faults.shrink_by = True, 1
    with pytest.raises(SizeMismatch):
        fetch()
    assert fetch.nothing_visible()


def test_an_encoded_body_is_never_taken_for_the_file(fetch: Fetch) -> None:
    fetch.server.faults.encode = "gzip"
    with pytest.raises(UnexpectedAnswer, match="gzip-encoded"):
        fetch()
    assert fetch.nothing_visible()


def test_a_trickle_fails_with_a_stall_and_does_not_hang(fetch: Fetch) -> None:
    fetch.server.faults.stall_after = 1000
    with pytest.raises(Stalled, match="fewer than"):
        fetch()
    assert fetch.nothing_visible()


def test_retry_after_is_honoured(fetch: Fetch) -> None:
    fetch.server.faults.busy, fetch.server.faults.retry_after = 2, "0"
    assert fetch() == DIGEST
    assert len(fetch.server.requests) == -(-len(CONTENT) // SMALL.part_bytes) + 2


def test_a_retry_after_beyond_our_patience_is_told(fetch: Fetch) -> None:
    fetch.server.faults.busy, fetch.server.faults.retry_after = 1, "86400"
    with pytest.raises(TooBusy, match="86400"):
        fetch()


def test_refused_credentials_are_not_tried_again(fetch: Fetch) -> None:
    fetch.server.token = "secret"
    fetch.url = Url(f"{fetch.server.url}/v2/library/x/blobs/{DIGEST}")
    with pytest.raises(AccessDenied):
        fetch()
    assert len(fetch.server.requests) == 1


def test_a_full_disk_is_not_tried_again(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(WriteFailed, match="full"):
        fetch()
    assert fetch.nothing_kept()
    assert len(fetch.server.requests) <= SMALL.parts_at_once


def test_a_pickle_named_safetensors_is_refused_by_its_bytes(fetch: Fetch) -> None:
    import pickle

    content = pickle.dumps({"weights": list(range(1000))})
    digest, fetch.size = fetch.server.add_blob(content)
    fetch.url, fetch.digest = Url(f"{fetch.server.url}/elsewhere/{digest}"), Digest.parse(digest)
    with pytest.raises(Refused, match="pickle"):
        fetch()
    assert fetch.nothing_kept()


def test_a_stopped_download_ends_its_threads_before_it_returns(fetch: Fetch) -> None:
    fetch.server.faults.stall_after = 1000
    threading.Timer(0.2, fetch.stop.set).start()
    with pytest.raises(Stopped):
        fetch()
    assert [thread for thread in threading.enumerate() if thread.name.startswith(("part", "hasher"))] == []


def test_two_processes_with_a_lock_that_always_succeeds_still_give_the_right_bytes(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelshelf.store import ingest

    monkeypatch.setattr(ingest, "_try_lock", lambda _descriptor: True)
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(fetch) for _ in range(2)]
    found = [one.result() for one in tries if one.exception() is None]
    assert DIGEST in found
    assert all(isinstance(one.exception(), ModelshelfError | type(None)) for one in tries)
    with fetch.store.open(DIGEST) as file:
        assert Digest.of(file.read()) == DIGEST
