"""The header of a GGUF file. Source: the GGUF specification (ggml), versions 2 and 3."""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

from modelshelf.errors import BadHeader
from modelshelf.formats.category import of_gguf
from modelshelf.formats.kinds import Facts, Header, PartKind
from modelshelf.limits import DEFAULT, Limits

MAGIC = b"GGUF"

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9

# ggml_type: (its name, elements a block, bytes a block)
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip

_LETTERS = 80

# general.file_type (llama_ftype): how people call the whole file
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


# general.type and general.architecture, where they say that a file is no model
_KINDS = {
    "adapter": PartKind.ADAPTER,
    "mmproj": PartKind.PROJECTOR,
    "clip": PartKind.PROJECTOR,
    "eagle3": PartKind.DRAFT,
    "imatrix": PartKind.OTHER,
    "controlvector": PartKind.OTHER,
}

Entries = dict[str, str | int | None]


def read_gguf(file: BinaryIO, size: int, *, name: str, limits: Limits = DEFAULT) -> Header:
    """Return what the header says. Every count and offset lies within the file, or BadHeader is raised."""
    return _Reader(file, size, name, limits).read()


class _Reader:
    """One pass over a header, in memory bounded by `limits`, whatever the counts in it say."""

    def __init__(self, file: BinaryIO, size: int, name: str, limits: Limits) -> None:
        self._file, self._size, self._name, self._limits = file, size, name, limits
        self._items = 0
        self._at = 0
        self._named = 0
        """Bytes of all keys and names: what is remembered of a header, whose texts may be longer than our memory."""

    def read(self) -> Header:
        if self._take(4) != MAGIC:
            raise self._broken("it does not begin with `GGUF`")
        (version,) = struct.unpack("<I", self._take(4))
        if version not in (2, 3):
            raise self._broken(f"version {version} is unknown (2 and 3 are known; big-endian files are not served)")
        tensors, entries = struct.unpack("<QQ", self._take(16))
        if entries > self._limits.gguf_entries or tensors > self._limits.tensors:
            raise self._broken(f"it states {entries} entries and {tensors} tensors")
        known = self._read_entries(entries)
        alignment = known.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment % 8 or alignment > 1 << 20:
            raise self._broken(f"its alignment is {alignment!r}")
        parameters = self._read_tensors(tensors, alignment)
        return _header(known, parameters)

    def _read_entries(self, count: int) -> Entries:
        """The entries whose values are short texts or whole numbers; of the rest, the names alone."""
        known: Entries = {}
        for _ in range(count):
            key = self._key()
            (kind,) = struct.unpack("<I", self._take(4))
            if key in known:
                raise self._broken(f"the key {key[:80]!r} occurs twice")
            value = self._value(kind, 0)
            known[key] = value[: _LETTERS + 1] if isinstance(value, str) else value if isinstance(value, int) else None
        return known

    def _read_tensors(self, count: int, alignment: int) -> int:
        parameters = 0
        spans: list[tuple[int, int, str]] = []
        names: set[str] = set()
        for _ in range(count):
            name = self._key()
            if name in names:
                raise self._broken(f"the tensor {name[:80]!r} occurs twice")
            names.add(name)
            (dimensions,) = struct.unpack("<I", self._take(4))
            if dimensions > self._limits.tensor_dimensions:
                raise self._broken(f"the tensor {name[:80]!r} has {dimensions} dimensions")
            shape = struct.unpack(f"<{dimensions}Q", self._take(8 * dimensions))
            kind, offset = struct.unpack("<IQ", self._take(12))
            elements = math.prod(shape)
            _, block, block_bytes = _TYPES.get(kind, ("", 1, 0))
            if offset % alignment:
                raise self._broken(f"the tensor {name[:80]!r} is not aligned to {alignment} bytes")
            if shape and shape[0] % block:
                raise self._broken(f"a row of the tensor {name[:80]!r} is not a whole number of blocks")
            spans.append((offset, offset + elements // block * block_bytes, name))
            parameters += elements
        start = -(-self._at // alignment) * alignment
        front = 0
        for begin, end, name in sorted(spans):
            if begin < front:
                raise self._broken(f"the tensor {name[:80]!r} overlaps another")
            if start + end > self._size:
                raise self._broken(f"the tensor {name[:80]!r} ends at byte {start + end} of a file of {self._size}")
            front = end
        return parameters

    def _value(self, kind: int, depth: int) -> str | int | float | bool | None:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            self._skip_array(depth)
            return None
        if (shape := _SCALARS.get(kind)) is None:
            raise self._broken(f"the value type {kind} is unknown")
        value: int | float | bool
        (value,) = struct.unpack(shape, self._take(struct.calcsize(shape)))
        return value

    def _skip_array(self, depth: int) -> None:
        if depth >= 4:
            raise self._broken("its arrays are nested too deep")
        kind, count = struct.unpack("<IQ", self._take(12))
        self._items += count
        if self._items > self._limits.gguf_array_items:
            raise self._broken(f"its arrays have more than {self._limits.gguf_array_items} items")
        if (shape := _SCALARS.get(kind)) is not None:
            self._skip(count * struct.calcsize(shape))
        elif kind == _STRING:
            for _ in range(count):
                self._skip(int.from_bytes(self._take(8), "little"))
        elif kind == _ARRAY:
            for _ in range(count):
                self._skip_array(depth + 1)
        else:
            raise self._broken(f"the value type {kind} is unknown")

    def _key(self) -> str:
        """A key or a tensor's name: what llama.cpp looks things up by."""
        name = self._bytes(65_535)
        self._named += len(name)
        if self._named > self._limits.header_bytes:
            raise self._broken(f"its keys and names have more than {self._limits.header_bytes} bytes together")
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise self._broken("a key or a tensor's name is not UTF-8") from error

    def _text(self) -> str:
        """A value: its publisher's words, in whatever encoding."""
        return self._bytes(self._limits.gguf_string_bytes).decode("utf-8", "replace")

    def _bytes(self, most: int) -> bytes:
        length = int.from_bytes(self._take(8), "little")
        if length > most:
            raise self._broken(f"a text is {length} bytes long, at most {most} are accepted")
        return self._take(length)

    def _take(self, count: int) -> bytes:
        if self._at + count > self._size:
            raise self._broken(f"it needs {count} bytes at byte {self._at}, and the file has {self._size}")
        taken = self._file.read(count)
        if len(taken) != count:
            raise self._broken(f"the file ends at byte {self._at + len(taken)}")
        self._at += count
        return taken

    def _skip(self, count: int) -> None:
        if self._at + count > self._size:
            raise self._broken(f"it needs {count} bytes at byte {self._at}, and the file has {self._size}")
        if count <= 4096:
            self._file.read(count)
        else:
            self._file.seek(count, 1)
        self._at += count

    def _broken(self, reason: str) -> BadHeader:
        return BadHeader(file=self._name, format="GGUF", reason=reason)


def _header(known: Entries, parameters: int) -> Header:
    architecture = _short(known.get("general.architecture"))
    kind = _KINDS.get(str(known.get("general.type"))) or _KINDS.get(architecture or "")
    if kind is None and "adapter.type" in known:
        kind = PartKind.ADAPTER
    if kind is None and architecture is not None:
        kind = PartKind.MODEL
    shards = _count(known.get("split.count")) or 1
    file_type = _count(known.get("general.file_type"), least=0)
    return Header(
        Facts(
            architecture=architecture,
            parameters=parameters,
            quantization=_FILE_TYPES.get(-1 if file_type is None else file_type),
            context_length=_count(known.get(f"{architecture}.context_length"), least=0),
            chat_template="tokenizer.chat_template" in known,
            license=_short(known.get("general.license")),
            category=of_gguf(architecture, known) if kind is PartKind.MODEL else None,
        ),
        kind,
        _count(known.get("split.no"), least=0) if shards > 1 else None,
        shards,
    )


def _count(value: str | int | None, *, least: int = 1) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= least else None


def _short(value: str | int | None) -> str | None:
    """A value that is shown to people, or None for what no terminal should be given."""
    return value[:_LETTERS] if isinstance(value, str) and value and value.isprintable() else None
