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

_MODEL, _TOKENIZER, _TEMPLATE = FilePath("config.json"), FilePath("tokenizer_config.json"), FilePath("chat_template.jinja")
_CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
_LETTERS = 80


def complete(facts: Facts, paths: Collection[FilePath], read: Callable[[FilePath], bytes], limits: Limits = DEFAULT) -> Facts:
    """The facts, and what configuration among `paths` adds to them; what a header said stays."""
    model = _object(_MODEL, paths, read, limits)
    tokenizer = _object(_TOKENIZER, paths, read, limits)
    kind = model.get("model_type")
    text = model["text_config"] if isinstance(model.get("text_config"), dict) else {}
    lengths = [value for said in (model, text) for key in _CONTEXT if isinstance(value := said.get(key), int) and value > 0]
    return replace(
        facts,
        architecture=facts.architecture or (kind[:_LETTERS] if isinstance(kind, str) and kind.isprintable() and kind else None),
        context_length=facts.context_length or (lengths[0] if lengths else None),
        chat_template=facts.chat_template or bool(tokenizer.get("chat_template")) or _TEMPLATE in paths,
    )


def _object(path: FilePath, paths: Collection[FilePath], read: Callable[[FilePath], bytes], limits: Limits) -> dict[str, Any]:
    """Its content; empty if it is not there, or nothing that we would read: what is unknown is not guessed."""
    if path not in paths:
        return {}
    found = read_leniently(read(path), limits)
    return found.value if found is not None and isinstance(found.value, dict) else {}
