"""Folders: copied in one pass, hashed on the way; links that leave, files that change and code that is named are refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.catalog import versions
from modelshelf.digest import Digest
from modelshelf.errors import (
    BadSource,
    LargeFilePointer,
    NamesCode,
    NothingToImport,
    NotWhatItSays,
    Refused,
    SourceChanged,
    SourceUnreadable,
)
from modelshelf.library.opening import Library
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from modelshelf.stop import StopToken
from modelshelf.store.ingest import DirectoryIngest
from modelshelf.transfer import LocalFile
from tests.making import P, bring_in, gguf, hub_source, safetensors, write
from tests.stand_ins.hub import Hub

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 2147483648\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My Finetune"
    write(made / "config.json", b'{"model_type": "test"}')
    write(made / "model.safetensors", safetensors())
    write(made / "README.md", b"# mine")
    write(made / "pytorch_model.bin", b"\x80\x02 a pickle")
    write(made / ".git" / "HEAD", b"ref: x")
    return made


def source(path: Path) -> FolderSource:
    return FolderSource(FolderUri(path))


def test_a_folder_is_copied_and_the_same_content_has_the_same_digest_from_the_hub(
    folder: Path, library: Library, hub: Hub
) -> None:
    version, plan = bring_in(library, source(folder))
    assert (str(version.model), version.name.text.startswith("folder-")) == ("my-finetune", True)
    assert plan.left_out == ("pytorch_model.bin: another form of the weights",)
    content = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors", "README.md")}
    hub.repo("org/m").commit(content)
    twin, again = bring_in(library, hub_source(hub, "org/m"))
    assert twin.image == version.image
    weights = next(file for file in again.files if str(file.path) == "model.safetensors")
    assert not weights.fetch, "the store has it, wherever it came from"
    for file in (folder / "README.md", folder / "model.safetensors"):
        file.unlink()
    with library.catalog.reading() as connection:
        for packed in versions.files(connection, P, version.id):
            with library.store.open(packed.digest) as file:
                assert Digest.of(file.read()) == packed.digest, "the folder is not needed afterwards"


def test_one_file_is_enough(tmp_path: Path, library: Library) -> None:
    version, _ = bring_in(library, source(write(tmp_path / "tiny.Q4_K_M.gguf", gguf())))
    assert (str(version.model), version.format) == ("tiny.q4_k_m", "gguf")


def test_importing_an_unchanged_folder_again_copies_nothing(folder: Path, library: Library) -> None:
    first, _ = bring_in(library, source(folder))
    second, plan = bring_in(library, source(folder))
    assert (first.id, plan.ready, plan.to_fetch) == (second.id, True, 0)


def test_a_link_that_leaves_the_folder_is_refused_and_one_that_stays_is_followed(folder: Path, library: Library) -> None:
    (folder / "NOTICE.txt").symlink_to("README.md")
    version, _ = bring_in(library, source(folder))
    with library.catalog.reading() as connection:
        assert "NOTICE.txt" in {str(file.path) for file in versions.files(connection, P, version.id)}
    (folder / "passwords.txt").symlink_to("/etc/passwd")
    with pytest.raises(SourceUnreadable, match="leaves"):
        bring_in(library, source(folder))
    (folder / "passwords.txt").unlink()
    (folder / "sub").symlink_to("/etc")
    with pytest.raises(SourceUnreadable, match="link to a folder"):
        bring_in(library, source(folder))


def test_a_snapshot_of_the_hubs_cache_is_packed_as_regular_files(tmp_path: Path, library: Library) -> None:
    repository = tmp_path / "models--org--m"
    blob = write(repository / "blobs" / "abc", safetensors())
    snapshot = repository / "snapshots" / "1234"
    write(snapshot / "config.json", b"{}")
    (snapshot / "model.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    version, _ = bring_in(library, source(snapshot), name="m")
    with library.catalog.reading() as connection:
        (weights,) = [file for file in versions.files(connection, P, version.id) if file.path.suffix == ".safetensors"]
    assert not library.store.path_of(weights.digest).is_symlink()
    (snapshot / "evil.json").symlink_to("/etc/hostname")
    with pytest.raises(SourceUnreadable, match="leaves"):
        bring_in(library, source(snapshot), name="m2")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("model.safetensors", b"\x80\x04 a pickle", NotWhatItSays),
        ("tokenizer.model", b"PK\x03\x04", NotWhatItSays),
        ("tokenizer.model", POINTER, LargeFilePointer),
        ("model.safetensors", POINTER, LargeFilePointer),
    ],
)
def test_what_may_not_be_in_a_model_is_refused(
    folder: Path, library: Library, name: str, content: bytes, error: type[Refused]
) -> None:
    write(folder / name, content)
    with pytest.raises(error):
        bring_in(library, source(folder))
    with library.catalog.reading() as connection:
        assert not [one for one in versions.page(connection, P) if one.state == "ready"]


def test_a_file_that_changes_while_it_is_copied_is_refused_and_nothing_is_kept(
    folder: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DirectoryIngest.write_at

    def meddle(self: DirectoryIngest, offset: int, *pieces: bytes) -> None:
        with (folder / "model.safetensors").open("ab") as file:
            file.write(b"more")
        original(self, offset, *pieces)

    monkeypatch.setattr(DirectoryIngest, "write_at", meddle)
    with pytest.raises(SourceChanged):
        bring_in(library, source(folder))


def test_what_is_put_in_a_files_place_is_not_followed(folder: Path, library: Library) -> None:
    found = source(folder)
    listing = found.list_files(found.pin(StopToken()), StopToken())
    weights = next(file for file in listing.files if file.path.suffix == ".safetensors")
    assert isinstance(weights.wanted.remote, LocalFile)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    wanted = replace(weights.wanted)
    from modelshelf.sources.fetch import fetch_blob
    from modelshelf.transfer import Downloads

    with pytest.raises(SourceUnreadable):
        fetch_blob(library.store, Downloads(found.wire, stop=StopToken(), on_bytes=lambda _count: None), wanted)


@pytest.mark.parametrize("text", ["file://relative", "file:///a/../b", "file://"])
def test_a_path_that_is_not_absolute_is_no_source(text: str) -> None:
    with pytest.raises(BadSource):
        FolderUri.parse(text.removeprefix("file://"))


def test_a_folder_without_weights_or_that_is_not_there_is_told(tmp_path: Path, library: Library) -> None:
    with pytest.raises(SourceUnreadable, match="no such"):
        bring_in(library, source(tmp_path / "nowhere"))
    with pytest.raises(NothingToImport):
        bring_in(library, source(write(tmp_path / "empty" / "README.md", b"x").parent))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_configuration_that_names_code_is_refused_before_the_weights_unless_it_is_allowed(
    hub: Hub, library: Library, file: str
) -> None:
    weights = safetensors(400_000)
    named = {"nested": [{"auto_map": {"AutoModel": "modeling_x.XModel"}}]}
    hub.repo("org/m").commit({"config.json": b"{}", file: json.dumps(named).encode(), "model.safetensors": weights})
    sent = hub.body_bytes
    with pytest.raises(NamesCode, match="modeling_x.XModel.*--allow-code"):
        bring_in(library, hub_source(hub, "org/m"))
    assert hub.body_bytes - sent < len(weights), "no byte of the weights"
    version, _ = bring_in(library, hub_source(hub, "org/m"), allow_code=True)
    assert version.state == "ready"
