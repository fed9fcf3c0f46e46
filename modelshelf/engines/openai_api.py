"""What llama.cpp and vLLM have in common: the HTTP API that OpenAI's clients speak."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from modelshelf.engines import reasons
from modelshelf.engines.contract import Model
from modelshelf.errors import UnexpectedAnswer
from modelshelf.names import ServedName
from modelshelf.wire import Answer, Authorization, Url, Wire, json_body

_ANSWER_SECONDS = 300
"""A first answer may have to wait until the weights are read."""


class OpenAiApi:
    """The base of engines that answer at `/health` and `/v1`."""

    def require_names(self, names: Sequence[ServedName]) -> None:
        """Every name may be given: an instance serves one model."""

    def require_environment(self, environment: Mapping[str, str]) -> None:
        """Every setting may be given."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        return wire.request("GET", url.join("/health"), seconds=5).status == 200

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        answer = wire.request("GET", url.join("/v1/models"), authorization=key, seconds=5)
        match answer.expect(200, what="its models").json():
            case {"data": [*models]} if all(isinstance(model, dict) and "id" in model for model in models):
                return {str(model["id"]): None for model in models}
        raise UnexpectedAnswer(host=url.place, what="its models", reason="it is no list of models")

    def first_answer(self, wire: Wire, url: Url, key: Authorization | None, model: Model) -> None:
        what = _WHAT[model.category]
        match _ask(wire, url, key, model).expect(200, what=what).json():
            case {"usage": {"completion_tokens": int(count)}} if count >= 1:
                return
            case {"data": [{"embedding": [*_, float() | int()]}, *_]}:
                return
            case {"results": [{"relevance_score": float(score) | int(score)}, *_]} if math.isfinite(score):
                return
        raise UnexpectedAnswer(host=url.place, what=what, reason="the answer is empty")

    def refuses_without_key(self, wire: Wire, url: Url, model: Model) -> bool:
        return _ask(wire, url, None, model).status in (401, 403)

    def reason_of(self, log: str) -> str | None:
        return reasons.first_reason(log)


_WHAT = {"chat": "a first token", "embedding": "a first embedding", "reranker": "a first score"}


def _ask(wire: Wire, url: Url, key: Authorization | None, model: Model) -> Answer:
    """Ask what only a model of that category answers."""
    question: dict[str, object] = {"model": str(model.served_name)}
    match model.category:
        case "embedding":
            path, question["input"] = "/v1/embeddings", "ready?"
        case "reranker":
            path, question["query"], question["documents"] = "/v1/rerank", "ready?", ["ready", "not yet"]
        case _:
            path, question["prompt"], question["max_tokens"] = "/v1/completions", "ready?", 1
    headers, body = {"Content-Type": "application/json"}, json_body(question)
    return wire.request("POST", url.join(path), headers=headers, body=body, authorization=key, seconds=_ANSWER_SECONDS)
