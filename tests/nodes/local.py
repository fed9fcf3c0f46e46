"""What only a test may know of the local node: its folders and its processes."""

from __future__ import annotations

import json
from pathlib import Path

from modelshelf.catalog.instances import Instance
from modelshelf.library.opening import Library
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.processes import Process


def node_of(library: Library) -> LocalNode:
    assert isinstance(library.node, LocalNode)
    return library.node


def handled(handle: str | None) -> Process:
    """Return the first process that a handle names."""
    assert handle is not None
    return Process(**json.loads(handle))


def own_folder(library: Library, instance: Instance) -> Path:
    return library.node.own_folder(instance.label)


def log_file(library: Library, instance: Instance) -> Path:
    return own_folder(library, instance) / "engine.log"


def key_file(library: Library, instance: Instance) -> Path:
    return own_folder(library, instance) / "key"
