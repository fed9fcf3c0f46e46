"""The versions of an instance as its engine is given them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelshelf.catalog import places, versions
from modelshelf.digest import Digest
from modelshelf.engines.contract import Model
from modelshelf.engines.ollama_layers import MANIFEST
from modelshelf.errors import ReplicaGone
from modelshelf.formats.image import ModelFile
from modelshelf.library import registering
from modelshelf.library.launching.contents import contents_of
from modelshelf.library.launching.request import Serves
from modelshelf.library.opening import Library
from modelshelf.names import FilePath, ProjectName


@dataclass(frozen=True, slots=True)
class Placed:
    """A version to be served, and where its files are: the image of a replica, or the folder in which it lies in place."""

    model: Model
    where: Digest | Path


def models_of(library: Library, asking: ProjectName, serves: Serves, *, laid_out: bool = True) -> tuple[Placed, ...]:
    """Return each version as an engine is given it. Raises NotReady for a version whose content is gone.

    If its files have to be `laid_out`, raises ReplicaGone, or what `require_here` raises, where they are not.
    """
    found = []
    with library.catalog.reading() as connection:
        for target, served in serves:
            versions.require_ready(target)
            files: tuple[ModelFile, ...]
            contents: dict[FilePath, bytes] = {}
            where: Digest | Path
            if target.in_place:
                at = places.of(connection, target)
                files, where = at.files, registering.require_here(library, target, at)
            else:
                packed = versions.files(connection, asking, target.id)
                if target.image is None or (laid_out and not library.node.replicas.holds(target.image, packed)):
                    raise ReplicaGone(what=target.ref)
                files, where = packed, target.image
                manifest = next((file.digest for file in packed if file.path == MANIFEST), None)
                contents = contents_of(library, manifest) if laid_out and manifest is not None else {}
            if target.format is not None:
                known = target.parts, target.facts.context_length, target.facts.architecture
                found.append(Placed(Model(served, target.category, target.format, files, *known, contents), where))
    return tuple(found)
