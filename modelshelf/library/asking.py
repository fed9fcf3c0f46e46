"""Questions that an instance's models answer, each of its category: as a command to print, and as a conversation."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelshelf.catalog import instances, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.templates import Serving
from modelshelf.catalog.versions import Version
from modelshelf.engines.table import engine_called
from modelshelf.errors import NoWords, UnexpectedAnswer
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running, key_of
from modelshelf.limits import DEFAULT
from modelshelf.names import ModelRef, ProjectName
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Url, Wire, json_body

_PATIENT = replace(DEFAULT, stall_bytes_per_second=1, stall_seconds=300)
"""A large model on a small machine takes its time for a word."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that the served model answers."""

    path: str
    body: Mapping[str, Any]


def question(instance: Instance, serving: Serving, text: str = "Hello!", *, tokens: int = 64) -> Question:
    """Return a question of the model's category, for at most `tokens` tokens of an answer.

    A model without a template for conversations is given a text to continue, unless its engine has a template for each.
    """
    model = str(serving.served_name)
    match serving.category:
        case "embedding":
            return Question("/v1/embeddings", {"model": model, "input": text})
        case "reranker":
            return Question("/v1/rerank", {"model": model, "query": text, "documents": ["Good morning!", "The sky is blue."]})
    if serving.chat_template or engine_called(instance.engine).has_templates:
        messages = [{"role": "user", "content": text}]
        return Question("/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": tokens})
    return Question("/v1/completions", {"model": model, "prompt": text, "max_tokens": tokens})


def curl(instance: Instance) -> str:
    """Return a command that asks the instance's first model, as it stands; a key is taken from the variable `KEY`."""
    asked = question(instance, instance.serves[0])
    key = ' -H "Authorization: Bearer $KEY"' if instance.settings.get("key_block") else ""
    body = shlex.quote(json.dumps(asked.body))
    return f"curl -s {instance.url}{asked.path} -H 'Content-Type: application/json'{key} \\\n  -d {body}"


def serving_now(library: Library, asking: ProjectName, ref: ModelRef) -> tuple[Version, Instance | None]:
    """Return the version that is meant, and a ready instance of the project that serves it, if there is one.

    Raises NoWords for a model that answers with numbers.
    """
    with library.catalog.reading() as connection:
        target = versions.require_ready(versions.find(connection, asking, ref))
        found = instances.page(connection, asking)
    serving = [one for one in found if any(served.version_id == target.id for served in one.serves)]
    instance = next((one for one in serving if is_running(library, one)), None)
    if target.category != "chat":
        how = f"Ask {instance.name} for them: {curl(instance)}" if instance else f"`modelshelf launch {target.ref}` prints how."
        raise NoWords(what=target.ref, category=target.category, how=how)
    return target, instance


def ask(
    library: Library, instance: Instance, target: Version, text: str, *, tokens: int, stop: StopToken,
    on_words: Callable[[str], None],
) -> None:  # fmt: skip
    """Ask the model, and pass its answer on as it comes. Raises Stopped as soon as `stop` is set."""
    serving = next(one for one in instance.serves if one.version_id == target.id)
    asked, key = question(instance, serving, text, tokens=tokens), key_of(library, instance)
    url = Url(f"{instance.url}{asked.path}")
    body = json_body({**asked.body, "stream": True})
    words = _Words(url.place, on_words)
    headers = {"Content-Type": "application/json"}
    authorization = Authorization.bearer(key) if key else None
    wire = Wire(limits=_PATIENT)
    answer = wire.receive(
        url, words, at_most=DEFAULT.api_body_bytes, headers=headers, body=body, authorization=authorization, stop=stop
    )
    answer.expect(200, what="an answer")
    words.require_some()


class _Words:
    """The words of an answer that comes as events: lines `data: {…}` until `data: [DONE]` (OpenAI's API, "Streaming")."""

    def __init__(self, place: str, on_words: Callable[[str], None]) -> None:
        self._place, self._on_words = place, on_words
        self._begun = b""
        self._some = False

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Nothing in the head matters."""

    def write(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > DEFAULT.event_bytes:
            raise UnexpectedAnswer(host=self._place, what="an answer", reason=f"an event has over {DEFAULT.event_bytes} bytes")
        for line in lines:
            event = line.strip().removeprefix(b"data:").strip()
            if line.startswith(b"data:") and event != b"[DONE]":
                self._take(event)

    def require_some(self) -> None:
        """Raise UnexpectedAnswer if no event of an answer came. An answer without words has events, too."""
        if not self._some:
            raise UnexpectedAnswer(host=self._place, what="an answer", reason="it has no event with words")

    def _take(self, event: bytes) -> None:
        try:
            content = json.loads(event)
        except ValueError as error:
            raise UnexpectedAnswer(host=self._place, what="an answer", reason="one of its events is not JSON") from error
        match content:
            case {"error": reason}:
                raise UnexpectedAnswer(host=self._place, what="an answer", reason=str(reason)[:500])
            case {"choices": [{"delta": {"content": str(words)}}, *_]} | {"choices": [{"text": str(words)}, *_]}:
                self._some = True
                self._on_words(words.encode(errors="replace").decode())  # JSON can hold half a character
            case {"choices": [{}, *_]}:
                self._some = True
