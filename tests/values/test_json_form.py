"""Values in JSON: every kind has one form, and what has none is refused instead of written by its insides."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from modelshelf.digest import Digest
from modelshelf.json_form import as_json
from modelshelf.names import FilePath, ModelName, ModelRef, Tag
from modelshelf.states import VersionState


@dataclass(frozen=True, slots=True)
class Inner:
    path: FilePath
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Plan:
    ref: ModelRef
    tags: tuple[Tag, ...]
    state: VersionState
    to: Path
    files: tuple[Inner, ...]
    sizes: dict[Tag, int]
    share: float
    JSON_ALSO: ClassVar = ("many",)

    @property
    def many(self) -> int:
        return len(self.files)


def test_names_are_text_and_dataclasses_are_objects() -> None:
    digest = Digest.of(b"x")
    plan = Plan(
        ModelRef(ModelName("m"), Tag("1")), (Tag("a"),), VersionState.READY, Path("/x"),
        (Inner(FilePath("a/b"), digest), Inner(FilePath("c"), None)), {Tag("a"): 1}, 0.5,
    )  # fmt: skip
    form = as_json(plan)
    assert form == {
        "ref": "m:1", "tags": ["a"], "state": "ready", "to": "/x",
        "files": [{"path": "a/b", "digest": str(digest)}, {"path": "c", "digest": None}],
        "sizes": {"a": 1}, "share": 0.5, "many": 2,
    }  # fmt: skip
    assert json.loads(json.dumps(form)) == form
    assert type(form["state"]) is str


@pytest.mark.parametrize("value", [object(), b"secret", {"x": object()}, [b""], Plan])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no form in JSON"):
        as_json(value)
