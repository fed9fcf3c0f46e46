"""Headers of weights are read within limits; whatever is wrong with one is a refusal."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import time
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelshelf.errors import BadHeader, BadJson, LargeFilePointer, NotWhatItSays, Refused
from modelshelf.formats.allowed import inspect_file, role_of
from modelshelf.formats.gguf import read_gguf
from modelshelf.formats.kinds import Role
from modelshelf.formats.safetensors import read_safetensors
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath
from modelshelf.strict_json import load_json
from tests.making import gguf, safetensors

FUZZ_SECONDS = 60 if os.environ.get("MODELSHELF_REQUIRE_LIVE") else 3


def read_s(content: bytes) -> object:
    return read_safetensors(io.BytesIO(content), len(content), name="m.safetensors")


def read_g(content: bytes) -> object:
    return read_gguf(io.BytesIO(content), len(content), name="m.gguf")


def with_header(header: object, data: bytes = b"\0" * 8) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, shape: list[int], dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_whole_files_are_read() -> None:
    facts = read_safetensors(io.BytesIO(safetensors(5000)), len(safetensors(5000)), name="x").facts
    assert (facts.parameters, facts.precision) == (5000, "U8")
    found = read_gguf(io.BytesIO(gguf(3200)), len(gguf(3200)), name="x").facts
    assert (found.parameters, found.architecture, found.quantization, found.context_length) == (3200, "test", "Q4_K_M", 64)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 7, struct.pack("<Q", 1 << 62), struct.pack("<Q", DEFAULT.header_bytes + 1) + b"{}",
        with_header([]), with_header({"a": 1}), with_header({"__metadata__": {"a": 1}}),
        with_header({"a": tensor(0, 9, [9])}), with_header({"a": tensor(4, 0, [4])}), with_header({"a": tensor(-4, 4, [8])}),
        with_header({"a": tensor(0, 5, [5]), "b": tensor(4, 8, [4])}), with_header({"a": tensor(0, 3, [3]), "b": tensor(4, 8, [4])}),
        with_header({"a": tensor(0, 4, [4])}), with_header({"a": tensor(0, 8, [4])}), with_header({"a": tensor(0, 8, [2, 2], "F32")}),
        with_header({"a": tensor(0, 8, [8], "WHAT")}), with_header({"a": tensor(0, 8, [-8])}), with_header({"a": tensor(0, 8, [1] * 9)}),
        with_header({"a": tensor(0, 8, [1 << 70])}), with_header({"a": {"dtype": "U8"}}), with_header({"a": tensor(0, 8, [True])}),
        with_header(b'{"a": {"dtype":"U8","shape":[8],"data_offsets":[0,8]}, "a": {"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'),
        with_header(b'{"a": NaN}'), with_header(b"not json"), with_header(b"\xff\xfe{}"),
        with_header({"a": tensor(False, True, [1])}, b"\0"), with_header({"a": tensor(0, True, [1])}, b"\0"),
        with_header('{"a": {"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'.encode("utf-16-le")),
        with_header({"__metadata__": ["pt"], "a": tensor(0, 8, [8])}), with_header({"__metadata__": {"a": None}, "b": tensor(0, 8, [8])}),
        with_header({"__metadata__": {"a": {"b": "c"}}, "b": tensor(0, 8, [8])}), with_header({"\ud800": tensor(0, 8, [8])}),
    ],
)  # fmt: skip
def test_a_broken_safetensors_header_is_refused(content: bytes) -> None:
    with pytest.raises(Refused):
        read_s(content)


G = b"GGUF"


@pytest.mark.parametrize(
    "content",
    [
        b"", G, b"GGML" + b"\0" * 20, G + struct.pack("<I", 1) + b"\0" * 16, G + struct.pack(">IQQ", 3, 0, 0),
        G + struct.pack("<IQQ", 3, 1 << 60, 0), G + struct.pack("<IQQ", 3, 0, 1 << 60), G + struct.pack("<IQQ", 3, 0, 1),
        G + struct.pack("<IQQQ", 3, 0, 1, 1 << 63) + b"x",
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 99),
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IQ", 8, 1 << 40),
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 4, 1 << 60),
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 9_999_999),
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 9, 1) * 1 + struct.pack("<IQ", 9, 1) * 10,
        G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"\xff" + struct.pack("<II", 4, 1),
        G + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 200),
        G + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 1 << 62, 0, 0) + b"\0" * 64,
        G + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 32, 0, 1 << 62) + b"\0" * 64,
        G + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQIQ", 1, 32, 24, 7) + b"\0" * 64,
        gguf(3200)[:-1], gguf(3200)[:40], gguf(3200, **{"general.alignment": 0}), gguf(3200, **{"general.alignment": 7}),
    ],
)  # fmt: skip
def test_a_broken_gguf_header_is_refused(content: bytes) -> None:
    with pytest.raises(BadHeader):
        read_g(content)


def test_a_gguf_with_many_long_texts_costs_the_memory_of_one() -> None:
    """A header may hold 100,000 texts of up to 64 MiB each."""
    text = b"x" * (1 << 20)
    entries = b"".join(struct.pack("<Q", 3) + b"k%02d" % n + struct.pack("<IQ", 8, len(text)) + text for n in range(40))
    content = G + struct.pack("<IQQ", 3, 0, 40) + entries
    tracemalloc.start()
    read_g(content)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_gguf_whose_names_are_too_long_together_is_refused() -> None:
    entries = b"".join(struct.pack("<Q", 500) + b"%0500d" % number + struct.pack("<IB", 0, 1) for number in range(3))
    content = G + struct.pack("<IQQ", 3, 0, 3) + entries
    with pytest.raises(BadHeader, match="1000 bytes together"):
        read_gguf(io.BytesIO(content), len(content), name="m.gguf", limits=replace(DEFAULT, header_bytes=1000))


def test_a_gguf_that_promises_much_costs_little_memory() -> None:
    content = G + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IQ", 8, DEFAULT.gguf_string_bytes)
    tracemalloc.start()
    with pytest.raises(BadHeader):
        read_g(content)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@hypothesis_settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans(), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_a_header_of_any_bytes_is_read_or_refused(noise: bytes, whole: bool, at: int, patch: bytes) -> None:
    for content, read in ((safetensors(64), read_s), (gguf(64), read_g)):
        changed = content[:at] + patch + content[at + len(patch) :] if whole else content[:12] + noise
        try:
            read(changed)
        except Refused:
            pass


def test_the_header_readers_survive_a_fuzzed_corpus() -> None:
    """For FUZZ_SECONDS: whole headers, damaged where it hurts: lengths and counts at their extremes, cut, spliced, flipped."""
    chance = random.Random(62)
    extremes = [0, 1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
    corpus = [(read_s, safetensors(size)) for size in (1, 64)]
    corpus += [(read_g, gguf(size, **{"tokenizer.chat_template": "x" * 50, "general.name": "n"})) for size in (0, 64)]
    refused = 0
    until = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < until:
        read, whole = chance.choice(corpus)
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(content) or 1)
            match chance.randrange(5):
                case 0:
                    width = chance.choice("BHIQ")
                    size = struct.calcsize(width)
                    value = chance.choice(extremes) & (2 ** (8 * size) - 1)
                    content[at : at + size] = struct.pack(f"<{width}", value)
                case 1:
                    del content[at:]
                case 2:
                    content[at:at] = chance.randbytes(chance.randint(1, 40))
                case 3:
                    content[at : at + 1] = bytes([chance.choice(b'{}[]",:0e-\x00\xff')])
                case _:
                    other = chance.choice(corpus)[1]
                    content[at:] = other[chance.randrange(len(other)) :]
        try:
            read(bytes(content))
        except Refused:
            refused += 1
    assert refused > 100 * FUZZ_SECONDS


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "a": 2}',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[" * 1000 + b"]" * 1000,
        b"[" * 100_000,
        b"9" * 31,
        b"",
        b"{",
        b"\xff",
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b'["\\ud800"]',
        b'{"\\uDC00\\uD800": 1}',
        b"1e999",
        b"-1E400",
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(content: bytes) -> None:
    with pytest.raises(BadJson):
        load_json(content, file="x.json")


def test_a_pair_of_surrogates_that_is_a_letter_is_read() -> None:
    assert load_json(b'["\\ud83d\\ude00"]', file="x.json") == ["\U0001f600"]


def test_small_json_that_would_fill_the_memory_is_not_parsed() -> None:
    """Each `[],` of three bytes is a list of 56 in memory: 64 MiB of them took 1.8 GB and 20 s."""
    content = b"[" + b"[]," * 3_000_000 + b"0]"
    tracemalloc.start()
    with pytest.raises(BadJson, match="values"):
        load_json(content, file="x.json")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_json_over_its_size_is_not_parsed() -> None:
    with pytest.raises(BadJson, match="at most 10"):
        load_json(b"[" + b" " * 10 + b"]", file="x.json", limits=replace(DEFAULT, header_bytes=10))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.safetensors", b"\x80\x04\x95abcdefghijkl"), ("m.safetensors", b"PK\x03\x04abcdefghijklmn"), ("m.gguf", b"GGML0000"),
        ("m.gguf", b"\x80\x02abc"), ("config.json", b"\x80\x04abc"), ("vocab.txt", b"\x93NUMPY"), ("tokenizer.json", b"\x7fELF"),
        ("README.md", b"\x1f\x8b"), ("config.json", b"#!/bin/sh"), ("m.safetensors", b""),
    ],
)  # fmt: skip
def test_a_file_whose_bytes_are_not_what_its_name_says_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(NotWhatItSays):
        inspect_file(io.BytesIO(content), len(content), FilePath(name))


def test_each_file_has_its_role() -> None:
    roles = {name: role_of(name) for name in ("a.safetensors", "config.json", "LICENSE", "docs/x.md", "merges.txt")}
    assert list(roles.values()) == [Role.WEIGHT, Role.CONFIG, Role.DOC, Role.DOC, Role.CONFIG]


@pytest.mark.parametrize(
    "start", [b"https://git-lfs.github.com/spec/v1\r\n", b"https://hawser.github.com/spec/v1\n", b"http://git-media.io/v/2\n"]
)
def test_a_pointer_of_git_lfs_is_known_by_each_of_its_names(start: bytes) -> None:
    content = b"version " + start + b"oid sha256:" + b"a" * 64 + b"\nsize 5\n"
    with pytest.raises(LargeFilePointer):
        inspect_file(io.BytesIO(content), len(content), FilePath("tokenizer.model"))
