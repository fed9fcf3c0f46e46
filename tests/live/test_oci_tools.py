"""What other OCI tools make of an image that was built: a registry takes it, and `oras pull` gets every file by its name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.library import building
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken
from tests.bench import downloads
from tests.live.test_real_servers import program, server
from tests.making import P, bring_in, gguf, hub_source, ollama_source, safetensors
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@pytest.fixture
def registry_port(tmp_path: Path) -> Iterator[int]:
    port = downloads._free_port()
    config = tmp_path / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": f"127.0.0.1:{port}"}}))
    with server([program("docker-registry", "/usr/bin/docker-registry"), "serve", str(config)], port):
        yield port


@pytest.mark.parametrize("kind", ["ollama", "hub"])
def test_a_registry_takes_a_built_image_and_oras_gets_every_file_by_its_name(
    kind: str, library: Library, registry: OllamaRegistry, hub: Hub, registry_port: int, tmp_path: Path
) -> None:
    skopeo, oras = program("skopeo"), program("oras")
    same = safetensors(640)
    files = {"config.json": b"{}", "a/model.safetensors": safetensors(), "b/model.safetensors": same, "c/again.safetensors": same}
    registry.add_model("library/tiny", "1b", gguf(), template="t", license="mit")
    hub.repo("org/m").commit({**files, "README.md": b"# m\n"})
    version, _ = bring_in(library, ollama_source(registry) if kind == "ollama" else hub_source(hub, "org/m"))
    building.build(library, P, building.plan_build(library, P, version.ref, tmp_path / "image"), StopToken())

    name = f"127.0.0.1:{registry_port}/models/m:v1"
    copy = [skopeo, "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{tmp_path / 'image'}:{version.name}"]
    subprocess.run([*copy, f"docker://{name}"], check=True, capture_output=True)
    raw = subprocess.run(
        [skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{name}"], check=True, capture_output=True
    ).stdout
    assert Digest.of(raw) == version.image
    subprocess.run([oras, "pull", "--plain-http", "-o", str(tmp_path / "pulled"), name], check=True, capture_output=True)

    pulled = {
        str(path.relative_to(tmp_path / "pulled")): Digest.of(path.read_bytes())
        for path in (tmp_path / "pulled").rglob("*")
        if path.is_file()
    }
    manifest = json.loads(raw)
    assert pulled == {
        layer["annotations"]["org.cncf.model.filepath"]: Digest.parse(layer["digest"]) for layer in manifest["layers"]
    }
    assert len(pulled) == 5, "no file is left out"
