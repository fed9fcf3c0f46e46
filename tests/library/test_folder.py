"""Folders: copied in one pass, hashed on the way; links that leave, files that change and code that is named are refused."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.import_folder import import_folder
from modelshelf.catalog import versions
from modelshelf.digest import Digest
from modelshelf.errors import (
    BadSource,
    ChooseQuantization,
    HostileFileNames,
    LargeFilePointer,
    NamesCode,
    NothingToImport,
    NotWhatItSays,
    NotWhole,
    Refused,
    SourceChanged,
    SourceUnreadable,
)
from modelshelf.formats.kinds import Role
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri, parse_source
from modelshelf.stop import StopToken
from modelshelf.store.ingest import DirectoryIngest
from modelshelf.transfer.local import LocalFile
from tasks.library import working_on
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
    assert isinstance(weights.wanted.body, LocalFile)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")
    wanted = replace(weights.wanted)
    from modelshelf.sources.fetch import fetch_blob
    from modelshelf.transfer.contract import Downloads

    with pytest.raises(SourceUnreadable):
        fetch_blob(library.store, Downloads(found.wire, stop=StopToken(), on_bytes=lambda _count: None), wanted)


def taken(path: str | Path, **options: Any) -> list[str]:
    uri = parse_source(f"file://{path}")
    assert isinstance(uri, FolderUri)
    found = FolderSource(uri, **options)
    return [str(file.path) for file in found.list_files(found.pin(StopToken()), StopToken()).files]


def test_one_shard_takes_its_siblings_and_its_index_along(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path / f"x-0000{number}-of-00003.gguf", gguf())
        write(tmp_path / f"model-0000{number}-of-00003.safetensors", safetensors())
    write(tmp_path / "x-00001-of-00002.gguf", gguf())
    weight_map = {str(number): f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)}
    write(tmp_path / "model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode())
    assert taken(tmp_path / "x-00002-of-00003.gguf") == [f"x-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert taken(tmp_path / "model-00001-of-00003.safetensors") == [*weight_map.values(), "model.safetensors.index.json"]
    assert str(FolderUri(tmp_path / "x-00002-of-00003.gguf").model) == "x"
    (tmp_path / "x-00003-of-00003.gguf").unlink()
    with pytest.raises(NotWhole, match="x-00003-of-00003"):
        taken(tmp_path / "x-00001-of-00003.gguf")


def test_a_shard_in_the_hubs_cache_takes_its_siblings_along(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--m" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    for number in (1, 2):
        blob = write(tmp_path / "models--org--m" / "blobs" / f"b{number}", gguf(seed=number))
        (snapshot / f"x-0000{number}-of-00002.gguf").symlink_to(os.path.relpath(blob, snapshot))
    assert taken(snapshot / "x-00001-of-00002.gguf") == ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]


def test_a_folder_of_quantisations_is_chosen_from_as_a_repository_is(tmp_path: Path, library: Library) -> None:
    for name in ("m-Q4_K_M.gguf", "m-Q8_0.gguf", "other-Q8_0.gguf"):
        write(tmp_path / "m" / name, gguf())
    write(tmp_path / "m" / "lora.gguf", gguf(**{"general.type": "adapter"}))
    with pytest.raises(ChooseQuantization, match=f"modelshelf import file://{tmp_path}/m:Q4_K_M"):
        taken(tmp_path / "m")
    assert taken(f"{tmp_path}/m:Q4_K_M") == ["lora.gguf", "m-Q4_K_M.gguf"]
    assert taken(f"{tmp_path}/m:other-Q8_0.gguf") == ["lora.gguf", "other-Q8_0.gguf"]
    first, _ = bring_in(library, FolderSource(FolderUri(tmp_path / "m", "Q4_K_M")))
    second, _ = bring_in(library, FolderSource(FolderUri(tmp_path / "m", "other-Q8_0.gguf")), run="run-2")
    assert (first.name.text.partition("-")[0], second.name.text.rpartition("-")[0]) == ("Q4_K_M", "other-Q8_0")


def test_a_folder_whose_own_name_has_a_colon_is_found(tmp_path: Path) -> None:
    write(tmp_path / "m:Q4" / "model.safetensors", safetensors())
    assert taken(f"{tmp_path}/m:Q4") == ["model.safetensors"]


def test_what_the_patterns_omit_is_not_looked_at(folder: Path) -> None:
    (folder / "assets").mkdir()
    (folder / "assets" / "a:b.png").write_bytes(b"x")
    (folder / "assets" / "passwords.txt").symlink_to("/etc/passwd")
    (folder / "assets" / "gone.md").symlink_to("nowhere")
    os.close(os.open(bytes(folder) + b"/assets/not-utf8-\xff.md", os.O_CREAT | os.O_WRONLY))
    (folder / "linked").symlink_to("/etc")
    assert "model.safetensors" in taken(folder, exclude=["assets/*", "linked/*"])
    with pytest.raises(SourceUnreadable, match=r"--exclude linked"):
        taken(folder, exclude=["assets/*"])
    with pytest.raises(HostileFileNames):
        taken(folder, exclude=["linked"])


def test_what_is_left_out_cannot_write_on_a_terminal(folder: Path) -> None:
    (folder / "a\x1b[2J\n.bin").write_bytes(b"x")
    found = source(folder)
    listing = found.list_files(found.pin(StopToken()), StopToken())
    assert all(line.isprintable() for line in listing.left_out)


def test_the_flow_takes_code_along_and_a_quantisation_behind_the_path(folder: Path, library: Library) -> None:
    write(folder / "config.json", b'{"auto_map": {"AutoModel": "modeling_x.X"}}')
    write(folder / "modeling_x.py", b"import os")
    write(folder / "gguf" / "m-Q8_0.gguf", gguf())
    write(folder / "gguf" / "m-Q4_0.gguf", gguf())
    with working_on(library, "test"):
        with pytest.raises(NamesCode, match=r"modeling_x\.py.*--allow-code"):
            asyncio.run(import_folder.fn(str(folder)))
        asyncio.run(import_folder.fn(str(folder), name="coded", allow_code=True))
        asyncio.run(import_folder.fn(f"{folder}:Q8_0", name="quantised", allow_code=True))
    with library.catalog.reading() as connection:
        paths = {}
        for name in ("coded", "quantised"):
            version = versions.find(connection, P, ModelRef.parse(name))
            paths[name] = {(str(file.path), file.role) for file in versions.files(connection, P, version.id)}
    assert {("modeling_x.py", Role.CODE), ("model.safetensors", Role.WEIGHT)} < paths["coded"]
    assert [path for path, role in paths["quantised"] if role is Role.WEIGHT] == ["gguf/m-Q8_0.gguf"]


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
