"""Licences: told by the source, by the text that comes with a model, or by its header; and which of them are taken."""

from __future__ import annotations

from collections.abc import Iterable

from modelshelf.digest import Digest
from modelshelf.errors import LicenseRefused
from modelshelf.formats.kinds import Role
from modelshelf.formats.licenses import TEXT_BYTES, is_license_file, recognise
from modelshelf.library.opening import Library
from modelshelf.names import FilePath


def told_by_texts(library: Library, files: Iterable[tuple[FilePath, Role, Digest]]) -> str | None:
    """What the licence texts among these stored files say; several are named together, None if there is none."""
    said = set()
    for path, role, digest in files:
        if is_license_file(path, role):
            with library.store.open(digest) as file:
                said.add(recognise(file.read(TEXT_BYTES)))
    return ", ".join(sorted(name for name in said if name)) or None


def require_allowed(library: Library, license: str | None, what: object, *, known: bool = True) -> None:
    """Raise LicenseRefused if the library takes only some licences, and this is none of them.

    `known` is false while the licence may still be told by what has not been looked at.
    """
    taken = library.settings.licenses
    if not taken or (license is None and not known):
        return
    if license is None or any(one not in taken for one in license.split(", ")):
        allowed = ", ".join(taken)
        raise LicenseRefused(what=what, license=license or "unknown", allowed=allowed, config=library.settings.config_file)
