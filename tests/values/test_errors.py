"""Every `raise` gives just the facts that its sentence names."""

from __future__ import annotations

import ast
import inspect
import pickle
import string
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

import modelshelf
from modelshelf import errors
from modelshelf.cli import errors as command_errors
from modelshelf.cli.errors import NoSuchRun
from modelshelf.cli.prefect_api import PrefectApi
from modelshelf.engines.contract import Model
from modelshelf.engines.openai_api import OpenAiApi
from modelshelf.errors import BadJson, ModelshelfError, OfAnyLayer, Refused, Stalled, Unavailable, outcome
from modelshelf.formats.kinds import Format
from modelshelf.names import ServedName
from modelshelf.wire import Url, Wire
from tests.stand_ins.http import StandIn

KINDS = {
    name: kind
    for name, kind in {**vars(errors), **vars(command_errors)}.items()
    if isinstance(kind, type) and issubclass(kind, ModelshelfError)
}
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
        if kind in (ModelshelfError, Refused, Unavailable, OfAnyLayer):
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


class Answering(StandIn):
    """One status for everything."""

    status = 200

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.send(request, self.status, b"{}")

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def answering() -> Iterator[Answering]:
    with Answering() as running:
        yield running


# --- what a layer may state ---------------------------------------------------------------------------------------

LOWER = ("wire", "transfer", "names.py", "digest.py", "strict_json.py", "formats", "sources", "engines/openai_api.py")
STATES = (
    "nothing was stored",
    "nothing of it",
    "kept",
    "downloaded",
    "published",
    "fetched",
    "nothing was changed",
    "nothing was started",
    "run it again",
)


def test_the_sentence_of_an_error_that_any_layer_may_meet_claims_nothing_about_the_state_of_things() -> None:
    below = {kind for where, kind, _ in _calls() if where.removeprefix("modelshelf/").startswith(LOWER)}
    below |= {name for name, kind in KINDS.items() if issubclass(kind, OfAnyLayer)}
    for name in below:
        sentence = (inspect.getdoc(KINDS[name]) or "").lower()
        assert [state for state in STATES if state in sentence] == [], name


def test_the_step_that_began_the_work_adds_what_state_things_are_in() -> None:
    with pytest.raises(Stalled) as caught, outcome("Nothing was published.", again="Import it again."):
        raise Stalled(host="h", rate=1, seconds=2)
    sentence = "h stopped sending: fewer than 1 bytes a second for 2 s."
    assert str(caught.value) == f"{sentence} Nothing was published. Import it again."
    assert caught.value.sentence == sentence
    assert caught.value.facts == {"host": "h", "rate": "1", "seconds": "2"}


def test_what_was_refused_is_not_advised_to_be_tried_again() -> None:
    with pytest.raises(BadJson) as caught, outcome("Nothing was published.", again="Import it again."):
        raise BadJson(file="f", reason="it is empty")
    assert str(caught.value) == "f is not JSON that we accept: it is empty. Nothing was published."


def test_the_innermost_outcome_is_kept_and_an_error_that_states_its_own_gets_none() -> None:
    with pytest.raises(BadJson, match=r"empty\. Inner\.$"), outcome("Outer."), outcome("Inner."):
        raise BadJson(file="f", reason="it is empty")
    with pytest.raises(NoSuchRun) as caught, outcome("Outer."):
        raise NoSuchRun(run="r")
    assert "Outer" not in str(caught.value)


def test_an_error_keeps_its_facts_and_outcome_from_one_process_to_another() -> None:
    with pytest.raises(BadJson) as caught, outcome("Nothing was published."):
        raise BadJson(file="f {x}", reason="it is empty")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is BadJson
    assert (str(again), again.facts, again.outcome) == (str(caught.value), caught.value.facts, "Nothing was published.")


@pytest.mark.parametrize("status", [None, 401, 403, 500])
def test_a_failed_request_to_prefect_is_about_prefect_and_not_about_a_publisher(status: int | None, answering: Answering) -> None:
    answering.status = status or 500
    if status is None:
        answering.stop()
    with pytest.raises(ModelshelfError) as caught:
        PrefectApi(answering.url, "a:secret").flow_name("1")
    message = str(caught.value)
    assert "request to the Prefect server" in message
    assert not any(word in message for word in ("download", "stored", "token", "modelshelf login", "import", "secret", "PROXY"))


def test_an_engine_that_gives_no_answer_is_not_talked_of_as_a_publisher(answering: Answering) -> None:
    answering.status = 200
    model = Model(ServedName("m"), "chat", Format.GGUF, ())
    with pytest.raises(ModelshelfError) as caught:
        OpenAiApi().first_answer(Wire(), Url(answering.url), None, model)
    assert not any(word in str(caught.value) for word in ("stored", "download", "import"))
