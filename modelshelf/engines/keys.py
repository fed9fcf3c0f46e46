"""The key that an engine asks of its clients: an alphabet that no engine reads otherwise than we wrote it."""

from __future__ import annotations

import re

from modelshelf.errors import BadSetting

_USABLE = re.compile(r"[A-Za-z0-9][!-+\--~]{0,199}", re.ASCII)
"""Printable ASCII without spaces and commas. llama-server reads `#` at the start of a line in its key file as a comment,
and then asks for no key at all; a comma separates keys in its arguments."""


def require_usable(key: str) -> str:
    """Return the key. Raises BadSetting, without the key in it."""
    if not _USABLE.fullmatch(key):
        expected = "1 to 200 printable ASCII characters without spaces and commas, beginning with a letter or digit"
        raise BadSetting(where="the engine key", reason=f"expected {expected}; `modelshelf login engine NAME` stores another")
    return key
