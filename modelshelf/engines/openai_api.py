"""What llama.cpp and vLLM have in common: the HTTP API that OpenAI's clients speak."""

from __future__ import annotations

from modelshelf.engines.contract import Mounted
from modelshelf.errors import UnexpectedAnswer
from modelshelf.wire import Authorization, Url, Wire, json_body

_TOKEN_SECONDS = 300
"""A first token may have to wait until the weights are read."""


class OpenAiApi:
    """The base of engines that answer at `/health` and `/v1`."""

    def is_up(self, wire: Wire, url: Url) -> bool:
        return wire.request("GET", url.join("/health"), seconds=5).status == 200

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        answer = wire.request("GET", url.join("/v1/models"), authorization=key, seconds=5)
        return {str(model["id"]): None for model in answer.expect(200, what="its models").json()["data"]}

    def first_token(self, wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> None:
        question: dict[str, object] = {"model": str(mounted.served_name)}
        if mounted.category == "embedding":
            path, question["input"] = "/v1/embeddings", "ready?"
        else:
            path, question["prompt"], question["max_tokens"] = "/v1/completions", "ready?", 1
        headers = {"Content-Type": "application/json"}
        body = json_body(question)
        answer = wire.request("POST", url.join(path), headers=headers, body=body, authorization=key, seconds=_TOKEN_SECONDS)
        match answer.expect(200, what="a first token").json():
            case {"usage": {"completion_tokens": int(count)}} if count >= 1:
                return
            case {"data": [{"embedding": [*_, _]}, *_]}:
                return
        raise UnexpectedAnswer(host=url.place, what="a first token", reason="none came back")
