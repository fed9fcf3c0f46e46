"""The header of a safetensors file. Source: the safetensors format description and its reference reader's checks."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, BinaryIO

from modelshelf.errors import BadHeader
from modelshelf.formats.kinds import Facts, Header, PartKind
from modelshelf.limits import DEFAULT, Limits
from modelshelf.strict_json import load_json

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_LOW_RANK = (".lora_A", ".lora_B", ".lora_embedding_", ".lora_down.", ".lora_up.", ".lora.down.", ".lora.up.")


def read_safetensors(file: BinaryIO, size: int, *, name: str, limits: Limits = DEFAULT) -> Header:
    """Return what the header says. The tensors lie in the file without gap or overlap, or BadHeader is raised."""
    start = file.read(8)
    if len(start) < 8:
        raise _broken(name, f"the file has {size} bytes")
    length = int.from_bytes(start, "little")
    if length > limits.header_bytes or length > size - 8:
        raise _broken(name, f"it states {length} bytes; the file has {size}, and at most {limits.header_bytes} are accepted")
    header = load_json(file.read(length), file=name, limits=limits)
    if not isinstance(header, dict):
        raise _broken(name, "it is not an object")
    metadata = header.pop("__metadata__", None)
    texts = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if metadata is not None and not texts:
        raise _broken(name, "__metadata__ is not a table of texts")
    return Header(_check_tensors(header, size - 8 - length, name, limits), _kind(header))


def _check_tensors(header: dict[str, Any], data_size: int, name: str, limits: Limits) -> Facts:
    if len(header) > limits.tensors:
        raise _broken(name, f"it has {len(header)} tensors, at most {limits.tensors} are accepted")
    parameters = 0
    precisions: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    for tensor, entry in header.items():
        match entry:
            case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if (
                type(begin) is int and type(end) is int  # `true` is an int for Python alone
            ):
                pass
            case _:
                raise _broken(name, f"tensor {tensor[:80]!r} has no dtype, shape and two offsets")
        if dtype not in _BITS:
            raise _broken(name, f"tensor {tensor[:80]!r} is of the unknown type {dtype[:20]!r}")
        if len(shape) > limits.tensor_dimensions or not all(type(side) is int and side >= 0 for side in shape):
            raise _broken(name, f"tensor {tensor[:80]!r} has an impossible shape")
        elements = math.prod(shape)
        if not 0 <= begin <= end <= data_size:
            raise _broken(name, f"tensor {tensor[:80]!r} is outside the file ({begin} to {end} of {data_size})")
        if elements * _BITS[dtype] != (end - begin) * 8:
            raise _broken(name, f"tensor {tensor[:80]!r} does not fill its place: {shape} of {dtype} in {end - begin} bytes")
        parameters += elements
        precisions[dtype] = precisions.get(dtype, 0) + elements
        spans.append((begin, end))
    front = 0
    for begin, end in sorted(spans):
        if begin != front:
            raise _broken(name, f"its tensors overlap or leave a gap at byte {min(begin, front)}")
        front = end
    if front != data_size:
        raise _broken(name, f"{data_size - front} bytes follow the last tensor")
    return Facts(parameters=parameters, precision=max(precisions, key=lambda dtype: precisions[dtype], default=None))


def _kind(tensors: Collection[str]) -> PartKind | None:
    """An adapter has low-rank pairs (PEFT, diffusers) and not the layers that they change."""
    pairs = any(part in name for name in tensors for part in _LOW_RANK)
    return PartKind.ADAPTER if pairs and not any(".base_layer." in name for name in tensors) else None


def _broken(name: str, reason: str) -> BadHeader:
    return BadHeader(file=name, format="safetensors", reason=reason)
