"""A node whose file system makes no links: a proven copy is the replica, counted as what it is. Promises 1 and 12."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.catalog import versions
from modelshelf.catalog.versions import Version
from modelshelf.errors import BlobDamaged, NoSuchNode, OtherNode, StoreDamaged
from modelshelf.library import auditing, caching, disk
from modelshelf.library.observing import observe
from modelshelf.library.opening import Library, Shelf, migrate
from modelshelf.names import NodeName
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry

SIZE = 300_000
REFUSALS = [errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS]


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)


@pytest.fixture
def apart(home: Settings) -> Iterator[Library]:
    """A library whose node lies on another file system than its store."""
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == home.home.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    shutil.rmtree(home.node)
    home.node.symlink_to(folder)
    migrate(home, take_over=True)
    yield Library.open(home)
    shutil.rmtree(folder)


def brought(library: Library, registry: OllamaRegistry) -> Version:
    registry.add_model("library/tiny", "1b", gguf(SIZE), template="t")
    return bring_in(library, ollama_source(registry))[0]


def weights_below(folder: Path) -> Path:
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def kinds(library: Library) -> list[str]:
    return [one.kind for one in auditing.audit(library, StopToken(), rehash="all", repair=False, who="test")]


def check_copies(library: Library, version: Version) -> Path:
    """Plan, copy, plan again, report, audit and reconcile: all count the copies and none misses a link."""
    plan = caching.plan_cache(library, P, version.ref)
    assert (plan.to_copy, plan.there) == (plan.size, False)
    weights = weights_below(caching.fill(library, P, version, StopToken()))
    assert weights.stat().st_nlink == 1
    assert weights.stat().st_mode & 0o777 == 0o444
    again = caching.plan_cache(library, P, version.ref)
    assert (again.to_copy, again.there) == (0, True)
    report = disk.report(library, P)
    assert report.replicas >= plan.size
    assert report.images >= plan.size
    assert kinds(library) == []
    assert {one["seen"] for one in observe(library)} == {"present"}
    assert weights_below(caching.fill(library, P, version, StopToken())).stat().st_ino == weights.stat().st_ino, "copied once"
    return weights


@pytest.mark.parametrize("number", REFUSALS, ids=lambda number: errno.errorcode[number])
def test_where_no_link_can_be_made_a_copy_is_the_replica(
    library: Library, registry: OllamaRegistry, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    version = brought(library, registry)
    refuse_links(monkeypatch, number)
    check_copies(library, version)


def test_on_another_file_system_a_copy_is_the_replica(apart: Library, registry: OllamaRegistry) -> None:
    version = brought(apart, registry)
    weights = check_copies(apart, version)
    content = weights.read_bytes()
    weights.chmod(0o644)  # another stamp, the same bytes: proven again, and noted
    assert kinds(apart) == []
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "replica gone" in kinds(apart)
    assert weights_below(caching.fill(apart, P, version, StopToken())).read_bytes() == content
    assert kinds(apart) == []


def test_a_copy_whose_stamp_is_known_is_not_read_again(
    library: Library, registry: OllamaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = brought(library, registry)
    refuse_links(monkeypatch, errno.EPERM)
    weights = check_copies(library, version)
    weights.touch()
    assert kinds(library) == []
    weights_open = Path.open

    def refuse_weights(path: Path, *arguments: object, **options: object) -> object:
        assert path != weights, "the copy was read again"
        return weights_open(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse_weights)
    assert caching.plan_cache(library, P, version.ref).there


def test_links_that_became_copies_are_the_replica(library: Library, registry: OllamaRegistry, tmp_path: Path) -> None:
    """As after `cp -r` of a home, or a backup that knows no hard links."""
    version = brought(library, registry)
    folder = caching.fill(library, P, version, StopToken()).parent
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.move(tmp_path / "copy", folder)
    assert kinds(library) == []
    assert caching.plan_cache(library, P, version.ref).there


def test_bytes_that_went_bad_in_the_store_are_not_copied(
    library: Library, registry: OllamaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = brought(library, registry)
    blob = weights_below(library.settings.store)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"bad")
    refuse_links(monkeypatch, errno.EPERM)
    with pytest.raises(BlobDamaged, match="its bytes have the digest"):
        caching.fill(library, P, version, StopToken())
    with library.catalog.reading() as connection:
        files = versions.files(connection, P, version.id)
    assert version.image is not None
    with pytest.raises(StoreDamaged, match="its bytes have the digest"):  # also if they go bad after they were looked at
        library.node.replicas.fill(version.image, files, StopToken())
    assert not library.node.replicas.holds(version.image, files)


def test_a_node_that_is_not_this_machine_is_refused(library: Library) -> None:
    from sqlalchemy import text

    with pytest.raises(NoSuchNode):
        Shelf.of(library).library(NodeName("gpu-3"))
    with library.catalog.writing() as connection:
        connection.execute(text("INSERT INTO node (name, region, kind, labels) VALUES ('gpu-3', 'local', 'local', '{}')"))
    with pytest.raises(OtherNode, match="gpu-3 is another machine"):
        Shelf.of(library).library(NodeName("gpu-3"))
