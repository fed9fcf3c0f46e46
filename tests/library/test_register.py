"""Filesystems in place: nothing is copied, nothing leaves, the region holds, and what changes later is not served."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.register_filesystem import register_filesystem
from modelshelf.catalog import instances, places, versions
from modelshelf.catalog.stale import Policy
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import (
    BadSetting,
    BadSource,
    ChooseQuantization,
    InPlace,
    LicenseRefused,
    NamesCode,
    NoSuchFilesystem,
    NotReady,
    NotWhatItSays,
    OtherRegion,
    PlaceChanged,
    Refused,
    SourceUnreadable,
    StillInUse,
)
from modelshelf.library import (
    auditing,
    building,
    caching,
    cleaning,
    comparing,
    deleting,
    explaining,
    naming,
    registering,
    running,
)
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath, FilesystemName, ModelName, ModelRef, Tag
from modelshelf.settings import Filesystem, load_settings
from modelshelf.sources.uri import FilesystemUri, parse_source
from modelshelf.stop import StopToken
from tasks.library import working_on
from tests.library.test_launch import launch, with_engine
from tests.making import P, gguf, safetensors, write

MINE = FilesystemUri(FilesystemName("shared"), FilePath("models/my-finetune"))


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A mounted filesystem with one model."""
    made = tmp_path / "mnt"
    write(made / "models/my-finetune/model.gguf", gguf(seed=4, **{"general.architecture": "llama", "llama.context_length": 64}))
    write(made / "models/my-finetune/README.md", b"# mine")
    return made


@pytest.fixture
def mounted(library: Library, mount: Path, tmp_path: Path) -> Iterator[Library]:
    equipped = with_engine(library, tmp_path)
    here = {"shared": Filesystem(mount, "local"), "far": Filesystem(mount, "elsewhere")}
    yield replace(equipped, settings=replace(equipped.settings, filesystems=here))


def register(library: Library, uri: FilesystemUri = MINE, *, hash: bool = False, allow_code: bool = False) -> Version:
    """Run the flow itself, on this library and without Prefect."""
    with working_on(library, "test"):
        ref = asyncio.run(register_filesystem.fn(str(uri.filesystem), str(uri.folder), hash=hash, allow_code=allow_code))
    with library.catalog.reading() as connection:
        return versions.find(connection, P, ModelRef.parse(ref))


def place_of(library: Library, version: Version) -> places.Place:
    with library.catalog.reading() as connection:
        return places.of(connection, version)


def test_a_folder_is_ready_where_it_lies_and_nothing_is_copied(mounted: Library, mount: Path) -> None:
    version = register(mounted)
    assert (str(version.model), version.state, version.image, version.filesystem) == ("my-finetune", "ready", None, "shared")
    assert (version.facts.architecture, version.facts.context_length) == ("llama", 64), "headers are read"
    assert version.size == sum(path.stat().st_size for path in (mount / "models/my-finetune").iterdir())
    assert list(mounted.store.stored()) == []
    assert {file.digest for file in place_of(mounted, version).files} == {None}, "no byte of the weights is read"
    assert caching.bring(mounted, P, version, StopToken()) == mount / "models/my-finetune"
    assert register(mounted).id == version.id, "registered again, it is the same"


def test_of_several_quantisations_one_is_registered_and_a_file_in_its_folder(mounted: Library, mount: Path) -> None:
    for name in ("m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"):
        write(mount / "models/several" / name, gguf())
    with pytest.raises(ChooseQuantization, match="modelshelf register fs://shared/models/several:Q4_K_M"):
        register_text(mounted, "models/several")
    first = register_text(mounted, "models/several:Q4_K_M")
    second = register_text(mounted, "models/several/m-Q8_0-00001-of-00002.gguf")
    assert [len(place_of(mounted, version).files) for version in (first, second)] == [1, 2]
    assert caching.bring(mounted, P, second, StopToken()) == mount / "models/several"
    write(mount / "alone.gguf", gguf())
    with pytest.raises(SourceUnreadable, match="is in a folder"):
        register_text(mounted, "alone.gguf")


def register_text(library: Library, folder: str) -> Version:
    with working_on(library, "test"):
        ref = asyncio.run(register_filesystem.fn("shared", folder))
    with library.catalog.reading() as connection:
        return versions.find(connection, P, ModelRef.parse(ref))


