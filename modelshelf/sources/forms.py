"""Which safetensors files of a folder make one model: one form of its weights, whole by its own index."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from modelshelf.errors import BadJson, NotWhole, UnknownQuantization
from modelshelf.formats.allowed import refuse_pointer
from modelshelf.formats.weights import is_adapter, missing_shards, quantization_of, shard_of, spelled, stem_of, unsharded
from modelshelf.sources.asking import Asked
from modelshelf.strict_json import load_json
from modelshelf.words import enumerated

INDEX = re.compile(r"(?P<stem>.+)\.safetensors\.index(?P<variant>\.[^./]+)?\.json")
"""The index of a set in several files, as transformers and diffusers write it."""

_LOADED = ("model", "diffusion_pytorch_model", "pytorch_model")
"""What transformers and diffusers load from a folder, by its name without variant."""
_ANOTHERS_FORM = ("consolidated", "open_clip_model", "open_clip_pytorch_model", "tf_model", "flax_model")
"""The same weights for other programs: mistral's own, OpenCLIP."""
_VARIANT = re.compile(
    r"[-._](?:fp8(?:_e[0-9]m[0-9](?:fn)?)?|float8|int4|int8|[48]-?bit|ema|non_ema|quantized)(?=[-._]|$)", re.IGNORECASE
)
_ANOTHER = "another form of the weights"
_DIFFUSERS = "model_index.json"
"""Lists the components of a pipeline, each in a folder of its own."""

Read = Callable[[str], bytes]
"""Return the content of one of the source's small files."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One complete set of weights, or what is there of it. `index` lists its files, if it has one that is not stale."""

    files: tuple[str, ...]
    missing: tuple[str, ...]
    name: str
    index: str | None = None

    @property
    def whose(self) -> str:
        return f"its index `{self.index}`" if self.index else f"its own count (`{self.files[0].rpartition('/')[2]}`)"


def choose_safetensors(names: Sequence[str], others: Sequence[str], asked: Asked, read: Read) -> tuple[set[str], dict[str, str]]:
    """Return which of the safetensors files `names` and of their indexes (among `others`) are taken, and why the rest is not.

    One folder is one component of a model, and each has its own weights. Indexes are read. Raises NotWhole, UnknownQuantization.
    """
    taken: set[str] = set()
    left: dict[str, str] = {}
    indexes = [name for name in others if INDEX.fullmatch(name)]
    if asked.wanted is not None:
        _require_known(names, asked)
    components = {_folder(name) for name in names} - {""}
    for folder in sorted({_folder(name) for name in [*names, *indexes]}):
        here = [name for name in names if _folder(name) == folder]
        if folder == "" and components and _DIFFUSERS in others:
            here = [name for name in here if is_adapter(name)]  # the rest is the whole pipeline in one file, for other programs
        listed, stale = _read_indexes([name for name in indexes if _folder(name) == folder], set(names), read)
        left |= stale
        for family in _families(here, listed, set(names)):
            form = _best(family, asked)
            if form.missing:
                raise _not_whole(form, asked)
            taken |= {*form.files} | ({form.index} if form.index else set())
    left |= {name: _ANOTHER for name in (*names, *indexes) if name not in taken and name not in left}
    return taken, left


def _read_indexes(indexes: Sequence[str], present: set[str], read: Read) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the files that each index lists, and why those indexes are left out of whose files none is there."""
    listed, stale = {}, {}
    for index in indexes:
        files = files_of_index(read(index), index)
        if present.isdisjoint(files):
            stale[index] = f"stale: none of the {len(files)} files that it lists exist"
        else:
            listed[index] = files
    return listed, stale


def files_of_index(content: bytes, name: str) -> list[str]:
    """Return the files that an index lists, as paths beside it. Raises BadJson, LargeFilePointer."""
    refuse_pointer(content, name)
    match load_json(content, file=name):
        case {"weight_map": dict(weight_map)} if all(isinstance(file, str) for file in weight_map.values()):
            folder = _folder(name)
            return sorted({f"{folder}/{file}" if folder else file for file in weight_map.values()})
    raise BadJson(file=name, reason="an index needs a `weight_map` from tensors to files")


def _families(names: Sequence[str], listed: Mapping[str, Sequence[str]], present: Set[str]) -> list[list[_Form]]:
    """Return the forms in one folder, those of the same weights together. `present` are the files of all folders."""
    forms = [
        _Form(
            files=tuple(file for file in files if file in present),
            missing=tuple(file for file in files if file not in present),
            name=INDEX.sub(r"\g<stem>\g<variant>", _last(index)),
            index=index,
        )
        for index, files in listed.items()
    ]
    sets: dict[tuple[str, int], list[str]] = {}
    for name in sorted(names):
        shard = shard_of(name)
        sets.setdefault((unsharded(name), shard.count if shard is not None else 0), []).append(name)
    in_index = {name for form in forms for name in form.files}
    for (whole, count), files in sorted(sets.items()):
        if not count and files[0] in in_index and _family(files[0]) not in _LOADED:
            continue  # a part with a name of its own: its index takes it
        if not in_index.issuperset(files) or not count:
            missing = tuple(missing_shards(files)) if count else ()
            forms.append(_Form(tuple(files), missing, _last(whole).removesuffix(".safetensors")))
    families: dict[str, list[_Form]] = {}
    loaded = any(_family(form.name) in _LOADED for form in forms)
    for form in forms:
        family = _family(form.name)
        same = family in _LOADED or (loaded and family in _ANOTHERS_FORM)
        families.setdefault("model" if same else family, []).append(form)
    return list(families.values())


def _best(family: Sequence[_Form], asked: Asked) -> _Form:
    """Return the form to take: the one that is asked for, else the one that loaders look for first, whole before broken."""

    def rank(form: _Form) -> tuple[bool, bool, bool, bool, bool, int, str]:
        wanted = asked.wanted is not None and not _is_wanted(form, asked.wanted)
        by_index = form.index is None and len(form.files) > 1
        return (
            wanted,
            bool(form.missing),
            _family(form.name) in _ANOTHERS_FORM,
            _is_variant(form.name),
            by_index,
            0 if form.index else len(form.files),
            form.name,
        )

    return min(family, key=rank)


def _is_wanted(form: _Form, wanted: str) -> bool:
    if wanted.endswith(".safetensors"):
        return any(wanted in (file, _last(file)) for file in form.files)
    return spelled(wanted) == quantization_of(f"{form.name}.safetensors")


def _require_known(names: Sequence[str], asked: Asked) -> None:
    wanted = str(asked.wanted)
    quantizations = {quantization for name in names if (quantization := quantization_of(_last(name))) is not None}
    if wanted.endswith(".safetensors"):
        known = any(wanted in (name, _last(name)) for name in names)
    else:
        known = spelled(wanted) in quantizations
    if not known:
        choices = "its safetensors as they are" + (f", and {enumerated(sorted(quantizations))}" if quantizations else "")
        raise UnknownQuantization(what=asked.what, wanted=wanted, choices=choices, example=asked.command())


def _not_whole(form: _Form, asked: Asked) -> NotWhole:
    return NotWhole(what=asked.what, whose=form.whose, missing=enumerated(form.missing, 10))


def _family(name: str) -> str:
    """Return the name without variant: `model` for `model.fp16`, `flux1-dev` for `flux1-dev-fp8`."""
    first = name.partition(".")[0]
    if first in _LOADED or first in _ANOTHERS_FORM:
        return first
    return _VARIANT.sub("", stem_of(f"{name}.safetensors")).casefold() or name


def _is_variant(name: str) -> bool:
    return _family(name) != name.casefold()


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
