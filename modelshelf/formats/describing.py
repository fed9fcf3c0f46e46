"""What the files of a version say together: which of them is the model, and what is known of it.

Headers decide, names only where a header says nothing or where two models remain.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from modelshelf.errors import NoModelAmong, SeveralModels, ShardsMissing
from modelshelf.formats import category, weights
from modelshelf.formats.configuration import Read, complete
from modelshelf.formats.kinds import Facts, Format, Header, PartKind
from modelshelf.formats.parts import Parts
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath

Layers = Mapping[FilePath, PartKind]
"""What a manifest calls its files, where there is one that does."""


_ADAPTER_FILES = frozenset({"adapter_model.safetensors", "pytorch_lora_weights.safetensors"})
"""What PEFT and diffusers call an adapter."""


@dataclass(frozen=True, slots=True)
class Description:
    """The parts of a version; what the headers of the model say; and the licences that any header names."""

    parts: Parts
    facts: Facts
    license: str | None


def describe(format: Format, headers: Mapping[FilePath, Header], layers: Layers, *, what: object, command: str) -> Description:
    """Decide by the headers of all weights.

    `what` and `command` (`modelshelf import SOURCE`) are for the messages of NoModelAmong, SeveralModels and ShardsMissing.
    """
    kinds = {path: layers.get(path) or header.kind or _kind_by_name(path) for path, header in headers.items()}
    of_kind = {kind: tuple(sorted(path for path in kinds if kinds[path] is kind)) for kind in PartKind}
    groups = _groups(of_kind[PartKind.MODEL], whole=format is not Format.GGUF)
    drafts = list(of_kind[PartKind.DRAFT])
    if len(groups) > 1:
        named = [name for name in groups if weights.is_draft(name)]
        if len(named) < len(groups):
            drafts += [_in_order(groups.pop(name), headers)[0] for name in named]
    if len(groups) > 1:
        raise SeveralModels(
            what=what,
            choices=", ".join(_called(groups[name], headers) for name in sorted(groups)),
            example=f"{command} --include {shlex.quote(_pattern(groups[min(groups)]))}",
        )
    if not groups:
        found = ", ".join(f"{path} ({kinds[path]})" for path in sorted(kinds)) or "none"
        raise NoModelAmong(what=what, found=found)
    (model,) = (_in_order(paths, headers) for paths in groups.values())
    _require_whole(model, headers, what)
    return Description(
        Parts(
            model=model[0] if format is not Format.SAFETENSORS else None,
            projectors=of_kind[PartKind.PROJECTOR],
            adapters=of_kind[PartKind.ADAPTER],
            drafts=tuple(drafts),
        ),
        merge([headers[path].facts for path in model]),
        ", ".join(sorted({header.facts.license for header in headers.values() if header.facts.license})) or None,
    )


def known(description: Description, format: Format, paths: Collection[FilePath], read: Read, limits: Limits = DEFAULT) -> Facts:
    """Return what headers, configuration and card together say of the model; the header's word counts first."""
    facts = description.facts
    if format is Format.SAFETENSORS:
        facts = complete(facts, paths, read, limits)
    return replace(facts, category=category.recognise(facts.category, facts, paths, read, limits))


def merge(told: Sequence[Facts]) -> Facts:
    """Merge what the files of one model say, field by field: parameters add up, else the first that says anything counts."""
    firsts: dict[str, Any] = {
        field.name: next((value for facts in told if (value := getattr(facts, field.name)) is not None), None)
        for field in fields(Facts)
    }
    counted = [facts.parameters for facts in told if facts.parameters is not None]
    firsts["parameters"] = sum(counted) if counted else None
    firsts["chat_template"] = any(facts.chat_template for facts in told)
    return Facts(**firsts)


def _kind_by_name(path: FilePath) -> PartKind:
    if path.suffix == ".safetensors":
        return PartKind.ADAPTER if path.name in _ADAPTER_FILES else PartKind.MODEL
    if weights.is_importance_matrix(str(path)):
        return PartKind.OTHER
    if weights.is_projector(str(path)):
        return PartKind.PROJECTOR
    return PartKind.ADAPTER if weights.is_adapter(str(path)) else PartKind.MODEL


def _groups(models: Sequence[FilePath], *, whole: bool) -> dict[str, list[FilePath]]:
    """The files of each model; all of them are one where the `whole` folder is the model."""
    groups: dict[str, list[FilePath]] = {}
    for path in models:
        groups.setdefault("" if whole else weights.unsharded(str(path)), []).append(path)
    return groups


def _in_order(paths: Sequence[FilePath], headers: Mapping[FilePath, Header]) -> list[FilePath]:
    """The shard that carries what is said of all first; without numbers, the one with most parameters."""

    def place(path: FilePath) -> tuple[int, int, str, str]:
        header, shard = headers[path], weights.shard_of(str(path))
        number = header.shard if header.shard is not None else shard.number if shard is not None and header.shards > 1 else 0
        return number, -(header.facts.parameters or 0), str(header.facts), str(path)

    return sorted(paths, key=place)


def _require_whole(model: Sequence[FilePath], headers: Mapping[FilePath, Header], what: object) -> None:
    """Raise ShardsMissing unless each number of the set, by the headers, is there: the same shard twice is not two of them."""
    shards = max(headers[path].shards for path in model)
    numbers = [headers[path].shard for path in model]
    found = len({number for number in numbers if number is None or number < shards}) if None not in numbers else len(model)
    if found < shards:
        raise ShardsMissing(what=what, found=found, expected=shards, file=model[0])


def _called(paths: Sequence[FilePath], headers: Mapping[FilePath, Header]) -> str:
    first = _in_order(paths, headers)[0]
    quantization = headers[first].facts.quantization
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{first}{more}" + (f" ({quantization})" if quantization else "")


def _pattern(paths: Sequence[FilePath]) -> str:
    """A shell pattern that matches just these files of one model."""
    first = str(min(paths)).replace("[", "[[]")
    return first if len(paths) == 1 else re.sub(r"[0-9]+(?=-of-[0-9]+\.)", "*", first)