def test_an_engine_reads_it_where_it_lies(mounted: Library, mount: Path) -> None:
    version = register(mounted)
    instance = launch(mounted, version)
    assert instance.state == "ready"
    assert str(mount / "models/my-finetune/model.gguf") in (instance.command or ())
    with pytest.raises(StillInUse, match="instance chat-1"):
        deleting.delete_version(mounted, P, version.ref, who="test")
    with mounted.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(mounted, one)


@pytest.mark.parametrize(
    "text", ["fs://shared/../etc", "fs://shared/a/../../b", "fs://shared//etc", "fs://shared", "fs://SHARED/a"]
)
def test_a_folder_that_is_not_below_the_filesystem_cannot_be_written(text: str) -> None:
    with pytest.raises(BadSource):
        parse_source(text)


def test_links_that_leave_are_refused_wherever_they_are(mounted: Library, mount: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / "model.gguf", gguf())
    (mount / "models/away").symlink_to(outside)
    with pytest.raises(SourceUnreadable, match="leaves the filesystem"):
        register(mounted, FilesystemUri(FilesystemName("shared"), FilePath("models/away")))
    (mount / "models/my-finetune/other.json").symlink_to(outside / "model.gguf")
    with pytest.raises(SourceUnreadable, match="leaves"):
        register(mounted)


def test_a_link_put_in_a_files_place_later_is_not_served(mounted: Library, mount: Path, tmp_path: Path) -> None:
    version = register(mounted)
    weights = mount / "models/my-finetune/model.gguf"
    told = weights.stat()
    outside = write(tmp_path / "outside.gguf", weights.read_bytes())
    os.utime(outside, ns=(told.st_atime_ns, told.st_mtime_ns))
    weights.unlink()
    weights.symlink_to(outside)
    with pytest.raises(PlaceChanged, match="leaves"):
        caching.bring(mounted, P, version, StopToken())


def test_what_changed_since_is_not_launched_and_registering_again_makes_a_new_version(mounted: Library, mount: Path) -> None:
    first = register(mounted)
    write(mount / "models/my-finetune/model.gguf", gguf(seed=5, size=50_000))
    with pytest.raises(PlaceChanged, match=r"model\.gguf.*bytes instead of"):
        launch(mounted, first)
    assert "model.gguf was changed" in explaining.why_not_selectable(mounted, P, first.ref)[0].because
    second = register(mounted)
    assert (second.model, second.id != first.id, second.state) == (first.model, True, "ready")
    (mount / "models/my-finetune/README.md").unlink()
    with pytest.raises(PlaceChanged, match="No such file"):
        caching.bring(mounted, P, second, StopToken())


def test_another_region_is_refused_and_both_are_named(mounted: Library) -> None:
    version = register(mounted, FilesystemUri(FilesystemName("far"), MINE.folder))
    assert version.region == "elsewhere"
    with pytest.raises(OtherRegion, match="region elsewhere; this machine is in local"):
        launch(mounted, version)
    assert "elsewhere" in explaining.why_not_selectable(mounted, P, version.ref)[0].because


def test_a_filesystem_that_is_not_configured_or_not_mounted_is_told(mounted: Library, mount: Path) -> None:
    with pytest.raises(NoSuchFilesystem, match=r"known filesystems: far, shared.*config\.toml"):
        register(mounted, FilesystemUri(FilesystemName("other"), MINE.folder))
    version = register(mounted)
    mount.rename(mount.with_name("unmounted"))
    with pytest.raises(SourceUnreadable, match="not mounted"):
        caching.bring(mounted, P, version, StopToken())
    (finding,) = auditing.audit(mounted, StopToken(), rehash="all", repair=True, who="test")
    assert finding.kind == "place not seen"
    mount.with_name("unmounted").rename(mount)
    assert caching.bring(mounted, P, version, StopToken()), "what could not be seen was not failed"


def test_digests_are_taken_on_request_and_a_flipped_bit_is_found_by_an_audit_that_rehashes(mounted: Library, mount: Path) -> None:
    version = register(mounted, hash=True)
    weights = mount / "models/my-finetune/model.gguf"
    known = {str(file.path): file.digest for file in place_of(mounted, version).files}
    assert known["model.gguf"] == Digest.of(weights.read_bytes())
    told = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert auditing.audit(mounted, StopToken(), rehash="none", repair=False, who="test") == []
    (finding,) = auditing.audit(mounted, StopToken(), rehash="all", repair=True, who="test")
    assert (finding.kind, finding.what) == ("place changed", str(version.ref))
    with pytest.raises(NotReady, match="register it again"):
        caching.resolve_ready(mounted, P, version.ref)
    assert register(mounted, hash=True).state == "ready"


