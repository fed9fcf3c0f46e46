from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import BlobMissing, DigestMismatch, StoreDamaged, WriteFailed
from modelshelf.limits import DEFAULT
from modelshelf.store import ingest
from modelshelf.store.directory import DirectoryStore
from modelshelf.transfer.contract import Span
from tests.store.suite import CONTENT, DIGEST, OTHER, StoreSuite


class TestDirectoryStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryStore:
        return DirectoryStore(tmp_path / "store", replace(DEFAULT, lock_seconds=0.2))

    def alter(self, store: DirectoryStore, digest: Digest, content: bytes) -> None:
        path = store.path_of(digest)
        path.chmod(0o644)
        path.write_bytes(content)

    def test_a_blobs_file_is_read_only_and_not_executable(self, store: DirectoryStore) -> None:
        self.write(store, CONTENT)
        assert stat.S_IMODE(store.path_of(DIGEST).stat().st_mode) == 0o444
        with store.begin(OTHER, 1), pytest.raises(BlobMissing):
            store.path_of(OTHER)

    def test_committing_what_is_there_leaves_its_file_to_those_who_have_links_to_it(self, store: DirectoryStore) -> None:
        self.write(store, CONTENT)
        before = store.path_of(DIGEST).stat()
        self.write(store, CONTENT, key=Digest.of(b"another fetch"))
        after = store.path_of(DIGEST).stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)

    def test_a_name_that_is_no_digest_is_foreign_and_not_stored(self, store: DirectoryStore) -> None:
        (store.root / "blobs" / "sha256" / "notes.txt").write_text("nobody's")
        assert list(store.foreign()) == ["notes.txt"]
        assert list(store.stored()) == []

    def test_commit_syncs_the_file_before_the_rename_and_the_folder_after_it(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        fsync, rename = os.fsync, os.rename
        monkeypatch.setattr(os, "fsync", lambda fd: (said.append("fsync"), fsync(fd))[1])
        monkeypatch.setattr(os, "rename", lambda *a, **k: (said.append("rename"), rename(*a, **k))[1])
        self.write(store, CONTENT)
        assert said == ["fsync", "rename", "fsync"]

    @pytest.mark.parametrize("failing", [1, 2])
    def test_a_failing_fsync_fails_the_commit(self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
        calls = 0

        def fsync(_descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(WriteFailed, match="Input/output error"):
            self.write(store, CONTENT)
        assert store.sizes([DIGEST]) == {}

    @pytest.mark.parametrize("call", ["pwritev", "posix_fallocate"])
    def test_a_full_disk_leaves_nothing_visible_and_frees_the_temporary_file(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def full(*_arguments: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, call, full)
        with pytest.raises(WriteFailed, match="the disk is full"):
            self.write(store, CONTENT)
        assert store.sizes([DIGEST]) == {}
        assert list((store.root / "ingest").iterdir()) == []

    def test_a_link_planted_at_a_blobs_place_is_not_followed(self, store: DirectoryStore, tmp_path: Path) -> None:
        (tmp_path / "victim").write_bytes(b"not ours")
        (store.root / "blobs" / "sha256" / DIGEST.hex).symlink_to(tmp_path / "victim")
        with pytest.raises(StoreDamaged):
            store.open(DIGEST)
        self.write(store, CONTENT)
        with store.open(DIGEST) as file:
            assert file.read() == CONTENT, "what was proven took the link's place"
        assert (tmp_path / "victim").read_bytes() == b"not ours"

    def test_a_folder_at_a_blobs_place_is_refused_and_what_arrived_is_kept(self, store: DirectoryStore) -> None:
        (store.root / "blobs" / "sha256" / DIGEST.hex).mkdir()
        with store.begin(DIGEST, len(CONTENT)) as place:
            place.write_at(0, CONTENT)
            place.finish(Span(0, len(CONTENT)))
            with pytest.raises(StoreDamaged, match="a folder"):
                place.commit(DIGEST, what="it", whose="the test")
        assert sum(one.arrived for one in store.arriving()) == len(CONTENT)

    def test_the_stamp_stays_while_nobody_touches_the_blob_and_differs_after_any_touch(
        self, store: DirectoryStore, tmp_path: Path
    ) -> None:
        proven = self.write(store, CONTENT).stamp
        assert proven == self.stamp(store)
        with store.open(DIGEST) as file:
            file.read()
        assert self.stamp(store) == proven, "reading is no touch"
        path = store.path_of(DIGEST)
        os.link(path, tmp_path / "replica")
        linked = self.stamp(store)
        assert linked is not None
        assert linked != proven
        assert store.only_linked(proven, linked)
        times = path.stat()
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert self.stamp(store) not in (proven, linked), "nor does setting the time back hide a write"

    def test_only_the_bytes_that_arrived_are_counted_as_partial(self, store: DirectoryStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as place:
            place.write_at(0, CONTENT[:50_000])
            place.finish(Span(0, 50_000))
            (one,) = store.arriving()
            assert one.arrived == 50_000
            assert one.reserved >= len(CONTENT), "its whole place is set aside"

    def test_a_journal_whose_data_is_gone_is_removed(self, store: DirectoryStore) -> None:
        with store.begin(DIGEST, len(CONTENT)):
            next((store.root / "ingest").glob("*.data")).unlink()
        store.discard_abandoned(3600)
        assert list((store.root / "ingest").iterdir()) == []

    def test_what_someone_went_on_with_meanwhile_is_not_abandoned(
        self, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A clean-up that is paused between its look and its lock."""
        with store.begin(DIGEST, len(CONTENT)):
            pass
        data = next((store.root / "ingest").glob("*.data"))
        os.utime(data, (0, 0))
        lock = ingest._lock_abandoned

        def paused(path: Path) -> int | None:
            os.utime(path)
            return lock(path)

        monkeypatch.setattr(ingest, "_lock_abandoned", paused)
        assert store.discard_abandoned(3600) == 0
        assert data.exists()

    @pytest.mark.parametrize("folder", ["blobs", "blobs/sha256", "ingest"])
    def test_a_link_planted_at_a_folder_is_not_followed(self, store: DirectoryStore, tmp_path: Path, folder: str) -> None:
        import shutil

        shutil.rmtree(store.root / folder)
        (tmp_path / "elsewhere" / "sha256").mkdir(parents=True)
        (store.root / folder).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreDamaged):
            DirectoryStore(store.root)

    def test_a_link_planted_at_a_temporary_name_is_not_followed(self, store: DirectoryStore, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"\0" * len(CONTENT))
        planted = store.root / "ingest" / f"{DIGEST.hex}.{'0' * 32}.data"
        planted.symlink_to(victim)
        self.write(store, CONTENT)
        assert victim.read_bytes() == b"\0" * len(CONTENT)

    @pytest.mark.parametrize("trouble", ["older format", "other size", "another link", "no journal", "broken journal", "overlap"])
    def test_a_partial_file_that_is_not_ours_is_not_trusted_as_progress(self, store: DirectoryStore, trouble: str) -> None:
        with store.begin(DIGEST, len(CONTENT)) as place:
            place.write_at(0, CONTENT[:1000])
            place.finish(Span(0, 1000))
            data = next((store.root / "ingest").glob("*.data"))
        journal = data.with_suffix(".parts")
        head, *rest = journal.read_text().splitlines()
        said = json.loads(head)
        match trouble:
            case "older format":
                journal.write_text("\n".join([json.dumps({**said, "format": 0}), *rest]))
            case "other size":
                journal.write_text("\n".join([json.dumps({**said, "size": 5}), *rest]))
            case "another link":
                os.link(data, data.with_suffix(".other"))
            case "no journal":
                journal.unlink()
            case "broken journal":
                journal.write_text("{")
            case "overlap":
                journal.write_text("\n".join([head, "0 1000", "500 2000"]))
        with store.begin(DIGEST, len(CONTENT)) as place:
            assert not place.resumed
            assert place.arrived() == 0

    def test_progress_that_was_altered_on_disk_is_caught_by_the_digest(self, store: DirectoryStore) -> None:
        with store.begin(DIGEST, len(CONTENT)) as place:
            place.write_at(0, CONTENT[:1000])
            place.finish(Span(0, 1000))
            place.write_at(0, b"x")
        with store.begin(DIGEST, len(CONTENT)) as place:
            place.write_at(1000, CONTENT[1000:])
            with pytest.raises(DigestMismatch):
                place.commit(DIGEST, what="it", whose="the test")
        with pytest.raises(BlobMissing):
            store.open(DIGEST)
