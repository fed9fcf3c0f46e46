from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.errors import BadName, BadReference, CollidingFileNames, HostileFileName, Refused
from modelshelf.names import (
    CommitId,
    FilePath,
    HostName,
    InstanceName,
    ModelName,
    ModelRef,
    Name,
    NodeName,
    ProjectName,
    RepoId,
    Revision,
    ServedName,
    Tag,
    refuse_colliding,
)

KINDS = [ModelName, ProjectName, NodeName, InstanceName, Tag, ServedName, Revision, CommitId, RepoId, HostName]

HOSTILE = [
    "../x", "a/../b", "/etc/passwd", "C:\\x", "C:x", "\\\\server\\share", "a\\b", "a/..\\b", "a\0b", "a\nb", "name.", "name ",
    " name", "con", "NUL.txt", "sub/aux.json", "lpt1", "com¹", "a//b", "a/", "./a", "a/.", "", ".", "..", "x" * 300,
    "/".join(["d" * 200] * 6), "a:b", "a*b", "a?b", 'a"b', "a<b", "a|b", "a\u202eb", "a\u200bb", "\ud800", "a\x7fb", "~/\u2028x",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_file_name_is_refused_on_every_platform(text: str) -> None:
    with pytest.raises(HostileFileName):
        FilePath(text)


@pytest.mark.parametrize(
    "pair", [("A.json", "a.json"), ("é.txt", "e\u0301.txt"), ("straße", "STRASSE"), ("a", "A/b"), ("x/y", "X")]
)
def test_names_that_differ_only_by_case_or_unicode_form_are_refused_together(pair: tuple[str, str]) -> None:
    with pytest.raises(CollidingFileNames):
        refuse_colliding(map(FilePath, pair))


def test_names_that_differ_otherwise_are_taken() -> None:
    refuse_colliding(map(FilePath, ["a/b", "a/c", "b", "1_Pooling/config.json", "config.json"]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["", "a b", "a\nb", "a;rm", "$(x)", "../a", "a/../b", "-a", "a\0", "a'b", "ä", "a`b", "a" * 500, "a\tb"]
)
def test_a_name_cannot_be_a_path_a_label_with_a_newline_or_a_shell_word(kind: type[Name], text: str) -> None:
    with pytest.raises(BadName):
        kind(text)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(max_size=80))
def test_parsing_then_printing_a_name_gives_back_the_same_text(kind: type[Name], text: str) -> None:
    try:
        assert str(kind.parse(text)) == text
    except Refused:
        return
    assert "\n" not in text
    assert ".." not in text
    assert " " not in text


_SLUGS = st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?\Z").filter(lambda text: ".." not in text)


@given(model=_SLUGS, tag=st.none() | _SLUGS, digest=st.none() | st.binary(), project=st.none() | _SLUGS)
def test_parsing_then_printing_a_reference_gives_back_the_same(
    model: str, tag: str | None, digest: bytes | None, project: str | None
) -> None:
    from modelshelf.digest import Digest

    image = Digest.of(digest) if digest is not None else None
    ref = ModelRef(ModelName(model), Tag(tag) if tag else None, image, ProjectName(project) if project else None)
    assert ModelRef.parse(str(ref)) == ref


@given(st.text(max_size=60))
def test_any_text_is_a_reference_that_prints_back_or_is_refused(text: str) -> None:
    try:
        assert str(ModelRef.parse(text)) == text
    except Refused:
        pass


@pytest.mark.parametrize("text", ["", ":", "a:", "@", "a@", "/a", "a/", "a/b/c", "a:b:c", "a@sha256:00", "A:b", "a b"])
def test_a_wrong_reference_says_what_is_expected(text: str) -> None:
    with pytest.raises(Refused, match="expected"):
        ModelRef.parse(text)


def test_the_reference_error_is_its_own() -> None:
    with pytest.raises(BadReference):
        ModelRef.parse("a:")
