"""Which files a model may consist of: by name before the first byte, by their own bytes before they are stored."""

from __future__ import annotations

import re
from typing import BinaryIO

from modelshelf.errors import LargeFilePointer, NotWhatItSays
from modelshelf.formats.gguf import MAGIC as GGUF_MAGIC
from modelshelf.formats.gguf import read_gguf
from modelshelf.formats.kinds import Header, Role
from modelshelf.formats.lenient_json import decode
from modelshelf.formats.safetensors import read_safetensors
from modelshelf.formats.weights import suffix_of
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath

PICKLED_WEIGHTS = frozenset({".bin", ".pt", ".pth", ".ckpt"})
"""Loading one of these can run code of whoever wrote it. Beside safetensors they are another form of the same weights."""

_PICKLE = "loading it can run the publisher's code (pickle)"
_OTHER_WEIGHTS = {
    **dict.fromkeys((*PICKLED_WEIGHTS, ".npz", ".joblib", ".pkl", ".pickle", ".dill"), _PICKLE),
    **dict.fromkeys((".h5", ".hdf5", ".keras", ".pb", ".mar", ".nemo"), "it can carry code (Keras, TensorFlow, archives)"),
    **dict.fromkeys(
        (".msgpack", ".ot", ".onnx", ".onnx_data", ".tflite", ".mlmodel", ".pte", ".engine", ".llamafile", ".ggml"),
        "no engine reads this form of weights",
    ),
}  # fmt: skip
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_CODE = frozenset(
    {".py", ".pyc", ".so", ".dll", ".dylib", ".exe", ".sh", ".ps1", ".bat", ".js", ".wasm", ".ipynb", ".c", ".cpp", ".cu", ".h"}
)

_ROLES = {
    ".safetensors": Role.WEIGHT,
    ".gguf": Role.WEIGHT,
    ".py": Role.CODE,
    **dict.fromkeys((".json", ".jsonl", ".txt", ".jinja", ".yaml", ".yml"), Role.CONFIG),
    **dict.fromkeys((".model", ".tiktoken", ".spm", ".vocab", ".bpe", ".codes"), Role.CONFIG),
    **dict.fromkeys((".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bib", ".rst", ".html"), Role.DOC),
}  # fmt: skip

_DOCUMENT = re.compile(r"(?:licen[cs]e|notice|copying|readme|use_policy|authors|changelog)(?![a-z])", re.IGNORECASE)
_TOKENIZER = re.compile(r"tokenizer\.(?:mm\.)?model\.v[0-9]+[a-z0-9]*")
"""Mistral's tokenizers, with their version."""
_HOUSEKEEPING = frozenset({"thumbs.db", "desktop.ini", "__macosx"})

_PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")
_TAR_AT, _TAR = 257, b"ustar"  # POSIX.1-1988, "ustar Interchange Format": the magic of the first member's header
_NPY_START, _ELF_START = b"\x93NUMPY", b"\x7fELF"
_JSON_START = re.compile(r'\s*(?:[{\["0-9-]|true|false|null|NaN|Infinity|$)')
_START_BYTES = 512
_POINTER_STARTS = (
    b"version https://git-lfs.github.com/spec/v", b"version https://hawser.github.com/spec/v", b"version http://git-media.io/v/",
)  # fmt: skip
"""Source: Git LFS, `lfs/pointer.go`: its own version and the two names that it had before."""
POINTER_BYTES = 1024
"""A pointer of Git LFS is shorter (Git LFS specification)."""


def role_of(name: str) -> Role | None:
    """Return what a file of this name is in an image; None if files of its kind are not taken."""
    last = name.rpartition("/")[2]
    suffix = suffix_of(name)
    if last.startswith(".") or last.lower() in _HOUSEKEEPING:
        return None
    if (role := _ROLES.get(suffix)) is not None:
        return role
    if _TOKENIZER.fullmatch(last):
        return Role.CONFIG
    return Role.DOC if _DOCUMENT.match(last) and suffix not in _CODE | _ARCHIVES | _OTHER_WEIGHTS.keys() else None


def why_not(name: str) -> str:
    """Return why files of this name's kind are not taken, in words that follow the name and a colon."""
    last, suffix = name.rpartition("/")[2], suffix_of(name)
    if last.startswith(".") or last.lower() in _HOUSEKEEPING:
        return "it belongs to the repository or its file system, not to the model"
    if (reason := _OTHER_WEIGHTS.get(suffix)) is not None:
        return reason
    if suffix in _ARCHIVES:
        return "archives are not opened here"
    if suffix in _CODE:
        return "it is code"
    return f"files {f'of the kind {suffix}' if suffix else 'without an extension'} are not on the list of accepted kinds"


def are_other_weights(name: str) -> bool:
    """Return whether the file holds, or may hold, weights in a form that is not taken."""
    return suffix_of(name) in _OTHER_WEIGHTS


def is_archive(name: str) -> bool:
    return suffix_of(name) in _ARCHIVES


def inspect_file(file: BinaryIO, size: int, named: FilePath, limits: Limits = DEFAULT) -> Header | None:
    """What weights of `size` bytes say of themselves; None for other files.

    A file whose bytes are not what `named` says raises NotWhatItSays, a broken header BadHeader, and the pointer that
    Git LFS leaves in place of a file LargeFilePointer.
    """
    start = file.read(_START_BYTES)
    file.seek(0)
    refuse_pointer(start, str(named))
    _refuse_disguised(start, named)
    match named.suffix:
        case ".gguf":
            return read_gguf(file, size, name=str(named), limits=limits)
        case ".safetensors":
            return read_safetensors(file, size, name=str(named), limits=limits)
    return None


def refuse_pointer(start: bytes, name: str) -> None:
    """Raise LargeFilePointer if a file that begins so is a pointer of Git LFS. Source: Git LFS specification, version 1."""
    if start.startswith(_POINTER_STARTS):
        raise LargeFilePointer(file=name)


def _refuse_disguised(start: bytes, named: FilePath) -> None:
    if start.startswith(_PICKLE_STARTS):
        raise NotWhatItSays(file=named, reason="its first bytes are a pickle's")
    if start.startswith(_ARCHIVE_STARTS) or start[_TAR_AT:].startswith(_TAR):
        raise NotWhatItSays(file=named, reason="its first bytes are an archive's (PyTorch saves pickles in one)")
    if start.startswith((_NPY_START, _ELF_START)):
        raise NotWhatItSays(file=named, reason="its first bytes are a program's or a NumPy array's")
    if named.suffix == ".gguf" and not start.startswith(GGUF_MAGIC):
        raise NotWhatItSays(file=named, reason=f"expected `GGUF` as its first bytes, found {start[:4]!r}")
    if named.suffix == ".safetensors" and start[8:9] != b"{":
        raise NotWhatItSays(file=named, reason="a safetensors header begins with `{` at byte 8, and this file's does not")
    if named.suffix == ".json" and _JSON_START.match(decode(start)) is None:
        raise NotWhatItSays(file=named, reason="it does not begin like JSON")
