"""The store in memory, which library tests use, keeps what every store keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelshelf.digest import Digest
from modelshelf.limits import DEFAULT
from tests.stand_ins.memory_store import MemoryStore
from tests.store.suite import StoreSuite


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore(replace(DEFAULT, lock_seconds=0.2))

    def alter(self, store: MemoryStore, digest: Digest, content: bytes) -> None:
        store.alter(digest, content)
