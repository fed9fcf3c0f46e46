"""Which files of a repository or folder make the model: one form of the weights, and what an engine needs beside it.

Names are looked at first, then the small files that say what belongs together (indexes, and configuration where code lies beside
it). What the chosen weights do not need is left out and listed; only what they need and is not taken refuses.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from modelshelf.errors import ChooseModel, FormatRefused, HostileFileName, HostileFileNames, LimitExceeded, NothingToImport
from modelshelf.formats.allowed import are_other_weights, is_archive, role_of, why_not
from modelshelf.formats.kinds import Format, Role
from modelshelf.formats.named_code import may_name_code, named_code, refuse_named_code
from modelshelf.formats.weights import is_importance_matrix, quantization_of, spelled, suffix_of
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, pattern_of, refuse_colliding
from modelshelf.sources.asking import Asked
from modelshelf.sources.forms import choose_safetensors
from modelshelf.sources.quantizations import choose_gguf
from modelshelf.words import enumerated, plain

_OTHER_FORMS = {
    "onnx", "openvino", "original", "coreml", "tflite", "gguf", "ggml", "mlx", "metal", "tf", "tensorflow", "saved_model",
    "flax", "jax", "pytorch", "rust", "ort", "executorch", "tensorrt", "trt", "qnn", "rknn", "ncnn", "webgpu", "paddle",
}  # fmt: skip
"""Folders in which publishers keep the same model for other programs."""
_HISTORY = re.compile(r"runs|logs|wandb|mlruns|tensorboard|lightning_logs|checkpoint[-_]\d+|global_step\d+|__pycache__")
_CHECKPOINT = re.compile(r"checkpoint[-_]\d+|global_step\d+")
_COMMANDS = 8
_TRAINING = re.compile(
    r"events\.out\.tfevents.*|training_args\.bin|(?:optimizer|scheduler|scaler|rng_state|random_states|trainer_state)[^/]*"
    r"\.(?:pt|pth|bin|pkl|safetensors)",
)
_PIECE = re.compile(r"\.(?:gguf|safetensors)[-._](?:part|split|[0-9]+$|a[a-z]$)", re.IGNORECASE)
_LOADED_PICKLE = re.compile(r"(?:diffusion_)?pytorch_model[-.][^/]*bin")
_OTHER_INDEX = re.compile(r".+\.(?:bin|h5|msgpack|pt|pth)\.index(?:\.[^./]+)?\.json")
_ANOTHER = "another form of the weights"
_HISTORY_SAYS = "left over from training"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files that are taken, in the order of their paths, and what is left out, in words."""

    roles: Mapping[FilePath, Role]
    format: Format
    left_out: tuple[str, ...]


def choose(sizes: Mapping[str, int], asked: Asked, read: Callable[[str], bytes], limits: Limits = DEFAULT) -> Chosen:
    """Choose among files of these names and sizes in bytes; `read` returns the content of one of them.

    Names are as the source spells them. They are judged only if they are taken. Raises ChooseQuantization, ChooseModel,
    UnknownQuantization, NotWhole, NamesCode, FormatRefused, HostileFileNames, CollidingFileNames or NothingToImport.
    """
    names = sorted(name for name in sizes if asked.takes(name))
    read = _bounded(read, asked, limits)
    if not names:
        raise NothingToImport(what=asked.what, detail=" that matches the patterns" if asked.include or asked.exclude else "")
    weights = [name for name in names if role_of(name) is Role.WEIGHT and _TRAINING.fullmatch(_last(name)) is None]
    format, weights = _one_format(weights, asked)
    left = _aside(names, weights)
    _require_one_checkpoint([name for name in weights if name not in left], asked)
    if format is Format.GGUF:
        pieces = [name for name in names if _PIECE.search(_last(name))]
        taken, others = choose_gguf({name: sizes[name] for name in weights if name not in left}, asked, pieces)
    elif format is Format.SAFETENSORS:
        others_here = [name for name in names if name not in left and name not in weights]
        taken, others = choose_safetensors([name for name in weights if name not in left], others_here, asked, read)
    else:
        raise _nothing(names, asked)
    left |= others
    rest = [name for name in names if name not in taken and name not in left]
    if format is Format.SAFETENSORS:
        _refuse_needed_pickles(rest, names, taken, asked)
    for name in rest:
        if (reason := _why_left_out(name, asked)) is not None:
            left[name] = reason
        else:
            taken.add(name)
    roles = _judged(sorted(taken), asked)
    if format is Format.GGUF and not asked.allow_code:
        for path in _naming_code(roles, sizes, read, limits):
            del roles[path]
            left[path.text] = "it names code, and no engine reads it beside GGUF (`--allow-code` imports it)"
    elif not asked.allow_code:
        _refuse_named_code(roles, [name for name in rest if role_of(name) is Role.CODE], read, limits)
    return Chosen(roles, format, tuple(f"{plain(name)}: {left[name]}" for name in sorted(left)))


