"""Licences: told by the source, by the text that comes with a model, or by its header; and which of them are taken."""

from __future__ import annotations

from collections.abc import Iterable

from modelshelf.errors import LicenseRefused
from modelshelf.formats.licenses import recognise
from modelshelf.library.opening import Library


def told_by_texts(texts: Iterable[bytes]) -> str | None:
    """What these licence texts say; several are named together, None if there is none."""
    return ", ".join(sorted({name for text in texts if (name := recognise(text))})) or None


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