def test_there_is_nothing_to_cache_or_to_build(mounted: Library, tmp_path: Path) -> None:
    version = register(mounted)
    for refused in (
        lambda: caching.plan_cache(mounted, P, version.ref),
        lambda: caching.resolve_ready(mounted, P, version.ref),
        lambda: building.plan_build(mounted, P, version.ref, tmp_path / "image"),
        lambda: naming.mark(mounted, P, version.ref, who="test", auto_cache=True),
    ):
        with pytest.raises(InPlace, match="in place on the filesystem shared"):
            refused()
    assert caching.warm_up(mounted, StopToken()) == []


def test_it_is_compared_cleaned_and_deleted_and_its_files_stay(mounted: Library, mount: Path) -> None:
    first = register(mounted, hash=True)
    os.utime(mount / "models/my-finetune/README.md", ns=(0, 5))
    second = register(mounted, hash=True)
    difference = comparing.compare(mounted, P, first.ref, second.ref)
    assert (difference.shared, difference.new, difference.to_fetch) == (second.size, 0, 0)
    naming.promote(mounted, P, second.ref, Tag("stable"), who="test")
    plan = cleaning.plan_clean(mounted, P, Policy(keep=0, days=0.0))
    assert [(one.ref, one.frees) for one in plan.versions] == [(first.ref, 0)]
    cleaning.clean(mounted, P, plan, StopToken(), who="test")
    naming.let_go(mounted, P, ModelName("my-finetune"), Tag("stable"), who="test")
    deleting.delete_version(mounted, P, second.ref, who="test")
    assert (mount / "models/my-finetune/model.gguf").exists()
    assert explaining.why_not_selectable(mounted, P, ModelRef(first.model))[0].because.startswith("project default can see no")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("model.safetensors", b"\x80\x04 a pickle", NotWhatItSays),
        ("config.json", b'{"auto_map": {"AutoModel": "code.Model"}}', NamesCode),
    ],
)
def test_what_may_not_be_in_a_model_is_refused(
    mounted: Library, mount: Path, name: str, content: bytes, error: type[Refused]
) -> None:
    folder = mount / "models/other"
    write(folder / "model.safetensors", safetensors())
    write(folder / name, content)
    uri = FilesystemUri(FilesystemName("shared"), FilePath("models/other"))
    with pytest.raises(error):
        register(mounted, uri)
    if error is NamesCode:
        write(folder / name, b'{"auto_map": {"AutoModel": "code.Model"}, "model_type": "own", "n_ctx": 9}')
        allowed = register(mounted, uri, allow_code=True)
        assert (allowed.state, allowed.facts.architecture, allowed.facts.context_length) == ("ready", "own", 9)


def test_each_of_several_licences_has_to_be_one_that_is_taken(mounted: Library, mount: Path) -> None:
    write(mount / "models/my-finetune/LICENSE", b"Apache License\nVersion 2.0, January 2004")
    write(mount / "models/my-finetune/LICENSE.weights.md", b"Gemma Terms of Use")
    with pytest.raises(LicenseRefused, match=r"licence apache-2\.0, gemma"):
        register(replace(mounted, settings=replace(mounted.settings, licenses=("apache-2.0",))))
    assert register(mounted).license == "apache-2.0, gemma"


def test_filesystems_are_read_from_the_configuration(home: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "home" / "config.toml"
    file.write_text('region = "eu"\n[filesystems.shared]\npath = "/shared"\n[filesystems.far]\npath = "/far"\nregion = "us"\n')
    assert load_settings().filesystems == {
        "shared": Filesystem(Path("/shared"), "eu"),
        "far": Filesystem(Path("/far"), "us"),
    }
    for wrong in (
        '[filesystems.a]\npath = "relative"',
        "[filesystems.a]",
        '[filesystems]\na = "/a"',
        '[filesystems.a]\npath="/a"\nx=1',
    ):
        file.write_text(wrong)
        with pytest.raises(BadSetting, match=r"filesystems\.a"):
            load_settings()


def test_more_files_than_the_limit_are_refused(mounted: Library, mount: Path) -> None:
    source = registering.source_of(mounted, MINE, limits=replace(DEFAULT, files=1))
    with pytest.raises(Refused, match="limit"):
        source.list_files(source.pin(StopToken()), StopToken())