def _bounded(read: Callable[[str], bytes], asked: Asked, limits: Limits) -> Callable[[str], bytes]:
    """Return `read`, which raises LimitExceeded if it is called more often than `limits` allow."""
    calls = count(1)

    def read_one(name: str) -> bytes:
        if next(calls) > limits.read_while_choosing:
            most = f"{limits.read_while_choosing} of them"
            raise LimitExceeded(what=asked.what, found="more indexes and configuration files than can be read", limit=most)
        return read(name)

    return read_one


def _one_format(weights: Sequence[str], asked: Asked) -> tuple[Format | None, list[str]]:
    """Return the format that is taken, and the weights to choose from: all of that format, where a folder is not aside."""
    ggufs = [name for name in weights if suffix_of(name) == ".gguf" and not is_importance_matrix(name)]
    tensors = [name for name in weights if suffix_of(name) == ".safetensors"]
    if asked.wanted is not None:
        suffix = suffix_of(asked.wanted)
        variants = {quantization_of(_last(name)) for name in tensors}
        by_variant = spelled(asked.wanted) in variants and spelled(asked.wanted) not in {quantization_of(name) for name in ggufs}
        if tensors and (suffix == ".safetensors" or not ggufs or (suffix != ".gguf" and by_variant)):
            return Format.SAFETENSORS, tensors
    main = [name for name in ggufs if _aside_reason(name) is None]
    if main or (ggufs and asked.wanted is not None):
        return Format.GGUF, [name for name in weights if suffix_of(name) == ".gguf"]
    if any(_aside_reason(name) is None for name in tensors) or (tensors and not ggufs):
        return Format.SAFETENSORS, tensors
    return (Format.GGUF, [name for name in weights if suffix_of(name) == ".gguf"]) if ggufs else (None, [])


def _aside(names: Sequence[str], weights: Sequence[str]) -> dict[str, str]:
    """Return why the files of some folders are left out: the model's own weights lie elsewhere."""
    gguf = any(suffix_of(name) == ".gguf" for name in weights)
    all_aside = all(_aside_reason(name) is not None for name in weights)
    kept = {_folder(name) for name in weights} if gguf or all_aside else set()
    reasons = {name: _aside_reason(name) for name in names if _folder(name) not in kept}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _require_one_checkpoint(weights: Iterable[str], asked: Asked) -> None:
    """Raise ChooseModel if the weights are several states of one training."""
    checkpoints = sorted({top for name in weights if (top := name.partition("/")[0]) != name and _CHECKPOINT.fullmatch(top)})
    if len(checkpoints) > 1:
        commands = [f"`{asked.command(asked.wanted, include=[shlex.quote(f'{top}/*')])}`" for top in checkpoints]
        raise ChooseModel(what=asked.what, choices=enumerated(checkpoints), commands=enumerated(commands, _COMMANDS))


def _aside_reason(name: str) -> str | None:
    for folder in name.casefold().split("/")[:-1]:
        if folder in _OTHER_FORMS:
            return _ANOTHER
        if _HISTORY.fullmatch(folder):
            return _HISTORY_SAYS
        if folder.startswith(".") and folder.strip("."):
            return why_not(folder)
    return None


