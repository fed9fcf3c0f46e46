"""What every store keeps true. A store's own test file inherits this, and says how it is made and how its bytes go bad."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted, BlobMissing, DigestMismatch, SizeMismatch, StoreDamaged
from modelshelf.formats.image import Image
from modelshelf.formats.kinds import Facts, Format
from modelshelf.names import ModelName, ModelRef, Tag
from modelshelf.stop import Stopped, StopToken
from modelshelf.store.contract import Arriving, Store, Stored
from modelshelf.store.copying import copy_blob
from modelshelf.transfer.contract import Downloads, Span
from modelshelf.wire import Wire
from tests.stand_ins.memory_store import MemoryStore

CONTENT = random.Random(1).randbytes(300_000)
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"no such content")
FLIPPED = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]


class StoreSuite:
    @pytest.fixture
    def store(self) -> Store:
        """An empty store that waits a fifth of a second for a lock."""
        raise NotImplementedError

    def alter(self, store: Any, digest: Digest, content: bytes) -> None:
        """Write other bytes over a committed blob, past the store."""
        raise NotImplementedError

    def write(self, store: Store, content: bytes, key: Digest | None = None) -> Blob:
        with store.begin(key or Digest.of(content), len(content)) as ingest:
            ingest.write_at(0, content)
            return ingest.commit(Digest.of(content), what="it", whose="the test")

    def stamp(self, store: Store) -> str | None:
        return store.stamps([DIGEST]).get(DIGEST)

    def remove(self, store: Store) -> None:
        with store.locks.removing(DIGEST):
            store.delete(DIGEST)

    # --- arriving and committing ------------------------------------------------------------------------------------

    def test_what_was_committed_can_be_opened_and_is_the_same(self, store: Store) -> None:
        assert self.write(store, CONTENT) == Blob(DIGEST, len(CONTENT))
        with store.open(DIGEST) as file:
            assert file.read() == CONTENT
        assert store.sizes([OTHER, DIGEST]) == {DIGEST: len(CONTENT)}
        (stored,) = store.stored()
        assert stored == Stored(DIGEST, len(CONTENT), 0)
        assert 0 <= stored.age < 60
        assert list(store.stored([OTHER, DIGEST])) == [stored]
        assert list(store.foreign()) == [], "its name is its digest"

    def test_nothing_can_be_opened_before_it_is_committed_by_any_interface(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            ingest.finish(Span(0, len(CONTENT)))
            assert ingest.digest() == DIGEST
            with ingest.look() as file:
                assert file.read() == CONTENT
            assert store.sizes([DIGEST]) == store.stamps([DIGEST]) == {}
            assert list(store.stored()) == list(store.stored([DIGEST])) == []
            assert list(store.read_each([DIGEST], 10)) == [(DIGEST, None)]
            for look in (store.open, lambda digest: store.read_through(digest, StopToken())):
                with pytest.raises(BlobMissing, match=str(store)):
                    look(DIGEST)

    def test_wrong_bytes_of_the_right_size_are_refused_and_nothing_is_kept(self, store: Store) -> None:
        wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, wrong)
            with pytest.raises(DigestMismatch, match=str(Digest.of(wrong))):
                ingest.commit(DIGEST, what="it", whose="the test")
        assert store.sizes([DIGEST, Digest.of(wrong)]) == {}
        assert list(store.arriving()) == []
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            assert not ingest.resumed

    def test_too_few_bytes_are_refused(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT[:-1])
            with pytest.raises(SizeMismatch):
                ingest.commit(DIGEST, what="it", whose="the test")
        assert store.sizes([DIGEST]) == {}

    def test_empty_content_is_content(self, store: Store) -> None:
        assert self.write(store, b"") == Blob(Digest.of(b""), 0)
        with store.open(Digest.of(b"")) as file:
            assert file.read() == b""

    def test_parts_may_come_in_any_order_from_several_threads(self, store: Store) -> None:
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

    def test_an_interrupted_fetch_is_resumed_with_what_was_finished(self, store: Store) -> None:
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
        assert list(store.arriving()) == []

    def test_an_arrival_that_was_reset_begins_at_byte_zero(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.begin_with('"v1"')
            ingest.write_at(0, FLIPPED[:1000])
            ingest.finish(Span(0, 1000))
            ingest.reset()
            assert (ingest.arrived(), ingest.validator()) == (0, None)
            assert ingest.missing(len(CONTENT)) == [Span(0, len(CONTENT))]
            ingest.write_at(0, CONTENT)
            assert ingest.commit(DIGEST, what="it", whose="the test").digest == DIGEST

    def test_two_at_once_do_not_share_a_place(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as first, store.begin(DIGEST, len(CONTENT)) as second:
            assert not second.resumed
            second.write_at(0, b"\0" * len(CONTENT))
            first.write_at(0, CONTENT)
            first.commit(DIGEST, what="it", whose="the test")
            second.write_at(0, b"\1" * 10)
        with store.open(DIGEST) as file:
            assert Digest.of(file.read()) == DIGEST

    def test_each_arrival_is_listed_by_its_key_with_the_bytes_that_count(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT[:50_000])
            ingest.finish(Span(0, 50_000))
            (listed,) = store.arriving()
            assert listed == Arriving(DIGEST, 50_000, listed.reserved)
            assert listed.reserved >= 50_000
        assert list(store.arriving()) == [listed], "also when nothing is at it"

    def test_an_arrival_is_abandoned_after_its_time_and_not_before(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            assert store.discard_abandoned(-1) == 0, "a process is at it"
            assert ingest.commit(DIGEST, what="it", whose="the test").digest == DIGEST
        with store.begin(OTHER, 5000):
            pass
        assert store.discard_abandoned(3600) == 0, "it is young"
        assert store.discard_abandoned(-1) > 0
        assert list(store.arriving()) == []
        assert store.sizes([DIGEST]) == {DIGEST: len(CONTENT)}, "what was committed stays"

    # --- what is there already, and what went bad -------------------------------------------------------------------

    def test_committing_what_is_there_succeeds_without_rewriting_it(self, store: Store) -> None:
        before = self.write(store, CONTENT).stamp
        again = self.write(store, CONTENT, key=Digest.of(b"another fetch"))
        assert list(store.arriving()) == []
        assert before is not None
        assert again.stamp is not None
        assert store.only_linked(before, again.stamp)

    def test_a_blob_whose_bytes_went_bad_is_replaced_by_what_was_proven(self, store: Store) -> None:
        for damage in (FLIPPED, CONTENT[:-5], b""):
            self.write(store, CONTENT)
            self.alter(store, DIGEST, damage)
            blob = self.write(store, CONTENT, key=Digest.of(b"another fetch"))
            with store.open(DIGEST) as file:
                assert file.read() == CONTENT
            assert blob.stamp == self.stamp(store)
            assert store.put(CONTENT) == blob

    def test_the_stamp_stays_while_nobody_touches_the_blob_and_is_another_after_a_write(self, store: Store) -> None:
        proven = self.write(store, CONTENT).stamp
        with store.open(DIGEST) as file:
            file.read()
        assert proven == self.stamp(store), "reading is no touch"
        self.alter(store, DIGEST, FLIPPED)
        assert self.stamp(store) not in (proven, None)
        assert not store.only_linked(proven or "", self.stamp(store) or "")

    def test_reading_through_gives_the_stamp_from_before_and_the_digest_of_the_bytes(self, store: Store) -> None:
        blob = self.write(store, CONTENT)
        counted = [0]
        assert store.read_through(DIGEST, StopToken(), counted.append) == (blob.stamp, DIGEST)
        assert sum(counted) == len(CONTENT)
        self.alter(store, DIGEST, b"other")
        assert store.read_through(DIGEST, StopToken()) == (self.stamp(store), Digest.of(b"other"))
        assert store.stamps([DIGEST, OTHER]) == {DIGEST: self.stamp(store)}

    def test_reading_through_hears_the_stop_token(self, store: Store) -> None:
        self.write(store, CONTENT)
        stop = StopToken()
        stop.set()
        with pytest.raises(Stopped):
            store.read_through(DIGEST, stop)

    def test_a_copy_is_proven_while_it_is_made(self, store: Store, tmp_path: Path) -> None:
        self.write(store, CONTENT)
        copy_blob(store, DIGEST, tmp_path / "copy", StopToken(), mode=0o444)
        assert (tmp_path / "copy").read_bytes() == CONTENT
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o444
        self.alter(store, DIGEST, FLIPPED)
        with pytest.raises(StoreDamaged, match=str(Digest.of(FLIPPED))):
            copy_blob(store, DIGEST, tmp_path / "another", StopToken())

    def test_a_blob_delivers_itself_into_another_store_and_a_damaged_one_does_not(self, store: Store) -> None:
        def copy(into: Store) -> Blob:
            body = store.body(DIGEST)
            downloads = Downloads(Wire(), stop=StopToken(), on_bytes=counted.append)
            with into.begin(DIGEST, body.size) as ingest:
                downloads.fetch(body, ingest, proven=True)
                return ingest.commit(DIGEST, what=body.what, whose=body.whose)

        counted: list[int] = []
        self.write(store, CONTENT)
        other = MemoryStore()
        assert copy(other) == Blob(DIGEST, len(CONTENT))
        with other.open(DIGEST) as file:
            assert file.read() == CONTENT
        assert sum(counted) == len(CONTENT)
        self.alter(store, DIGEST, FLIPPED)
        with pytest.raises(DigestMismatch, match=str(store)):
            copy(MemoryStore())
        store.delete(DIGEST)
        with pytest.raises(BlobMissing):
            store.body(DIGEST)

    # --- small content, lists, deletion -----------------------------------------------------------------------------

    def test_what_is_put_whole_is_there_whole(self, store: Store) -> None:
        blob = store.put(b"a licence")
        assert (again := store.put(b"a licence")) == blob
        assert again.stamp == store.stamps([blob.digest])[blob.digest]
        with store.open(blob.digest) as file:
            assert file.read() == b"a licence"

    def test_a_published_images_config_and_manifest_are_there_under_their_digests(self, store: Store) -> None:
        image = Image(Format.GGUF, (), Facts(), b"the config", b"the manifest")
        made = store.publish(image, ModelRef(ModelName("m"), Tag("1")))
        assert made == image.blobs
        assert {blob.digest: blob.stamp for blob in made} == store.stamps(blob.digest for blob in image.blobs)
        assert dict(store.read_each([image.digest], 100)) == {image.digest: b"the manifest"}
        assert store.publish(image, ModelRef(ModelName("m"), Tag("2"))) == made, "one content has one digest, whatever its name"

    def test_the_starts_of_several_blobs_come_in_the_order_asked_for(self, store: Store) -> None:
        first, second = store.put(b"first"), store.put(b"second")
        asked = [second.digest, OTHER, first.digest]
        assert list(store.read_each(asked, 3)) == [(second.digest, b"sec"), (OTHER, None), (first.digest, b"fir")]

    def test_what_is_deleted_is_gone_and_deleting_again_is_no_error(self, store: Store) -> None:
        self.write(store, CONTENT)
        kept = store.put(b"it stays")
        assert store.delete(DIGEST) == len(CONTENT)
        assert store.delete(DIGEST) == 0
        assert store.sizes([DIGEST, kept.digest]) == {kept.digest: 8}
        assert {one.digest for one in store.stored()} == {kept.digest}
        assert self.write(store, CONTENT).digest == DIGEST, "and it can come again"

    def test_free_space_is_reported_and_the_store_has_a_name(self, store: Store) -> None:
        assert store.free_bytes() > 0
        assert str(store)
        assert "object at" not in str(store)

    # --- locks ------------------------------------------------------------------------------------------------------

    def test_nobody_removes_a_blob_while_who_committed_it_still_notes_it_down(self, store: Store) -> None:
        seen: list[Blob] = []

        def note(blob: Blob) -> None:
            with pytest.raises(BlobBeingDeleted), store.locks.removing(blob.digest):
                pytest.fail("it is not ours")
            seen.append(blob)

        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            committed = ingest.commit(DIGEST, what="it", whose="the test", then=note)
        assert seen == [committed]

    def test_a_commit_waits_for_who_is_at_the_digest_and_keeps_what_arrived(self, store: Store) -> None:
        with store.begin(DIGEST, len(CONTENT)) as ingest:
            ingest.write_at(0, CONTENT)
            ingest.finish(Span(0, len(CONTENT)))
            for hold in (store.locks.removing(DIGEST), store.locks.counting_on([DIGEST])):
                with hold, pytest.raises(BlobBeingDeleted):
                    ingest.commit(DIGEST, what="it", whose="the test")
            assert store.sizes([DIGEST]) == {}
            assert ingest.commit(DIGEST, what="it", whose="the test").digest == DIGEST

    def test_several_count_on_a_blob_at_once_and_nobody_removes_it_meanwhile(self, store: Store) -> None:
        with store.locks.counting_on([OTHER]), store.locks.counting_on([OTHER, DIGEST]), pytest.raises(BlobBeingDeleted):
            self.remove(store)
        with store.locks.removing(DIGEST), pytest.raises(BlobBeingDeleted), store.locks.counting_on([OTHER, DIGEST]):
            pytest.fail("it is being removed")

    def test_who_waits_for_a_lock_hears_the_stop_token(self, store: Store) -> None:
        stop = StopToken()
        stop.set()
        with store.locks.removing(DIGEST), pytest.raises(Stopped), store.locks.removing(DIGEST, stop):
            pytest.fail("it is not ours")
