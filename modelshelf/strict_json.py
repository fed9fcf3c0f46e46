"""JSON whose bytes are addressed (manifests, indexes, headers of weights): bounded, and read by every program in the same way.

UTF-8 alone, no duplicate keys, no NaN, no huge numbers, no half of a surrogate pair. A publisher's configuration is read by
`formats.lenient_json`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from modelshelf.errors import BadJson
from modelshelf.limits import DEFAULT, Limits

_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
"""Either half, escaped: unescaped they are no UTF-8."""


def load_json(content: bytes, *, file: str, limits: Limits = DEFAULT, half_letters: bool = False) -> Any:
    """The value that `content` holds; anything that two readers could read differently raises BadJson.

    `half_letters` are taken where people's own words may be in it, cut off anywhere, and no text is kept as it is.
    """
    if len(content) > limits.header_bytes:
        raise BadJson(file=file, reason=f"it has {len(content)} bytes, at most {limits.header_bytes} are accepted")
    if (values := sum(map(content.count, (b",", b"[", b"{")))) > limits.json_values:
        raise BadJson(file=file, reason=f"it has up to {values} values, at most {limits.json_values} are accepted")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadJson(file=file, reason="an object has a key twice")
        return found

    def refuse_constant(text: str) -> NoReturn:
        raise BadJson(file=file, reason=f"{text} is not a number")

    def bounded_integer(digits: str) -> int:
        if len(digits) > limits.json_digits:
            raise BadJson(file=file, reason=f"a number has {len(digits)} digits")
        return int(digits)

    def bounded_number(digits: str) -> float:
        if math.isinf(number := float(digits)):
            raise BadJson(file=file, reason=f"{digits[:40]} is larger than any number can be")
        return number

    try:
        value = json.loads(
            content.decode(), object_pairs_hook=unique, parse_constant=refuse_constant, parse_int=bounded_integer,
            parse_float=bounded_number,
        )  # fmt: skip
    except ValueError as error:
        raise BadJson(file=file, reason=str(error)[:200]) from error
    except RecursionError as error:
        raise BadJson(file=file, reason=f"it is more than {limits.json_depth} levels deep") from error
    level, depth = [value], 0
    while level := [child for item in level if isinstance(item, dict | list) for child in _children(item)]:
        depth += 1
        if depth > limits.json_depth:
            raise BadJson(file=file, reason=f"it is more than {limits.json_depth} levels deep")
    if (
        not half_letters
        and _HALF_PAIR.search(content) is not None
        and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False))
    ):
        raise BadJson(file=file, reason="a text contains half of a surrogate pair")
    return value


def _children(item: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item
