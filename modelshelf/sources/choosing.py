"""Which files of a repository or folder make the model: the patterns, one quantisation, and no pickle beside safetensors."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelshelf.errors import ChooseQuantization, NothingToImport, UnknownQuantization
from modelshelf.formats.allowed import PICKLED_WEIGHTS, belongs_to_model
from modelshelf.formats.kinds import Format
from modelshelf.names import FilePath

_QUANTIZATION = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q[0-9](?:_[0-9A-Z]+)*|TQ[0-9](?:_[0-9]+)?|MXFP4(?:_MOE)?|BF16|FP?16|FP?32))(?=[-._/]|$)",
    re.IGNORECASE,
)
_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}(?=\.)")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that are taken, in the order of their paths, and what is left out, in words."""

    paths: tuple[FilePath, ...]
    format: Format
    left_out: tuple[str, ...]


def choose(
    sizes: Mapping[FilePath, int], include: Sequence[str], exclude: Sequence[str], quantization: str | None, *,
    what: object, example: str,
) -> Chosen:  # fmt: skip
    """Choose among files of these sizes in bytes. Raises ChooseQuantization, UnknownQuantization or NothingToImport."""
    paths = [path for path in sizes if belongs_to_model(path) and _matches(path, include, exclude)]
    others: list[FilePath] = []
    weights = {path: sizes[path] for path in paths if path.suffix == ".gguf"}
    if weights:
        taken = _one_quantization(weights, quantization, what, example)
        others = [path for path in paths if path.suffix in PICKLED_WEIGHTS | {".gguf", ".safetensors"} and path not in taken]
    elif any(path.suffix == ".safetensors" for path in paths):
        others = [path for path in paths if path.suffix in PICKLED_WEIGHTS or path.name.endswith(".bin.index.json")]
    chosen = sorted(path for path in paths if path not in others)
    if not chosen:
        raise NothingToImport(what=what, detail=" that matches the patterns" if include or exclude else "")
    suffixes = {path.suffix for path in chosen}
    if not suffixes & ({".gguf", ".safetensors"} | PICKLED_WEIGHTS):
        raise NothingToImport(what=what, detail=": neither GGUF nor safetensors weights are among its files")
    left_out = tuple(f"{path}: another form of the weights" for path in others)
    return Chosen(tuple(chosen), Format.GGUF if ".gguf" in suffixes else Format.SAFETENSORS, left_out)


def _one_quantization(weights: Mapping[FilePath, int], wanted: str | None, what: object, example: str) -> set[FilePath]:
    companions = {path for path in weights if "mmproj" in path.name.lower()}
    groups: dict[str, set[FilePath]] = {}
    for path in weights.keys() - companions:
        found = _QUANTIZATION.findall(_SHARD.sub("", str(path)))
        groups.setdefault(found[-1].upper() if found else path.name, set()).add(path)
    choices = ", ".join(f"{name} ({sum(weights[path] for path in group):,} bytes)" for name, group in sorted(groups.items()))
    if wanted is not None:
        if wanted.upper() not in groups:
            raise UnknownQuantization(what=what, wanted=wanted, choices=choices or "none")
        return groups[wanted.upper()] | companions
    if len(groups) > 1:
        raise ChooseQuantization(what=what, choices=choices, example=f"{example}:{min(groups)}")
    return set(weights)


def _matches(path: FilePath, include: Sequence[str], exclude: Sequence[str]) -> bool:
    included = not include or any(fnmatch.fnmatchcase(str(path), pattern) for pattern in include)
    return included and not any(fnmatch.fnmatchcase(str(path), pattern) for pattern in exclude)
