"""The store and its disk."""

from __future__ import annotations

from modelshelf.failures import Refused


class BlobMissing(Refused):
    """The store {store} does not hold {digest}. Nothing was changed. Import its source again (`modelshelf import`): that
    fetches it."""


class ContentElsewhere(Refused):
    """The content of {what} is kept by {holders}, which the node {here} cannot reach. Nothing was copied. Use a node that holds
    it: so far, content is copied between nodes of one machine."""


class BlobDamaged(Refused):
    """{file} of {what} is damaged in the store ({digest}): {reason}. Nothing was changed. `modelshelf import {source}`
    fetches it again and replaces it."""


class StoreDamaged(Refused):
    """{path} in the store is not as modelshelf left it: {reason}. Nothing in it was used. Move a file, folder or link that
    does not belong there away, and import the model again; `modelshelf audit` reports what else is damaged."""


class DiskFull(Refused):
    """{path} needs {needed} and has {free} free, of which {kept} must stay free. Nothing was stored. Free some space, or
    move the library (`MODELSHELF_HOME`)."""


class WriteFailed(Refused):
    """Writing {what} to {path} failed: {reason}. Nothing of it is visible, and the temporary file was removed. Free some
    space or repair the disk, then try again."""
