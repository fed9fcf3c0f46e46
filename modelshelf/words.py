"""How figures are written for people, and read from them. Programs get the plain numbers (`--json`)."""

from __future__ import annotations

import re
import unicodedata
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
    return ", ".join(map(plain, texts[:most])) + (f" and {more} more" if more > 0 else "")


def by_reason(lines: Sequence[str], most: int = 4) -> list[str]:
    """Return lines such as `FILE: REASON` with the files of one reason in one line; beyond `most` of them, how many more."""
    files: dict[str, list[str]] = {}
    for line in lines:
        file, _, reason = line.partition(": ")
        files.setdefault(reason, []).append(file)
    return [f"{enumerated(names, most)}: {reason}" for reason, names in files.items()]


def of_project(project: object) -> str:
    """Return the option that names the project, where it is not the default one."""
    return "" if str(project) == "default" else f" --project {project}"


def counted(count: int, noun: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


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


_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode's categories of what moves a cursor, turns the direction of text, or is not seen at all."""

_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and signs of other categories that look like nothing (Unicode, "Default_Ignorable_Code_Point", and Braille's blank)."""

_MARKUP = re.compile(r"([\\`*_{}\[\]()#+\-.!|~:/@=^$\"'])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain(text: object) -> str:
    """Return a publisher's text for a terminal, a log line or a metric: one line, and nothing in it that is not shown.

    Control characters, escape sequences, marks that turn the direction of text, and line breaks become visible escapes.
    """
    return "".join(_escape(one) if unicodedata.category(one) in _UNSEEN or one in _BLANK else one for one in str(text))


def plain_lines(text: object) -> str:
    """Return text of several lines for a terminal, as `plain` does for one: line ends and tabs stay."""
    return "".join(one if one in "\n\t" else plain(one) for one in str(text))


def markdown(text: object) -> str:
    """Return a publisher's text for a page in Markdown, a cell of a table included: shown as it is, and never markup."""
    escaped = "".join(_ENTITIES.get(one, one) for one in plain(text))
    return _MARKUP.sub(r"\\\1", escaped)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def first_sentence(text: str) -> str:
    """Return what a message begins with, up to the end of its first sentence."""
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", text, maxsplit=1)[0]
