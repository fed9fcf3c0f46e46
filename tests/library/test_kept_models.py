"""What an Ollama instance keeps is listed, so that it can be saved."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import NothingToImport
from modelshelf.library.opening import Library
from modelshelf.library.saving import models_in
from modelshelf.names import InstanceName
from tests.making import P, bring_in, gguf, ollama_source, record_instance, write
from tests.nodes.local import own_folder
from tests.stand_ins.ollama_registry import OllamaRegistry


def test_each_model_is_listed_with_its_id_its_size_and_whether_the_library_has_it(
    registry: OllamaRegistry, library: Library
) -> None:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(library, ollama_source(registry))
    with library.catalog.writing() as connection:
        made = record_instance(connection, library.node_id, version, "keeper", engine="ollama")
    models = own_folder(library, made) / "models/manifests"
    with library.store.open(Digest(version.resolved)) as file:
        content = file.read()
    write(models / "registry.ollama.ai/library/tiny/latest", content)
    own = json.dumps({"layers": [{"size": 5}, {"size": 7}]}).encode()
    write(models / "registry.ollama.ai/someone/mine/v1", own)
    write(models / "hf.co/org/repo/q4", own)
    write(models / "registry.ollama.ai/library/broken/latest", b"{")
    kept = {one.name: one for one in models_in(library, P, InstanceName("keeper"))}
    assert set(kept) == {"tiny:latest", "someone/mine:v1", "hf.co/org/repo:q4"}
    assert kept["tiny:latest"].version == version.ref
    assert (kept["someone/mine:v1"].size, kept["someone/mine:v1"].version) == (12, None)
    assert kept["someone/mine:v1"].digest == Digest.of(own)
    program = str(Path(sys.executable).with_name("modelshelf"))
    shown = subprocess.run([program, "models", "keeper"], capture_output=True, text=True, check=True).stdout
    assert "modelshelf save keeper hf.co/org/repo:q4" in shown


def test_an_engine_that_keeps_none_is_refused(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", gguf())
    version, _ = bring_in(library, ollama_source(registry))
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, version, "plain")
    with pytest.raises(NothingToImport, match="only inside Ollama instances"):
        models_in(library, P, InstanceName("plain"))
