"""What only a test may know of the local node: its folders and its processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelshelf.catalog.instances import Instance
from modelshelf.library.opening import Library, local_node
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.processes import Process
from modelshelf.store.directory import DirectoryStore


def node_of(library: Library) -> LocalNode:
    assert isinstance(library.node, LocalNode)
    return library.node


def with_settings(library: Library, **changes: Any) -> Library:
    """Return the library with other settings of its machine, and with the node that this makes of it."""
    settings = replace(library.settings, **changes)
    assert isinstance(library.store, DirectoryStore)
    return replace(library, settings=settings, node_at=replace(library.node_at, node=local_node(settings, library.store)))


def handled(handle: str | None) -> Process:
    """Return the first process that a handle names."""
    assert handle is not None
    return Process(**json.loads(handle))


def own_folder(library: Library, instance: Instance) -> Path:
    return node_of(library).own_folder(instance.label)


def log_file(library: Library, instance: Instance) -> Path:
    return own_folder(library, instance) / "engine.log"


def key_file(library: Library, instance: Instance) -> Path:
    return own_folder(library, instance) / "key"
