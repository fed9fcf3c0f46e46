"""Every `raise` gives just the facts that its sentence names."""

from __future__ import annotations

import ast
import inspect
import string
from pathlib import Path

import pytest

import modelshelf
from modelshelf import errors
from modelshelf.errors import ModelshelfError, Refused, Unavailable

KINDS = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, ModelshelfError)}
ROOT = Path(modelshelf.__file__).parent


def _fields(kind: type) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(inspect.getdoc(kind) or "") if field}


def _calls() -> list[tuple[str, str, set[str]]]:
    found = []
    for file in [*ROOT.rglob("*.py"), *(ROOT.parent / "tasks").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                where = f"{file.relative_to(ROOT.parent)}:{node.lineno}"
                found.append((where, node.func.id, {keyword.arg or "**" for keyword in node.keywords}))
    return found


@pytest.mark.parametrize(("where", "kind", "given"), _calls(), ids=lambda value: value if isinstance(value, str) else "")
def test_each_error_is_raised_with_the_facts_its_sentence_names(where: str, kind: str, given: set[str]) -> None:
    assert given == _fields(KINDS[kind]), where


def test_each_error_belongs_to_one_family_and_is_used() -> None:
    raised = {kind for _, kind, _ in _calls()}
    for name, kind in KINDS.items():
        if kind in (ModelshelfError, Refused, Unavailable):
            continue
        assert issubclass(kind, Refused) != issubclass(kind, Unavailable), name
        assert name in raised, f"{name} is raised nowhere"


def test_no_public_function_takes_a_digest_or_a_path_as_plain_text() -> None:
    import importlib
    import pkgutil

    for module in pkgutil.walk_packages([str(ROOT)], "modelshelf."):
        if ".migrations" in module.name or module.name.endswith("__main__"):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or not inspect.isfunction(thing) or thing.__module__ != module.name:
                continue
            for parameter, hint in thing.__annotations__.items():  # as it is written: some types are imported for checkers alone
                suspicious = parameter in {"digest", "path", "file_path", "image", "commit"} or parameter.endswith(
                    ("_digest", "_path")
                )
                assert not (suspicious and hint in ("str", "str | None")), f"{module.name}.{name}({parameter})"
