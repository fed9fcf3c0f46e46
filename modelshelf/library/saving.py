"""The models inside a running instance: which it keeps, and where one is read from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from modelshelf.catalog import instances, versions
from modelshelf.digest import Digest
from modelshelf.engines.table import engine_called
from modelshelf.errors import NothingToImport
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath, InstanceName, ModelRef, ProjectName, Tag
from modelshelf.nodes.contract import OwnFiles
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import InstanceUri

_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_MANIFESTS = FilePath("manifests")


@dataclass(frozen=True, slots=True)
class KeptModel:
    """One model that an instance keeps. `size` in bytes, with blobs that other models share."""

    name: str
    digest: Digest
    size: int
    version: ModelRef | None
    """The version with the same content that the project may see."""


def source_in(library: Library, asking: ProjectName, uri: InstanceUri, version: Tag | None) -> InstanceSource:
    """Return the model as the instance keeps it. Raises NoSuchInstance, or NothingToImport if its engine keeps none."""
    return InstanceSource(uri, _kept(library, asking, uri.instance, str(uri)), version=version)


def models_in(library: Library, asking: ProjectName, name: InstanceName) -> list[KeptModel]:
    """Return what the instance keeps, by name: what was mounted, pulled or made inside. It need not run."""
    kept = list(_manifests(_kept(library, asking, name, f"instance {name}")))
    with library.catalog.reading() as connection:
        known = versions.by_pin(connection, asking, {digest.hex for _, digest, _ in kept})
    return [KeptModel(called, digest, size, known.get(digest.hex)) for called, digest, size in kept]


def _kept(library: Library, asking: ProjectName, name: InstanceName, what: str) -> OwnFiles:
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
    kept = engine_called(which.engine).kept_models
    if kept is None:
        raise NothingToImport(
            what=what, detail=f": models are made only inside Ollama instances, and this one runs {which.engine}"
        )
    return library.node.own(which.label, kept)


def _manifests(kept: OwnFiles) -> Iterator[tuple[str, Digest, int]]:
    """Yield each model's name as Ollama lists it, its digest, and its size in bytes."""
    for path, length in kept.list(_MANIFESTS):
        parts = str(path).split("/")
        if len(parts) != len(("host", "namespace", "model", "tag")) or length > DEFAULT.manifest_bytes:
            continue
        with kept.open(FilePath(f"{_MANIFESTS}/{path}")) as file:
            content = file.read(DEFAULT.manifest_bytes)
        try:
            size = sum(int(layer["size"]) for layer in json.loads(content)["layers"])
        except (ValueError, KeyError, TypeError):  # not a manifest: Ollama does not list it either
            continue
        host, namespace, model, tag = parts
        front = "" if host == _HOST and namespace == _NAMESPACE else f"{namespace}/" if host == _HOST else f"{host}/{namespace}/"
        yield f"{front}{model}:{tag}", Digest.of(content), size
