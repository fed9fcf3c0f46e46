"""Which GGUF files of a source make one model: one quantisation of it, whole, with the companions that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from modelshelf.errors import ChooseModel, ChooseQuantization, NotWhole, OnlyInPieces, UnknownQuantization
from modelshelf.formats.weights import (
    is_adapter,
    is_draft,
    is_importance_matrix,
    is_projector,
    missing_shards,
    quantization_of,
    shard_of,
    spelled,
    stem_of,
    suffix_of,
    unsharded,
)
from modelshelf.sources.asking import Asked
from modelshelf.words import enumerated

_SHOWN = 40
_COMMANDS = 8
_BY_PRECISION = ("F16", "BF16", "Q8_0", "F32")
"""Of several projectors, llama.cpp's own converter makes F16 unless told otherwise."""
_ANOTHER = "another form of the weights"

Groups = dict[str | None, dict[str, list[str]]]
"""Files by quantisation, then by the model that their stems name."""


def choose_gguf(sizes: Mapping[str, int], asked: Asked, pieces: Sequence[str] = ()) -> tuple[set[str], dict[str, str]]:
    """Return which of these GGUF files are taken, and why the others are not. `sizes` in bytes.

    `pieces` are files that only together are one. Raises ChooseQuantization, ChooseModel, UnknownQuantization, OnlyInPieces and
    NotWhole.
    """
    left = {name: "the importance matrix of a quantisation" for name in sizes if is_importance_matrix(name)}
    models, companions = _apart([name for name in sizes if name not in left] or list(sizes))
    groups = _grouped(models)
    model = _model(groups, sizes, asked, pieces)
    taken = set(_whole(model, asked))
    others = {stem for by_stem in groups.values() for stem in by_stem} - {_stem(model[0])}
    for files in companions:
        taken |= _with_it(files, model[0], others, {_folder(name) for name in models if _stem(name) in others})
    for name in sizes.keys() - taken - left.keys():
        left[name] = _ANOTHER
    return taken, {name: reason for name, reason in left.items() if name not in taken}


def _apart(names: list[str]) -> tuple[list[str], list[list[str]]]:
    """Split models from what goes with them. Where nothing but companions is there, they are the models."""
    companions = []
    for accompanies in (is_projector, is_adapter, is_draft):
        found = [name for name in names if accompanies(name)]
        rest = [name for name in names if name not in found]
        if found and rest:
            companions.append(found)
            names = rest
    return names, companions


def _grouped(models: Iterable[str]) -> Groups:
    groups: Groups = {}
    for name in sorted(models):
        groups.setdefault(quantization_of(name), {}).setdefault(_stem(name), []).append(name)
    return groups


def _model(groups: Groups, sizes: Mapping[str, int], asked: Asked, pieces: Sequence[str]) -> list[str]:
    """Return the files of the one model that is asked for, in every form that they have."""
    choices = _choices(groups, sizes)
    example = asked.command(_example(groups))
    if asked.wanted is not None:
        if suffix_of(asked.wanted) == ".gguf":
            named = _named(sizes, asked.wanted)
            if named is None:
                raise _unknown(asked, [name for name in pieces if asked.wanted.casefold() in name.casefold()], choices, example)
            return [name for name in sizes if (unsharded(name), _count(name)) == (unsharded(named), _count(named))]
        if spelled(asked.wanted) not in groups:
            own = [name for name in pieces if quantization_of(name) == spelled(asked.wanted)]
            raise _unknown(asked, own, choices, example)
        by_stem = groups[spelled(asked.wanted)]
    elif len(groups) > 1:
        raise ChooseQuantization(what=asked.what, choices=choices, example=example)
    else:
        (by_stem,) = groups.values()
    if len(by_stem) > 1:
        files = [files[0] for files in by_stem.values()]
        commands = enumerated([f"`{asked.command(name)}`" for name in files], _COMMANDS)
        raise ChooseModel(what=asked.what, choices=_choices({None: by_stem}, sizes), commands=commands)
    (files,) = by_stem.values()
    return files


def _unknown(asked: Asked, pieces: Sequence[str], choices: str, example: str) -> OnlyInPieces | UnknownQuantization:
    """Return the refusal of what is not there; where the publisher has it in `pieces`, with these."""
    if pieces:
        files = enumerated(pieces, 10)
        return OnlyInPieces(what=asked.what, wanted=asked.wanted, files=files, choices=choices, example=example)
    return UnknownQuantization(what=asked.what, wanted=asked.wanted, choices=choices, example=example)


