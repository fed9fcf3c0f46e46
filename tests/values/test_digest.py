from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.digest import Digest
from modelshelf.errors import BadDigest, DigestMismatch, Refused

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
