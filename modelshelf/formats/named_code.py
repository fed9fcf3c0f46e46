"""Configuration that names code of the publisher: a loader that trusts it fetches that code and runs it.

Source: `auto_map` and `custom_pipelines` of transformers, `modules.json` of sentence-transformers, `_class_name` of diffusers.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

from modelshelf.errors import NamesCode
from modelshelf.formats.lenient_json import Document, decode, read_leniently
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath
from modelshelf.words import enumerated, plain

_KEYS = ("auto_map", "custom_pipelines", "custom_pipeline", "trust_remote_code")
_OTHER_FILES = frozenset({"modules.json", "model_index.json"})
_LIBRARIES = ("sentence_transformers.", "pylate.")
"""Where the modules of `modules.json` come from when they are not the publisher's own."""
_LETTERS = 200


def may_name_code(path: FilePath) -> bool:
    """Configuration that a loader reads before the weights."""
    name = path.name.lower()
    return name.endswith(".json") and ("config" in name or name in _OTHER_FILES)


def refuse_named_code(content: bytes, path: FilePath, limits: Limits = DEFAULT, *, code: Sequence[str] = ()) -> None:
    """Raise NamesCode if the configuration names code, or may: what cannot be read and has the letters of such a key.

    `code` lists the source's files of code, for the message.
    """
    if (named := named_code(content, limits)) is not None:
        raise NamesCode(file=path, named=named, files=f"; code is in {enumerated(code)}" if code else "")


def named_code(content: bytes, limits: Limits = DEFAULT) -> str | None:
    """Return what the configuration says of code, cut off after 200 letters; None if it names none."""
    if len(content) >= limits.api_body_bytes:
        return f"unknown: only files below {limits.api_body_bytes:,} bytes are searched"
    document = read_leniently(content, limits)
    named = _in_letters(content) if document is None else _in_pairs(document) or _in_modules(document)
    return plain(named[:_LETTERS]) if named is not None else None


def _in_pairs(document: Document) -> str | None:
    for key, value in document.pairs:
        if key in _KEYS and not (key == "trust_remote_code" and value in (False, None)):
            return f"{key}: {_in_words(value)}"
        if key == "_class_name" and isinstance(value, list):
            return f"{key}: {_in_words(value)}"
    return None


def _in_words(value: object) -> str:
    """Return the files and classes that a value names, whatever they are nested in, each once."""
    names: dict[str, None] = {}
    rest = deque([value])
    while rest:
        match rest.popleft():
            case dict(inner):
                rest.extendleft(reversed(inner.values()))
            case list(inner):
                rest.extendleft(reversed(inner))
            case None | "":
                pass
            case bool(switch):
                names[str(switch).lower()] = None
            case other:
                names[str(other)] = None
    return ", ".join(names) or "nothing"


def _in_modules(document: Document) -> str | None:
    for module in document.value if isinstance(document.value, list) else ():
        kind = module.get("type") if isinstance(module, dict) else None
        if kind is not None and not (isinstance(kind, str) and kind.startswith(_LIBRARIES)):
            return f"type: {kind}"
    return None


def _in_letters(content: bytes) -> str | None:
    letters = re.sub(r"\\u([0-9a-fA-F]{4})", lambda escaped: chr(int(escaped[1], 16)), decode(content).replace("\0", ""))
    return next((f"{key}, in a file that is not JSON" for key in _KEYS if key in letters), None)