def _named(names: Iterable[str], wanted: str) -> str | None:
    """Return the file that is called so by its path, else by its last part if that is one file's alone."""
    by_path = [name for name in names if name.casefold() == wanted.casefold()]
    by_name = [name for name in names if name.rpartition("/")[2].casefold() == wanted.casefold()]
    found = [name for name in by_path if name == wanted] or by_path or by_name
    return found[0] if len(found) == 1 else None


def _choices(groups: Groups, sizes: Mapping[str, int]) -> str:
    shown = []
    for quantization, by_stem in sorted(groups.items(), key=lambda item: item[0] or "~"):
        for files in by_stem.values():
            label = quantization if quantization is not None and len(by_stem) == 1 else files[0]
            shown.append(f"{label} ({sum(sizes[name] for name in files):,} bytes)")
    return enumerated(shown, _SHOWN) or "none"


def _example(groups: Groups) -> str | None:
    """Return a spelling that chooses one model: a quantisation that one model has, else a file."""
    for single in (True, False):
        for quantization in ("Q4_K_M", "Q8_0", *sorted(name for name in groups if name is not None), None):
            by_stem = groups.get(quantization, {})
            if not by_stem or (single and (quantization is None or len(by_stem) > 1)):
                continue
            files = next((files for files in by_stem.values() if not _missing(_best(files))), None)
            if files is not None:
                return quantization if single else files[0]
    return None


def _whole(files: Sequence[str], asked: Asked) -> list[str]:
    """Return one form of a model's files: the whole file, else the smallest set that is whole. Raises NotWhole."""
    chosen = _best(files)
    if missing := _missing(chosen):
        whose = f"its own count (`{chosen[0].rpartition('/')[2]}`)"
        raise NotWhole(what=asked.what, whose=whose, missing=enumerated(missing, 10))
    return chosen


def _best(files: Sequence[str]) -> list[str]:
    forms: dict[tuple[str, int], list[str]] = {}
    for name in sorted(files):
        forms.setdefault((unsharded(name), _count(name)), []).append(name)
    return min(forms.values(), key=lambda form: (bool(_missing(form)), _count(form[0]), form[0]))


def _missing(form: Sequence[str]) -> list[str]:
    return missing_shards(form) if _count(form[0]) else []


def _with_it(files: Sequence[str], model: str, others: set[str], their_folders: set[str]) -> set[str]:
    """Return the companions of one kind that go with `model`: one precision of each, and none that is another model's."""
    bare, own_stem = {name: _companion_stem(name) for name in files}, _words(_stem(model))
    other_stems = {_words(stem) for stem in others}

    def is_anothers(name: str) -> bool:
        elsewhere = _folder(name) != "" and _folder(name) != _folder(model) and _folder(name) in their_folders
        return bare[name] != own_stem and (bare[name] in other_stems or elsewhere)

    def rank(name: str) -> tuple[bool, bool, int, str]:
        precision = quantization_of(name) or ""
        order = [quantization_of(model) if is_draft(name) else "F16", *_BY_PRECISION]
        known = order.index(precision) if precision in order else len(order)
        return bare[name] != own_stem, _folder(name) != _folder(model), known, name

    own = [name for name in files if not is_anothers(name)]
    if all(is_adapter(name) for name in own):  # each adapter is something of its own, its precisions are not
        stems = {stem_of(name) for name in own}
        return {min((name for name in own if stem_of(name) == stem), key=rank) for stem in stems}
    return {min(own, key=rank)} if own else set()


def _companion_stem(name: str) -> str:
    """Return the stem of the model that a companion's name speaks of: empty for `mmproj-F16.gguf`."""
    kinds: Sequence[Callable[[str], bool]] = (is_projector, is_adapter, is_draft)
    folder, slash, last = _words(_stem(name)).rpartition("/")
    return folder + slash + "-".join(word for word in last.split("-") if not any(is_kind(word) for is_kind in kinds))


def _words(stem: str) -> str:
    return re.sub(r"[._ ]", "-", stem)


def _stem(name: str) -> str:
    return stem_of(name).casefold()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _count(name: str) -> int:
    shard = shard_of(name)
    return shard.count if shard is not None else 0
