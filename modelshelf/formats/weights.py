"""What the file names of weights say: the quantisation, the shard, the model, and what only accompanies a model.

Names are paths within a repository or folder, `/` between the parts, as their publisher spells them. A name is a hint:
what a file is follows from its header. Source: the conventions of llama.cpp (`gguf-split`, "GGUF Naming Convention"),
of transformers and diffusers, and of the publishers with most downloads on the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelshelf.limits import DEFAULT

WEIGHT_SUFFIXES = frozenset({".gguf", ".safetensors"})
"""The forms of weights that are taken."""

_EDGE = r"[-._/ ()\[\]+]"
_QUANTIZATION = re.compile(
    rf"(?:^|(?<={_EDGE}))"
    r"((?:UD-)?(?:I?Q[0-9](?:_[0-9A-Z]{1,3})*|TQ[0-9](?:_[0-9]+)?|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))"
    rf"(?={_EDGE}|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"[-_]([0-9]{1,6})-of-([0-9]{1,6})(?=\.)")
_PROJECTOR = re.compile(r"mm[-_]?proj", re.IGNORECASE)
_MATRIX = re.compile(rf"(?:^|{_EDGE})i-?mat(?:rix)?(?={_EDGE}|$)", re.IGNORECASE)
_ADAPTER = re.compile(rf"(?:^|{_EDGE})(?:q?lora|adapter)s?(?={_EDGE}|$)(?!.*merged)", re.IGNORECASE)
_DRAFT = re.compile(rf"(?:^|{_EDGE})draft(?={_EDGE}|$)", re.IGNORECASE)


@dataclass(frozen=True, order=True, slots=True)
class Shard:
    """The place of one file in a set: `-00002-of-00003` is number 2 of 3."""

    number: int
    count: int


def suffix_of(name: str) -> str:
    """Return the extension, lower-case, with its dot; empty if there is none."""
    stem, dot, extension = name.rpartition("/")[2].rpartition(".")
    return f".{extension.lower()}" if dot and stem else ""


def without_suffix(name: str) -> str:
    """Return the name without the extension of weights, if it has one: a quantisation (`Q4_K.M`) stays as it is."""
    return name.rpartition(".")[0] if suffix_of(name) in WEIGHT_SUFFIXES else name


def shard_of(name: str) -> Shard | None:
    """Return the file's place in its set; None for a whole file."""
    found = _SHARD.search(name.rpartition("/")[2])
    return Shard(int(found[1]), int(found[2])) if found is not None else None


def unsharded(name: str) -> str:
    """Return the name that the set would have as one file: `a/m.gguf` for `a/m-00002-of-00003.gguf`."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + _SHARD.sub("", last)


def missing_shards(names: Sequence[str]) -> list[str]:
    """Return the names that one set lacks by its own count. All `names` are its shards. Sets count from 1, some from 0."""
    shards = sorted((shard, name) for name in names if (shard := shard_of(name)) is not None)
    first, pattern = shards[0]
    present = {shard.number for shard, _ in shards}
    start = min(first.number, 1)
    folder, slash, last = pattern.rpartition("/")
    return [
        folder + slash + _SHARD.sub(lambda found, number=number: _renumbered(found, number), last)  # type: ignore[misc]
        for number in range(start, start + min(first.count, DEFAULT.files))
        if number not in present
    ]


def quantization_of(name: str) -> str | None:
    """Return the quantisation that the name ends with, in capitals: `Q4_K_M`; of its folder, if its own name has none."""
    found = _QUANTIZATION.findall(unsharded(name))
    return spelled(found[-1]) if found else None


def spelled(quantization: str) -> str:
    """Return a quantisation as it is compared and shown: in capitals, `F16` for `fp16`."""
    return re.sub(r"^FP(?=16|32)", "F", quantization.upper())


def stem_of(name: str) -> str:
    """Return what the name says beside extension, shard and quantisation: two files of one model have one stem.

    A folder that is called as the file is (`Model-Q8_0/Model-Q8_0-00001-of-00002.gguf`) adds nothing.
    """
    quantization = quantization_of(name)
    whole = unsharded(name).removesuffix(name[len(name) - len(suffix_of(name)) :])
    bare = _QUANTIZATION.sub(lambda found: "" if spelled(found[1]) == quantization else found[1], whole)
    parts = [re.sub(rf"{_EDGE}{{2,}}", "-", part).strip("-._ ()[]+") for part in bare.split("/")]
    last = parts.pop()
    return "/".join(part for part in (*(part for part in parts if part.casefold() != last.casefold()), last) if part)


def is_projector(name: str) -> bool:
    """Return whether the file encodes images or audio for the model beside it (`mmproj`)."""
    return _PROJECTOR.search(name) is not None


def is_importance_matrix(name: str) -> bool:
    """Return whether the file is what quantising was weighed with. A model that was made with one names its quantisation."""
    return _MATRIX.search(name) is not None and quantization_of(name) is None


def is_adapter(name: str) -> bool:
    """Return whether the file is a low-rank adapter (LoRA) of the model beside it."""
    return _ADAPTER.search(name) is not None


def is_draft(name: str) -> bool:
    """Return whether the file is a smaller model that guesses ahead for the one beside it."""
    return _DRAFT.search(name) is not None


def _renumbered(found: re.Match[str], number: int) -> str:
    return f"{found[0][0]}{number:0{len(found[1])}}-of-{found[2]}"
