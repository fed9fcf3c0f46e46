"""The models inside a running instance: which it keeps, and where one is read from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelshelf.catalog import instances, versions
from modelshelf.catalog.instances import Instance
from modelshelf.digest import Digest
from modelshelf.errors import NothingToImport
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import InstanceName, ModelRef, ProjectName, Tag
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import InstanceUri

_HOST, _NAMESPACE = "registry.ollama.ai", "library"


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
    which = _keeping(library, asking, uri.instance, str(uri))
    return InstanceSource(uri, _models_folder(library, which), version=version)


def models_in(library: Library, asking: ProjectName, name: InstanceName) -> list[KeptModel]:
    """Return what the instance keeps, by name: what was mounted, pulled or made inside. It need not run."""
    which = _keeping(library, asking, name, f"instance {name}")
    kept = list(_manifests(_models_folder(library, which) / "manifests"))
    with library.catalog.reading() as connection:
        known = versions.by_pin(connection, asking, {digest.hex for _, digest, _ in kept})
    return [KeptModel(called, digest, size, known.get(digest.hex)) for called, digest, size in kept]


def _keeping(library: Library, asking: ProjectName, name: InstanceName, what: str) -> Instance:
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
    if which.engine != "ollama":
        raise NothingToImport(
            what=what, detail=f": models are made only inside Ollama instances, and this one runs {which.engine}"
        )
    return which


def _models_folder(library: Library, which: Instance) -> Path:
    return library.node.own_folder(which.label) / "models"


def _manifests(folder: Path) -> Iterator[tuple[str, Digest, int]]:
    """Yield each model's name as Ollama lists it, its digest, and its size in bytes."""
    for path in sorted(folder.glob("*/*/*/*")):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > DEFAULT.manifest_bytes:
            continue
        content = path.read_bytes()
        try:
            size = sum(int(layer["size"]) for layer in json.loads(content)["layers"])
        except (ValueError, KeyError, TypeError):  # not a manifest: Ollama does not list it either
            continue
        host, namespace, model, tag = path.relative_to(folder).parts
        front = "" if host == _HOST and namespace == _NAMESPACE else f"{namespace}/" if host == _HOST else f"{host}/{namespace}/"
        yield f"{front}{model}:{tag}", Digest.of(content), size
