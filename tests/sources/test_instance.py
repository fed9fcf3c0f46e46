"""What is inside an Ollama instance, read where it lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import BadManifest, NothingToImport
from modelshelf.names import InstanceName
from modelshelf.nodes.own_files import LocalFiles
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import InstanceUri, OllamaName
from modelshelf.stop import StopToken
from tests.making import write

URI = InstanceUri(InstanceName("chat"), OllamaName.parse("kimi:1t"))
CONFIG = json.dumps({"remote_host": "https://ollama.com:443", "remote_model": "kimi:1t"}).encode()


def stub(models: Path, config: bytes = CONFIG) -> InstanceSource:
    """What `ollama pull kimi:1t-cloud` leaves: a config that names where the model runs, and no layer."""
    described = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": str(Digest.of(config)),
        "size": len(config),
    }
    manifest = json.dumps({"schemaVersion": 2, "config": described, "layers": None}).encode()
    write(models / "manifests" / "registry.ollama.ai" / "library" / "kimi" / "1t", manifest)
    write(models / "blobs" / f"sha256-{Digest.of(config).hex}", config)
    return InstanceSource(URI, LocalFiles(models))


def test_a_cloud_model_in_an_instance_is_refused_for_what_it_is(tmp_path: Path) -> None:
    source = stub(tmp_path)
    with pytest.raises(NothingToImport) as refused:
        source.list_files(source.pin(StopToken()), StopToken())
    assert str(refused.value) == (
        "kimi:1t has no files to import: it is a cloud model, which runs as 'kimi:1t' at 'https://ollama.com:443', and its weights"
        " are not published."
    )


def test_a_model_without_layers_that_is_no_cloud_model_has_no_model(tmp_path: Path) -> None:
    source = stub(tmp_path, b"{}")
    with pytest.raises(NothingToImport, match="no layer with a model"):
        source.list_files(source.pin(StopToken()), StopToken())


def test_a_config_that_is_not_in_the_instance_is_named(tmp_path: Path) -> None:
    source = stub(tmp_path)
    for blob in (tmp_path / "blobs").iterdir():
        blob.unlink()
    with pytest.raises(BadManifest, match="is not in the instance"):
        source.list_files(source.pin(StopToken()), StopToken())
