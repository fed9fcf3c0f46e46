"""Where a model inside a running instance is read from."""

from __future__ import annotations

from modelshelf.catalog import instances
from modelshelf.errors import NothingToImport
from modelshelf.library.opening import Library
from modelshelf.names import ProjectName, Tag
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import InstanceUri


def source_in(library: Library, asking: ProjectName, uri: InstanceUri, version: Tag | None) -> InstanceSource:
    """The model as the instance keeps it. Raises NoSuchInstance, or NothingToImport if its engine keeps none."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, uri.instance)
    if which.engine != "ollama":
        raise NothingToImport(what=uri, detail=f": {which.engine} makes no models of its own, `--engine ollama` does")
    return InstanceSource(uri, library.node.instance_folder(which.label) / "models", version=version)
