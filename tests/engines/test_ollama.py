"""What Ollama finds in its models folder: versions with a manifest of their own, and a GGUF with one that we make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from modelshelf.digest import Digest
from modelshelf.durable import NO_LINK
from modelshelf.engines.contract import Model, Surroundings
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.ollama_models import model_of
from modelshelf.errors import BadName, NothingToServe
from modelshelf.formats.image import PackedFile, PlacedFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, ServedName
from modelshelf.nodes.layout import lay_out

NAMES = ("m.gguf", "mmproj.gguf", "lora.gguf")


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    return tmp_path / "replica"


def lay(model: Model, replica: Path, own: Path) -> None:
    lay_out(own, [replica], Ollama().layout([model]))


@pytest.fixture
def gguf(replica: Path) -> Model:
    replica.mkdir()
    for name in NAMES:
        (replica / name).write_bytes(name.encode())
    files = tuple(PackedFile(FilePath(name), Role.WEIGHT, Digest.of(name.encode()), len(name)) for name in NAMES)
    model, projector, adapter = map(FilePath, NAMES)
    parts = Parts(model, (projector,), (adapter,))
    return Model(ServedName("small"), "chat", Format.GGUF, files, parts, 512, "gemma3")


def test_a_gguf_is_laid_out_as_links_under_a_manifest_that_is_the_same_every_time(
    gguf: Model, replica: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    lay(gguf, replica, own)
    written = (own / "models/manifests/registry.ollama.ai/library/small/latest").read_bytes()
    assert Ollama().identity(gguf) == Digest.of(written).hex == Ollama().identity(replace(gguf, served_name=ServedName("other")))
    manifest = json.loads(written)
    kinds = [layer["mediaType"].removeprefix("application/vnd.ollama.image.") for layer in manifest["layers"]]
    assert kinds == ["model", "projector", "adapter"]
    for layer, name in zip(manifest["layers"], NAMES, strict=True):
        blob = own / "models/blobs" / layer["digest"].replace(":", "-")
        assert blob.samefile(replica / name), "no byte of it is copied"
        assert layer["size"] == len(name)
    configuration = (own / "models/blobs" / manifest["config"]["digest"].replace(":", "-")).read_bytes()
    assert Digest.of(configuration) == Digest.parse(manifest["config"]["digest"])
    assert json.loads(configuration)["model_family"] == "gemma3"


def test_a_second_layout_changes_nothing_and_another_version_takes_what_is_no_longer_served(
    gguf: Model, replica: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    lay(gguf, replica, own)
    before = {path: path.stat().st_ino for path in (own / "models/blobs").iterdir()}
    lay(gguf, replica, own)
    assert {path for path, inode in before.items() if path.stat().st_ino != inode} <= {
        path for path in before if path.read_bytes().startswith(b"{")
    }, "links stay"
    alone = replace(gguf, parts=Parts(FilePath("m.gguf")))
    lay(alone, replica, own)
    assert len(list((own / "models/blobs").iterdir())) == 2, "its model and its configuration"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"parts": Parts(FilePath("m-00001-of-00002.gguf"))}, "several files"),
        ({"parts": Parts(None)}, "no GGUF"),
        ({"files": (PlacedFile(FilePath("m.gguf"), Role.WEIGHT, 6, 0, None),), "parts": Parts(FilePath("m.gguf"))}, "--hash"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(gguf: Model, change: dict[str, object], reason: str) -> None:
    with pytest.raises(NothingToServe, match=reason):
        model_of(replace(gguf, **change))  # type: ignore[arg-type]


def test_what_older_versions_leave_out_is_said(gguf: Model) -> None:
    made = Ollama().command([gguf], Surroundings((PurePosixPath("/m"),), PurePosixPath("/own"), "127.0.0.1", 1), [])
    assert Ollama().left_out(gguf) == ("Ollama before 0.30 does not apply the chat template of the GGUF.",)
    assert made.environment["OLLAMA_NO_CLOUD"] == "1"


@pytest.mark.parametrize("name", ["a//b", "a/", "a:", "a/b//c", "a:b:c"])
def test_a_name_with_an_empty_part_is_refused(name: str) -> None:
    with pytest.raises(BadName, match="host/"):
        Ollama().require_names([ServedName(name)])


@pytest.mark.parametrize("number", NO_LINK)
def test_where_no_hard_link_can_be_made_a_file_is_reached_through_a_symbolic_link(
    gguf: Model, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import os

    def across(*_: object) -> None:
        raise OSError(number, "no hard link")

    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(os, "link", across)
    lay(gguf, replica, own)
    lay(gguf, replica, own)
    links = [path for path in (own / "models/blobs").iterdir() if path.is_symlink()]
    assert {path.resolve().name for path in links} == set(NAMES)
