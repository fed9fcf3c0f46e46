"""What an import decides once and keeps: which file is the model, what goes with it, and what its header says."""

from __future__ import annotations

import json
import struct
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.catalog import versions
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import LicenseRefused, NoModelAmong, SeveralModels
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Facts
from modelshelf.formats.parts import Parts
from modelshelf.library import building
from modelshelf.library.opening import Library
from modelshelf.names import FilePath, FilesystemName, ModelName
from modelshelf.packing.modelpack import pack_in_first_form
from modelshelf.settings import Filesystem
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FilesystemUri, FolderUri
from tests.formats.test_licenses import taking
from tests.library.test_register import register
from tests.making import P, bring_in, gguf, hub_source, ollama_source, safetensors, write
from tests.models import Value, write_gguf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

ADAPTER = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}

SET = FilesystemUri(FilesystemName("shared"), FilePath("set"))


def mounted(library: Library, mount: Path) -> Library:
    return replace(library, settings=replace(library.settings, filesystems={"shared": Filesystem(mount, "local")}))


def split_set(folder: Path, **entries: Value) -> Path:
    """A set of two files as `llama-gguf-split --no-tensor-first-split` writes it."""
    folder.mkdir(parents=True)
    known: dict[str, Value] = {"general.architecture": "llama", "llama.context_length": 4096, "general.file_type": 15, **entries}
    write_gguf(folder / "m-Q4_K_M-00001-of-00002.gguf", {**known, "split.no": 0, "split.count": 2}, {})
    weights = {"weight": ((3200,), array("f", bytes(12800)))}
    write_gguf(folder / "m-Q4_K_M-00002-of-00002.gguf", {"split.no": 1, "split.count": 2}, weights)
    return folder


def source(path: Path) -> FolderSource:
    return FolderSource(FolderUri(path))


def versions_of(library: Library, name: str) -> list[Version]:
    with library.catalog.reading() as connection:
        return versions.of_model(connection, P, ModelName(name))


def test_a_set_whose_first_file_has_no_tensor_is_known_whole(library: Library, tmp_path: Path) -> None:
    version, _ = bring_in(library, source(split_set(tmp_path / "m", **{"general.license": "mit"})))
    facts = version.facts
    assert (facts.architecture, facts.context_length, facts.quantization, facts.parameters) == ("llama", 4096, "Q4_K_M", 3200)
    assert (version.license, version.parts) == ("mit", Parts(FilePath("m-Q4_K_M-00001-of-00002.gguf")))


@pytest.mark.parametrize("in_place", [False, True])
def test_a_licence_that_only_the_header_of_a_set_names_is_seen_by_the_list(
    library: Library, tmp_path: Path, in_place: bool
) -> None:
    split_set(tmp_path / "mnt" / "set", **{"general.license": "cc-by-nc-4.0"})

    def take(library: Library) -> Version:
        return register(library, SET) if in_place else bring_in(library, source(tmp_path / "mnt" / "set"))[0]

    with pytest.raises(LicenseRefused, match=r"cc-by-nc-4\.0"):
        take(taking(mounted(library, tmp_path / "mnt"), "mit"))
    assert take(taking(mounted(library, tmp_path / "mnt"), "cc-by-nc-4.0")).license == "cc-by-nc-4.0"


def test_companions_are_kept_beside_the_model_and_not_counted(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "m" / "gemma-Q4_K_M.gguf", gguf(3200))
    write(tmp_path / "m" / "mmproj-F16.gguf", gguf(6400, **{"general.architecture": "clip"}))
    write(tmp_path / "m" / "style-Q4_K_M-lora.gguf", gguf(640, **ADAPTER))
    version, _ = bring_in(library, source(tmp_path / "m"))
    assert version.parts == Parts(
        FilePath("gemma-Q4_K_M.gguf"), (FilePath("mmproj-F16.gguf"),), (FilePath("style-Q4_K_M-lora.gguf"),)
    )
    assert version.facts.parameters == 3200


def test_an_ollama_version_has_the_parts_of_its_manifest(library: Library, registry: OllamaRegistry) -> None:
    projector, adapter = gguf(640, 3, **{"general.architecture": "clip"}), gguf(640, 4, **ADAPTER)
    registry.add_model("library/tiny", "1b", gguf(3200), projector=projector, adapter=adapter)
    version, _ = bring_in(library, ollama_source(registry))
    blobs = [FilePath(f"blobs/sha256-{Digest.of(content).hex}") for content in (gguf(3200), projector, adapter)]
    assert version.parts == Parts(blobs[0], (blobs[1],), (blobs[2],))
    assert version.facts.parameters == 3200


