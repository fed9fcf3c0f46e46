"""What the configuration beside safetensors says of a model, where the headers of its weights say nothing.

Source: `config.json` and `tokenizer_config.json` as the transformers library writes them. It is shown, and no part of the
image's own config: a loader reads the files themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from modelshelf.formats.kinds import Facts
from modelshelf.formats.lenient_json import read_leniently
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath

_MODEL, _TOKENIZER = FilePath("config.json"), FilePath("tokenizer_config.json")
_TEMPLATES = (FilePath("chat_template.jinja"), FilePath("chat_template.json"))
_SENTENCES = FilePath("sentence_bert_config.json")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
_LETTERS = 80
_MOST = 1 << 31
"""No context is so long: what is above stands for "no limit"."""

Read = Callable[[FilePath], bytes]
"""Gives a file of the version, whole or up to the bound of an answer."""


def complete(facts: Facts, paths: Collection[FilePath], read: Read, limits: Limits = DEFAULT) -> Facts:
    """The facts, and what configuration among `paths` adds to them; what a header said stays."""
    model = object_at(_MODEL, paths, read, limits)
    tokenizer = object_at(_TOKENIZER, paths, read, limits)
    kind = model.get("model_type")
    text = model["text_config"] if isinstance(model.get("text_config"), dict) else {}
    sentences = object_at(_SENTENCES, paths, read, limits)
    stated = [sentences.get("max_seq_length"), *(part.get(key) for part in (model, text) for key in _CONTEXT)]
    lengths = [value for value in stated if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST]
    return replace(
        facts,
        architecture=facts.architecture or (kind[:_LETTERS] if isinstance(kind, str) and kind.isprintable() and kind else None),
        context_length=facts.context_length or (lengths[0] if lengths else None),
        chat_template=facts.chat_template or bool(tokenizer.get("chat_template")) or any(path in paths for path in _TEMPLATES),
    )


def object_at(path: FilePath, paths: Collection[FilePath], read: Read, limits: Limits) -> dict[str, Any]:
    """Its content; empty if it is not there, or nothing that we would read: what is unknown is not guessed."""
    if path not in paths:
        return {}
    found = read_leniently(read(path), limits)
    return found.value if found is not None and isinstance(found.value, dict) else {}
