"""What every source keeps true. A source's own test inherits this, and says what is published and how that changes.

The bytes arrive in the store in memory: a source knows no other than the contract.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import ModelshelfError, Refused
from modelshelf.formats.kinds import Role
from modelshelf.names import ModelName
from modelshelf.sources.contract import Listing, Source, SourceFile
from modelshelf.sources.fetch import fetch_blob, read_small
from modelshelf.stop import Stopped, StopToken
from modelshelf.transfer.contract import Downloads, Span
from tests.making import SMALL
from tests.stand_ins.memory_store import MemoryStore

STOP = StopToken()


class Published(Protocol):
    """One model at its publisher, of at least one file of weights and another file."""

    def source(self) -> Source:
        """Return a fresh source of it, as another process would make one."""

    def content(self) -> dict[str, bytes]:
        """Return each file's bytes by its path in the model, those that come with the listing included."""

    def publish_anew(self) -> None:
        """Let the name that the source asks for mean other content from now on."""

    def alter(self, file: SourceFile) -> None:
        """Let the publisher have other bytes of the same size in the listed file's place."""

    def lose(self, file: SourceFile) -> None:
        """Let the publisher not have the listed file any more."""


class SourceSuite:
    @pytest.fixture
    def published(self) -> Published:
        raise NotImplementedError

    def listing(self, source: Source) -> Listing:
        return source.list_files(source.pin(STOP), STOP)

    def downloads(
        self, source: Source, on_bytes: Callable[[int], None] = lambda _count: None, stop: StopToken = STOP
    ) -> Downloads:
        return Downloads(source.wire, stop=stop, on_bytes=on_bytes, login=source.login, limits=SMALL)

    def weights(self, listing: Listing) -> SourceFile:
        return max((file for file in listing.files if file.role is Role.WEIGHT), key=lambda file: file.size)

    # --- the pin ----------------------------------------------------------------------------------------------------

    def test_the_pin_stays_while_nothing_is_published_anew(self, published: Published) -> None:
        first = published.source()
        pin = first.pin(STOP)
        self.listing(first)
        assert pin == first.pin(STOP) == published.source().pin(STOP)

    def test_the_pin_is_another_when_other_content_is_published(self, published: Published) -> None:
        before = published.source().pin(STOP)
        published.publish_anew()
        after = published.source().pin(STOP)
        assert after.requested == before.requested, "the same name was asked for"
        assert after.resolved != before.resolved
        assert after.version != before.version

    def test_a_version_is_named_for_what_was_asked_for_and_its_pin(self, published: Published) -> None:
        pin = published.source().pin(STOP)
        assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", pin.resolved), "a commit or a digest"
        assert str(pin.version) == f"{pin.requested}-{pin.resolved[:8]}"

    def test_a_source_has_a_name_and_a_written_form(self, published: Published) -> None:
        source = published.source()
        assert isinstance(source.model, ModelName)
        assert re.fullmatch(r"[a-z]+://.+", source.uri)
        assert source.uri == published.source().uri

    # --- the listing ------------------------------------------------------------------------------------------------

    def test_the_listing_is_every_file_with_its_size_and_fetches_none(self, published: Published) -> None:
        listing = self.listing(published.source())
        content = published.content()
        inline = {str(path): content for path, _, content in listing.inline}
        assert {str(file.path): file.size for file in listing.files} == {
            path: len(content) for path, content in content.items() if path not in inline
        }
        assert inline == {path: content[path] for path in inline}, "what comes with the listing is byte for byte"
        assert listing.size == sum(map(len, content.values()))

    def test_a_digest_that_a_source_lists_is_that_of_the_bytes(self, published: Published) -> None:
        content = published.content()
        for file in self.listing(published.source()).files:
            assert file.digest in (None, Digest.of(content[str(file.path)]))

    def test_two_looks_list_the_same_under_the_same_keys(self, published: Published) -> None:
        first, second = self.listing(published.source()), self.listing(published.source())
        assert first == second
        keys = [file.wanted.key for file in first.files]
        assert keys == [file.wanted.key for file in second.files], "an interrupted fetch is found again"
        assert len(set(keys)) == len(keys)

    def test_what_was_published_anew_after_the_pin_is_not_listed_as_what_was_pinned(self, published: Published) -> None:
        """A publisher that keeps what it had lists that; one that does not, refuses."""
        source, before = published.source(), published.content()
        pin = source.pin(STOP)
        published.publish_anew()
        try:
            listing = source.list_files(pin, STOP)
        except Refused:
            return
        inline = {str(path): content for path, _, content in listing.inline}
        assert {str(file.path) for file in listing.files} | inline.keys() == before.keys()
        assert inline == {path: before[path] for path in inline}
        store = MemoryStore()
        for file in listing.files:
            blob, _ = fetch_blob(store, self.downloads(source), file.wanted, SMALL)
            assert blob.digest == Digest.of(before[str(file.path)])

    # --- the bytes --------------------------------------------------------------------------------------------------

    def test_every_file_delivers_exactly_its_bytes(self, published: Published) -> None:
        source, content, store = published.source(), published.content(), MemoryStore()
        listing = self.listing(source)
        for file in listing.files:
            counted: list[int] = []
            blob, header = fetch_blob(store, self.downloads(source, counted.append), file.wanted, SMALL)
            with store.open(blob.digest) as stored:
                assert stored.read() == content[str(file.path)]
            assert sum(counted) == file.size == blob.size
            assert (header is not None) == (file.role is Role.WEIGHT), "weights are looked at on the way"
        assert list(store.arriving()) == []

    def test_a_small_file_can_be_read_without_being_stored(self, published: Published) -> None:
        source, content = published.source(), published.content()
        for file in self.listing(source).files:
            assert read_small(self.downloads(source), file.wanted, SMALL) == content[str(file.path)]

    def test_an_interrupted_fetch_goes_on_to_the_right_bytes(self, published: Published) -> None:
        source, store = published.source(), MemoryStore()
        file = self.weights(self.listing(source))
        content = published.content()[str(file.path)]
        with store.begin(file.wanted.key, file.size) as arrived:
            arrived.write_at(0, content[:10_000])
            arrived.finish(Span(0, 10_000))
        counted: list[int] = []
        blob, _ = fetch_blob(store, self.downloads(source, counted.append), file.wanted, SMALL)
        assert blob.digest == Digest.of(content)
        assert sum(counted) == file.size

    def test_progress_that_was_damaged_is_fetched_again(self, published: Published) -> None:
        source, store = published.source(), MemoryStore()
        file = self.weights(self.listing(source))
        with store.begin(file.wanted.key, file.size) as arrived:
            arrived.write_at(0, b"\0" * 10_000)
            arrived.finish(Span(0, 10_000))
        blob, _ = fetch_blob(store, self.downloads(source), file.wanted, SMALL)
        assert blob.digest == Digest.of(published.content()[str(file.path)])

    def test_other_bytes_than_listed_are_refused_and_nothing_of_them_is_stored(self, published: Published) -> None:
        source, store = published.source(), MemoryStore()
        file = self.weights(self.listing(source))
        published.alter(file)
        with pytest.raises(Refused):
            fetch_blob(store, self.downloads(source), file.wanted, SMALL)
        assert list(store.stored()) == []
        with pytest.raises(Refused):
            read_small(self.downloads(source), file.wanted, SMALL)

    def test_a_file_that_is_gone_is_an_error_that_names_it(self, published: Published) -> None:
        source, store = published.source(), MemoryStore()
        file = self.weights(self.listing(source))
        published.lose(file)
        with pytest.raises(ModelshelfError, match=f"{re.escape(file.wanted.body.what)}|{re.escape(str(file.path))}"):
            fetch_blob(store, self.downloads(source), file.wanted, SMALL)
        assert list(store.stored()) == []

    def test_a_fetch_that_is_stopped_stores_nothing(self, published: Published) -> None:
        source, store, stop = published.source(), MemoryStore(), StopToken()
        file = self.weights(self.listing(source))
        stop.set()
        with pytest.raises(Stopped):
            fetch_blob(store, self.downloads(source, stop=stop), file.wanted, SMALL)
        assert list(store.stored()) == []