def test_a_second_model_that_is_named_as_a_projector_is_refused_before_anything_is_listed(
    library: Library, tmp_path: Path
) -> None:
    for seed, name in enumerate(("a-Q4_K_M.gguf", "mmproj-b.gguf")):
        write(tmp_path / "m" / name, gguf(3200, seed))
    with pytest.raises(SeveralModels, match=r"a-Q4_K_M\.gguf \(Q4_K_M\), mmproj-b\.gguf.*--include a-Q4_K_M\.gguf"):
        bring_in(library, source(tmp_path / "m"))
    assert [version.state for version in versions_of(library, "m")] == ["failed"]
    chosen, _ = bring_in(library, FolderSource(FolderUri(tmp_path / "m"), include=["a-Q4_K_M.gguf"]), name="chosen")
    assert chosen.parts == Parts(FilePath("a-Q4_K_M.gguf"))


def test_an_adapter_alone_is_refused_with_the_reason(hub: Hub, library: Library) -> None:
    header = json.dumps({"q.lora_A.weight": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    hub.repo("org/lora").commit(
        {
            "adapter_model.safetensors": struct.pack("<Q", len(header)) + header + b"\0" * 8,
            "adapter_config.json": b'{"base_model_name_or_path": "org/base"}',
        }
    )
    with pytest.raises(NoModelAmong, match=r"adapter_model\.safetensors \(adapter\).*base model"):
        bring_in(library, hub_source(hub, "org/lora"))


def test_the_folder_is_the_model_in_safetensors_and_adapters_are_listed(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors(640))
    write(tmp_path / "m" / "style" / "adapter_model.safetensors", safetensors(64))
    version, _ = bring_in(library, source(tmp_path / "m"))
    assert version.parts == Parts(None, adapters=(FilePath("style/adapter_model.safetensors"),))
    assert version.facts.parameters == 640


def test_what_lies_in_place_has_its_parts_too(library: Library, tmp_path: Path) -> None:
    split_set(tmp_path / "mnt" / "set")
    write(tmp_path / "mnt" / "set" / "mmproj.gguf", gguf(640, **{"general.architecture": "clip"}))
    version = register(mounted(library, tmp_path / "mnt"), SET)
    assert version.parts == Parts(FilePath("m-Q4_K_M-00001-of-00002.gguf"), (FilePath("mmproj.gguf"),))
    assert version.facts.context_length == 4096


def first_form(library: Library, version: Version) -> Version:
    """The version as the catalog has it if the first form of images made it."""
    with library.catalog.reading() as connection:
        files = versions.files(connection, P, version.id)
    assert version.format is not None
    image = pack_in_first_form(version.format, files, [Facts(parameters=640, precision="U8")])
    for content in (image.config, image.manifest):
        library.store.put(content)
    with library.catalog.writing() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        for table, column in (("version", "image"), ("image", "digest"), ("image_file", "image"), ("image_at", "image")):
            change = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
            connection.exec_driver_sql(change, (str(image.digest), str(version.image)))
        config = (str(Digest.of(image.config)), str(image.digest))
        connection.exec_driver_sql("UPDATE image SET config = ? WHERE digest = ?", config)
        return versions.get(connection, P, version.id)


@pytest.mark.parametrize("stored", [True, False], ids=["with its manifest", "made again"])
def test_an_image_of_the_first_form_is_built_with_the_digest_that_is_recorded(
    library: Library, tmp_path: Path, stored: bool
) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors(640))
    write(tmp_path / "m" / "config.json", b'{"model_type": "llama"}')
    today, _ = bring_in(library, source(tmp_path / "m"))
    old = first_form(library, today)
    assert old.image is not None
    assert old.image != today.image
    if not stored:
        library.store.path_of(old.image).chmod(0o600)
        library.store.path_of(old.image).write_bytes(b"{}")
    assert building.rebuild(library, P, old.ref).digest == old.image


def test_an_image_of_today_is_made_again_from_its_files(library: Library, registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", gguf(3200), adapter=gguf(640, 4, **ADAPTER), template="t")
    version, _ = bring_in(library, ollama_source(registry))
    with library.catalog.reading() as connection:
        files: tuple[PackedFile, ...] = versions.files(connection, P, version.id)
    assert building.make_again(library, version, files).digest == version.image
