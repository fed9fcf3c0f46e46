"""JSON that a publisher wrote for other programs, read as they read it: its form costs no fact.

Big numbers, `NaN`, `Infinity`, repeated keys, a byte order mark, UTF-16 and stray bytes are all read. Size and depth are bounded.
Manifests, indexes and headers of weights are read by `strict_json` instead: their bytes are addressed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from modelshelf.limits import DEFAULT, Limits


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds. `pairs` has every key of every object with its value, those too that a later one replaces."""

    value: Any
    pairs: tuple[tuple[str, Any], ...]


def read_leniently(content: bytes, limits: Limits = DEFAULT) -> Document | None:
    """The document, or None if this is not JSON, or is larger or deeper than `limits` allow."""
    if len(content) > limits.api_body_bytes:
        return None
    pairs: list[tuple[str, Any]] = []

    def remember(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.extend(found)
        return dict(found)

    def number(digits: str) -> int | float:
        return int(digits) if len(digits) <= limits.json_digits else float(digits)

    try:
        value = json.loads(decode(content), object_pairs_hook=remember, parse_int=number, strict=False)
    except (ValueError, RecursionError):
        return None
    return Document(value, tuple(pairs)) if _depth_is_within(value, limits.json_depth) else None


def decode(content: bytes) -> str:
    """The text in the encoding that its first bytes tell (RFC 4627, section 3), without a byte order mark."""
    return content.decode(json.detect_encoding(content), "replace").removeprefix("\ufeff")


def _depth_is_within(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        level = [child for item in level if isinstance(item, dict | list) for child in _children(item)]
        if not level:
            return True
    return False


def _children(item: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item
