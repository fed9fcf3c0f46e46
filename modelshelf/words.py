"""How figures are written for people, and read from them. Programs get the plain numbers (`--json`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)


def said_bytes(count: int) -> str:
    """`253.1 MB`: decimal units, as disks and networks are sold."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def read_bytes(text: str) -> int:
    """Return the bytes that a person wrote: `20GB`, `1.5 TB`, `512MiB`, `1000000`. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size")
    number, unit, binary = found.groups()
    scale: int = (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " ")
    return round(float(number) * scale)


def enumerated(texts: Sequence[str], most: int = 100) -> str:
    """Return `a, b, c`; beyond `most` of them, how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def said_seconds(seconds: float) -> str:
    """`0.42 s`, `12 s`, `3 min 05 s`, `2 h 10 min`, `4 days`."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min {int(seconds % 60):02d} s"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} days"
