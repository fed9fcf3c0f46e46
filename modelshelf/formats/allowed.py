"""Which files a model may consist of: by name before the first byte, by their own bytes before they are stored."""

from __future__ import annotations

import re
from typing import BinaryIO

from modelshelf.errors import FormatRefused, NotWhatItSays
from modelshelf.formats.gguf import MAGIC as GGUF_MAGIC
from modelshelf.formats.gguf import read_gguf
from modelshelf.formats.kinds import Facts, Role
from modelshelf.formats.lenient_json import decode
from modelshelf.formats.safetensors import read_safetensors
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath

PICKLED_WEIGHTS = frozenset({".bin", ".pt", ".pth", ".ckpt"})
"""Loading one of these can run code of whoever wrote it. Beside safetensors they are another form of the same weights."""

_REFUSED = {
    **dict.fromkeys(
        (*PICKLED_WEIGHTS, ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill"),
        "loading it can run the publisher's code (pickle)",
    ),
    **dict.fromkeys((".h5", ".hdf5", ".keras", ".pb", ".mar", ".nemo"), "it can carry code (Keras, TensorFlow, archives)"),
    **dict.fromkeys((".py", ".pyc", ".so", ".dll", ".dylib", ".exe", ".sh", ".ps1", ".bat", ".js", ".wasm"), "it is code"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"), "archives are not opened here"),
}  # fmt: skip

_ROLES = {
    ".safetensors": Role.WEIGHT,
    ".gguf": Role.WEIGHT,
    **dict.fromkeys((".json", ".jsonl", ".txt", ".model", ".jinja", ".yaml", ".yml", ".tiktoken", ".spm", ".vocab"), Role.CONFIG),
    **dict.fromkeys((".md", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bib", ".rst", ".html"), Role.DOC),
}  # fmt: skip

_DOC_NAMES = {"license", "licence", "notice", "copying", "readme", "use_policy", "authors", "changelog"}
_UNPACKED = {".gitattributes", ".gitignore"}
"""Files of the repository, not of the model."""

_PICKLE_STARTS = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
_ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")
_TAR_AT, _TAR = 257, b"ustar"  # POSIX.1-1988, "ustar Interchange Format": the magic of the first member's header
_NPY_START, _ELF_START = b"\x93NUMPY", b"\x7fELF"
_JSON_START = re.compile(r'\s*(?:[{\["0-9-]|true|false|null|NaN|Infinity|$)')
_START_BYTES = 512


def belongs_to_model(path: FilePath) -> bool:
    """False for what only the repository needs."""
    return path.name not in _UNPACKED


def role_of(path: FilePath) -> Role:
    """What the file is in the image; a file that may not be there raises FormatRefused."""
    if (role := _ROLES.get(path.suffix)) is not None:
        return role
    if path.name.lower().split(".")[0] in _DOC_NAMES:
        return Role.DOC
    reason = _REFUSED.get(path.suffix, f"files of the kind {path.suffix or 'without an extension'} are not on the list")
    raise FormatRefused(file=path, reason=reason)


def inspect_file(file: BinaryIO, size: int, named: FilePath, limits: Limits = DEFAULT) -> Facts | None:
    """What weights of `size` bytes say of themselves; None for other files.

    A file whose bytes are not what `named` says raises NotWhatItSays, a broken header BadHeader.
    """
    start = file.read(_START_BYTES)
    file.seek(0)
    _refuse_disguised(start, named)
    match named.suffix:
        case ".gguf":
            return read_gguf(file, size, name=str(named), limits=limits)
        case ".safetensors":
            return read_safetensors(file, size, name=str(named), limits=limits)
    return None


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
        raise NotWhatItSays(file=named, reason="a safetensors header begins with `{` at byte 8, this does not")
    if named.suffix == ".json" and _JSON_START.match(decode(start)) is None:
        raise NotWhatItSays(file=named, reason="it does not begin as JSON does")
