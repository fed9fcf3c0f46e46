"""What every store keeps true. A store's own test file inherits this and says how it is made."""

from __future__ import annotations

import random
import stat
import threading
from pathlib import Path

import pytest

from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted, BlobMissing, DigestMismatch, SizeMismatch
from modelshelf.stop import StopToken
from modelshelf.store.contract import LocalStore
from modelshelf.transfer.contract import Span

CONTENT = random.Random(1).randbytes(300_000)
DIGEST = Digest.of(CONTENT)


class StoreSuite:
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        raise NotImplementedError

    def write(self, store: LocalStore, content: bytes, key: Digest | None = None) -> Blob:
        with store.begin(key or Digest.of(content), len(content)) as ingest:
            ingest.write_at(0, content)
            return ingest.commit(Digest.of(content), what="it", whose="the test")

    def test_what_was_committed_can_be_opened_and_is_the_same(self, store: LocalStore) -> None:
        assert self.write(store, CONTENT) == Blob(DIGEST, len(CONTENT))
        with store.open(DIGEST) as file:
            assert file.read() == CONTENT
        assert store.size_of(DIGEST) == len(CONTENT)
        assert list(store.blobs()) == [Blob(DIGEST, len(CONTENT))]

    def test_nothing_can_be_opened_before_it_is_committed_by_any_interface(self, store: LocalStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            ingest.finish(Span(0, len(CONTENT)))
            assert ingest.digest() == DIGEST
            assert store.size_of(DIGEST) is None
            assert list(store.blobs()) == []
            with pytest.raises(BlobMissing):
                store.open(DIGEST)
            with pytest.raises(BlobMissing):
                store.path_of(DIGEST)

    def test_wrong_bytes_of_the_right_size_are_refused_and_nothing_is_kept(self, store: LocalStore) -> None:
        wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, wrong)
            with pytest.raises(DigestMismatch, match=str(Digest.of(wrong))):
                ingest.commit(DIGEST, what="it", whose="the test")
        assert store.size_of(DIGEST) is None
        assert store.size_of(Digest.of(wrong)) is None
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            assert not ingest.resumed

    def test_too_few_bytes_are_refused(self, store: LocalStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT[:-1])
            with pytest.raises(SizeMismatch):
                ingest.commit(DIGEST, what="it", whose="the test")
        assert store.size_of(DIGEST) is None

    def test_committing_what_is_there_succeeds_without_rewriting_it(self, store: LocalStore) -> None:
        self.write(store, CONTENT)
        before = store.path_of(DIGEST).stat()
        self.write(store, CONTENT, key=Digest.of(b"another fetch"))
        after = store.path_of(DIGEST).stat()
        assert list(store.partial()) == []
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)

    def test_a_blob_whose_bytes_went_bad_is_replaced_by_what_was_proven(self, store: LocalStore) -> None:
        for damage in (bytes([CONTENT[0] ^ 1]) + CONTENT[1:], CONTENT[:-5], b""):
            self.write(store, CONTENT)
            path = store.path_of(DIGEST)
            path.chmod(0o644)
            path.write_bytes(damage)
            blob = self.write(store, CONTENT, key=Digest.of(b"another fetch"))
            with store.open(DIGEST) as file:
                assert file.read() == CONTENT
            assert blob.stamp == store.stamp(DIGEST)
            assert store.put(CONTENT) == blob

    def test_what_is_read_through_tells_its_digest_and_its_stamp(self, store: LocalStore) -> None:
        blob = self.write(store, CONTENT)
        assert store.read_through(DIGEST, StopToken()) == (blob.stamp, DIGEST)
        path = store.path_of(DIGEST)
        path.chmod(0o644)
        path.write_bytes(b"other")
        assert store.read_through(DIGEST, StopToken()) == (store.stamp(DIGEST), Digest.of(b"other"))
        assert store.stamps([DIGEST, Digest.of(b"no such")]) == {DIGEST: store.stamp(DIGEST)}

    def test_nobody_removes_a_blob_while_who_committed_it_still_notes_it_down(self, store: LocalStore) -> None:
        def note(blob: Blob) -> None:
            with pytest.raises(BlobBeingDeleted), store.locks.removing(blob.digest):
                pytest.fail("it is not ours")

        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            ingest.commit(DIGEST, what="it", whose="the test", then=note)

    def test_stored_content_is_read_only_and_not_executable(self, store: LocalStore) -> None:
        self.write(store, CONTENT)
        assert stat.S_IMODE(store.path_of(DIGEST).stat().st_mode) == 0o444

    def test_empty_content_is_content(self, store: LocalStore) -> None:
        assert self.write(store, b"") == Blob(Digest.of(b""), 0)
        with store.open(Digest.of(b"")) as file:
            assert file.read() == b""

    def test_parts_may_come_in_any_order_from_several_threads(self, store: LocalStore) -> None:
        spans = [Span(at, min(at + 10_000, len(CONTENT))) for at in range(0, len(CONTENT), 10_000)]
        random.Random(2).shuffle(spans)
        with store.begin(DIGEST, len(CONTENT)) as ingest:

            def bring(mine: list[Span]) -> None:
                for span in mine:
                    for at in range(span.start, span.end, 3000):
                        ingest.write_at(at, CONTENT[at : min(at + 3000, span.end)])
                    ingest.finish(span)

            threads = [threading.Thread(target=bring, args=(spans[number::3],)) for number in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert ingest.commit(DIGEST, what="it", whose="the test").size == len(CONTENT)

    def test_an_interrupted_fetch_is_resumed_with_what_was_finished(self, store: LocalStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.begin_with('"v1"')
            ingest.write_at(100_000, CONTENT[100_000:200_000])
            ingest.finish(Span(100_000, 200_000))
            ingest.write_at(0, CONTENT[:50_000])  # not finished: it does not count
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            assert ingest.resumed
            assert ingest.validator() == '"v1"'
            assert ingest.arrived() == 100_000
            assert ingest.missing(150_000) == [Span(0, 100_000), Span(200_000, 300_000)]
            ingest.write_at(0, CONTENT[:100_000])
            ingest.write_at(200_000, CONTENT[200_000:])
            ingest.commit(DIGEST, what="it", whose="the test")

    def test_two_at_once_do_not_share_a_place(self, store: LocalStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as first, store.begin(DIGEST, len(CONTENT)) as second:
            assert not second.resumed
            second.write_at(0, b"\0" * len(CONTENT))
            first.write_at(0, CONTENT)
            first.commit(DIGEST, what="it", whose="the test")
            second.write_at(0, b"\1" * 10)
        with store.open(DIGEST) as file:
            assert Digest.of(file.read()) == DIGEST

    def test_what_is_put_whole_is_there_whole(self, store: LocalStore) -> None:
        blob = store.put(b"a manifest")
        assert store.put(b"a manifest") == blob
        with store.open(blob.digest) as file:
            assert file.read() == b"a manifest"

    def test_what_is_deleted_is_gone_and_deleting_again_is_no_error(self, store: LocalStore) -> None:
        self.write(store, CONTENT)
        assert store.delete(DIGEST) == len(CONTENT)
        assert store.delete(DIGEST) == 0
        assert store.size_of(DIGEST) is None
