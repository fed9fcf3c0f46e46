from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.digest import Digest
from modelshelf.errors import BadDigest, DigestMismatch, Refused
from modelshelf.stop import Stopped, StopToken

GOOD = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256:", GOOD.upper(), GOOD[:-1], GOOD + "0", GOOD.replace("sha256", "sha512"), GOOD.replace("sha256", "md5"),
        GOOD[7:], GOOD + "\n", "\n" + GOOD, GOOD + "\0", GOOD[:-3] + "../", GOOD[:-1] + "а", GOOD[:-1] + "٣", " " + GOOD,
        "sha256:" + "０" * 64, "SHA256:" + GOOD[7:], "sha256:sha256:" + GOOD[14:],
    ],
)  # fmt: skip
def test_only_sha256_and_64_lower_case_hex_digits_are_a_digest(text: str) -> None:
    with pytest.raises(BadDigest):
        Digest.parse(text)


@given(st.text())
def test_no_text_is_a_digest_unless_it_prints_back_the_same(text: str) -> None:
    try:
        assert str(Digest.parse(text)) == text
    except Refused:
        assert text != GOOD


@given(st.binary())
def test_a_digest_survives_printing_and_parsing(content: bytes) -> None:
    assert Digest.parse(str(Digest.of(content))) == Digest.of(content)


def test_an_error_crosses_a_process_boundary_with_its_words() -> None:
    error = DigestMismatch(what="a", whose="b", expected="c", found="d", size=3)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_file_is_hashed_in_pieces_that_its_reader_gets_and_stops_between_two(tmp_path: Path) -> None:
    content = random.Random(3).randbytes(2_500_000)
    (tmp_path / "file").write_bytes(content)
    pieces: list[bytes] = []
    with (tmp_path / "file").open("rb") as file:
        assert Digest.of_file(file, on_piece=lambda piece: pieces.append(bytes(piece))) == Digest.of(content)
    assert (b"".join(pieces), len(pieces)) == (content, 3)
    stop, seen = StopToken(), [0]

    def stop_after_one(piece: memoryview) -> None:
        seen.append(len(piece))
        stop.set()

    with (tmp_path / "file").open("rb") as file, pytest.raises(Stopped):
        Digest.of_file(file, stop, stop_after_one)
    assert len(seen) == 2
