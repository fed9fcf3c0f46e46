"""An image built again has the digest that is recorded, and its layout is whole or absent."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import NotAnEmptyFolder, Refused
from modelshelf.library import building
from modelshelf.library.opening import Library
from modelshelf.stop import Stopped, StopToken
from tests.conftest import missing
from tests.making import P, bring_in, gguf, hub_source, ollama_source, safetensors
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture(params=["ollama", "hub"])
def version(request: pytest.FixtureRequest, registry: OllamaRegistry, hub: Hub, library: Library) -> Version:
    if request.param == "ollama":
        registry.add_model("library/tiny", "1b", gguf(), template="t", params="{}")
        return bring_in(library, ollama_source(registry))[0]
    hub.repo("org/m").commit({"config.json": b"{}", "sub/model.safetensors": safetensors(), "README.md": b"# m"})
    return bring_in(library, hub_source(hub, "org/m"))[0]


def test_the_image_is_the_recorded_one_and_every_blob_is_true(library: Library, version: Version, tmp_path: Path) -> None:
    to = tmp_path / "image"
    plan = building.plan_build(library, P, version.ref, to)
    assert plan.image == version.image
    building.build(library, P, plan, StopToken())
    index = json.loads((to / "index.json").read_text())
    assert index["manifests"][0]["digest"] == str(version.image)
    blobs = list((to / "blobs" / "sha256").iterdir())
    assert len(blobs) == plan.blobs
    for blob in blobs:
        assert Digest.of(blob.read_bytes()).hex == blob.name


def test_a_place_that_is_taken_is_left_alone(library: Library, version: Version, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    for place in (tmp_path / "taken", tmp_path / "taken" / "thesis.txt", Path("relative")):
        with pytest.raises(NotAnEmptyFolder):
            building.plan_build(library, P, version.ref, place)


def test_a_damaged_store_builds_nothing(library: Library, version: Version, tmp_path: Path) -> None:
    plan = building.plan_build(library, P, version.ref, tmp_path / "image")
    largest = max(library.store.stored(), key=lambda blob: blob.size)
    path = library.store.path_of(largest.digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"wrong")
    with pytest.raises(Refused, match="sha256"):
        building.build(library, P, plan, StopToken())
    assert list(tmp_path.glob("*image*")) == []


def test_a_cancelled_build_leaves_nothing(library: Library, version: Version, tmp_path: Path) -> None:
    stop = StopToken()
    stop.set()
    with pytest.raises(Stopped):
        building.build(library, P, building.plan_build(library, P, version.ref, tmp_path / "image"), stop)
    assert list(tmp_path.glob("*image*")) == []


@pytest.mark.live
def test_another_oci_tool_reads_the_layout(library: Library, version: Version, tmp_path: Path) -> None:
    if shutil.which("skopeo") is None:
        missing("the program skopeo")
    building.build(library, P, building.plan_build(library, P, version.ref, tmp_path / "image"), StopToken())
    source = f"oci:{tmp_path / 'image'}:{version.name}"
    raw = subprocess.run(["skopeo", "inspect", "--raw", source], check=True, capture_output=True).stdout
    assert Digest.of(raw) == version.image
    copied = tmp_path / "copied"
    copy = ["skopeo", "--insecure-policy", "copy", source, f"oci:{copied}:again"]
    subprocess.run(copy, check=True, capture_output=True)
    digest = json.loads((copied / "index.json").read_text())["manifests"][0]["digest"]
    assert digest == str(version.image)