def _why_left_out(name: str, asked: Asked) -> str | None:
    """Return why a file that is none of the chosen weights is left out; None if it is taken."""
    last = _last(name)
    if _TRAINING.fullmatch(last):
        return _HISTORY_SAYS
    if _PIECE.search(last):
        return "a piece of a split file"
    if is_importance_matrix(name):
        return "the importance matrix of a quantisation"
    role = role_of(name)
    if role is Role.CODE and not asked.allow_code:
        return "code of the publisher (`--allow-code` imports it)"
    if suffix_of(name) == ".safetensors" and asked.wanted is None:
        return f"{_ANOTHER} (`--exclude '*.gguf'` takes these instead)"
    if role is Role.WEIGHT or _OTHER_INDEX.fullmatch(last) or (role is None and are_other_weights(name)):
        return _ANOTHER
    return None if role is not None else why_not(name)


def _nothing(names: Sequence[str], asked: Asked) -> FormatRefused | NothingToImport:
    """Return the refusal of a source without weights that are taken: every file that may hold them, with the reason."""
    pieces = [name for name in names if _PIECE.search(_last(name))]
    others = [
        name for name in names if (are_other_weights(name) or is_archive(name)) and _TRAINING.fullmatch(_last(name)) is None
    ]
    if not pieces and not others:
        return NothingToImport(what=asked.what, detail=": none of its files are GGUF or safetensors weights")
    files = [f"{name} (a piece of a split file: join the pieces first)" for name in pieces]
    files += [f"{name} ({why_not(name)})" for name in others]
    return FormatRefused(what=asked.what, files=enumerated(files), advice="")


def _refuse_needed_pickles(rest: Iterable[str], names: Sequence[str], taken: set[str], asked: Asked) -> None:
    """Raise FormatRefused if a component, a folder with a configuration of its own, has its weights in pickle alone."""
    with_weights = {_folder(name) for name in taken}
    present = set(names)
    needed = [
        name
        for name in rest
        if _LOADED_PICKLE.fullmatch(_last(name))
        and _folder(name) not in with_weights
        and "/".join(filter(None, (_folder(name), "config.json"))) in present
    ]
    if needed:
        files = enumerated([f"{name} ({why_not(name)})" for name in needed])
        without = asked.command(asked.wanted, exclude=map(pattern_of, needed))
        raise FormatRefused(what=asked.what, files=files, advice=f", or import the rest alone: `{without}`")


def _refuse_named_code(roles: Mapping[FilePath, Role], code: Sequence[str], read: Callable[[str], bytes], limits: Limits) -> None:
    """Raise NamesCode, with all files of code, if a configuration beside them names code. Without code nothing is read."""
    for path, role in roles.items() if code else ():
        if role is Role.CONFIG and may_name_code(path):
            refuse_named_code(read(path.text), path, limits, code=code)


def _naming_code(
    roles: Mapping[FilePath, Role], sizes: Mapping[str, int], read: Callable[[str], bytes], limits: Limits
) -> list[FilePath]:
    """Return the configuration that names code, or is too large to be searched."""
    configuration = [path for path, role in roles.items() if role is Role.CONFIG and may_name_code(path)]
    return [
        path
        for path in configuration
        if sizes[path.text] >= limits.api_body_bytes or named_code(read(path.text), limits) is not None
    ]


def _judged(names: Sequence[str], asked: Asked) -> dict[FilePath, Role]:
    """Return the paths of what is taken. Raises HostileFileNames, CollidingFileNames."""
    roles: dict[FilePath, Role] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            roles[FilePath(name)] = role_of(name) or Role.CONFIG
        except HostileFileName as error:
            refused[name] = error.facts["reason"]
    if refused:
        shown = enumerated([f"{name!r} ({reason})" for name, reason in refused.items()])
        example = asked.command(asked.wanted, exclude=map(pattern_of, refused))
        raise HostileFileNames(what=asked.what, names=shown, example=example)
    refuse_colliding(roles)
    return roles


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]
