"""Ollama, with a models folder of its own that is made of links.

    models/blobs/sha256-<hex>                        links to the models' files: Ollama puts blobs in their place by rename and
                                                     removes them by unlink, never in place
    models/manifests/<host>/<namespace>/<name>/<tag> copies: Ollama writes a manifest in place, through any link

Source: the layout and `/api/tags` of Ollama 0.6.5, as observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelshelf.engines import reasons
from modelshelf.engines.contract import Command, Layout, Model, Program, Surroundings
from modelshelf.engines.ollama_models import left_out_of, manifest_digest, model_of
from modelshelf.errors import BadName, BadSetting, UnexpectedAnswer
from modelshelf.formats.kinds import Format
from modelshelf.names import FilePath, ServedName
from modelshelf.wire import Answer, Authorization, Url, Wire, json_body

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_MODELS = "models"
_ANSWER_SECONDS = 300


class Ollama:
    """Serves versions of Ollama registries and of other instances, and GGUF in one file, several at once."""

    name = "ollama"
    accepts = frozenset({Format.OLLAMA, Format.GGUF})
    categories = frozenset({"chat", "embedding"})
    takes_key = False
    takes_arguments = False
    has_templates = True
    kept_models = FilePath(_MODELS)
    models_at_once = 100
    smaller = "--env OLLAMA_CONTEXT_LENGTH=4096"
    program = Program(executable="ollama", advice="Install Ollama from ollama.com, or launch with `--engine llamacpp`.")

    def layout(self, models: Sequence[Model]) -> Layout:
        links: dict[FilePath, tuple[int, FilePath]] = {}
        copies: dict[FilePath, bytes] = {}
        for number, model in enumerate(models):
            made = model_of(model)
            links |= {_below(path): (number, file) for path, file in made.links.items()}
            copies |= {_below(path): content for path, content in made.written.items()}
            copies[_below(_manifest_path(model.served_name))] = made.manifest
        return Layout(links, copies, (_below("blobs"),), referrers=_below("manifests"))

    def command(self, models: Sequence[Model], at: Surroundings, arguments: Sequence[str], cpus: int = 0) -> Command:
        environment = {
            "HOME": str(at.own),
            "OLLAMA_HOST": f"{at.host}:{at.port}",
            "OLLAMA_MODELS": str(at.own / _MODELS),
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_NO_CLOUD": "1",  # from 0.24 on it asks ollama.com at its start, and passes requests for `:cloud` models on
        }
        return Command(("serve",), environment)

    def left_out(self, model: Model) -> tuple[str, ...]:
        return left_out_of(model)

    def require_names(self, names: Sequence[ServedName]) -> None:
        """Raise BadName if two of them end as one manifest: Ollama looks names up without regard to case."""
        taken: dict[str, ServedName] = {}
        for name in names:
            other = taken.setdefault(_manifest_path(name).lower(), name)
            if other is not name:
                expected = f"a name that Ollama distinguishes from {str(other)!r} (case and `:latest` make no difference)"
                raise BadName(text=repr(str(name)), kind="second served name", expected=expected)

    def require_arguments(self, arguments: Sequence[str]) -> None:
        """Raise BadSetting for any."""
        if arguments:
            reason = "`ollama serve` takes none; give settings in the environment (`--env OLLAMA_…=…`)"
            raise BadSetting(where=f"the arguments {' '.join(arguments)[:100]}", reason=reason)

    def require_environment(self, environment: Mapping[str, str]) -> None:
        """Every setting may be given: what the adapter decides wins."""

    def listed_name(self, served: ServedName) -> str:
        *_, last = str(served).split("/")
        return str(served) if ":" in last else f"{served}:{_TAG}"

    def identity(self, model: Model) -> str:
        """Ollama's id of a model is the sha256 of its manifest's bytes."""
        return manifest_digest(model)

    def is_up(self, wire: Wire, url: Url) -> bool:
        return wire.request("GET", url.join("/api/version"), seconds=5).status == 200

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        answer = wire.request("GET", url.join("/api/tags"), authorization=key, seconds=30)
        match answer.expect(200, what="its models").json():
            case {"models": [*models]} if all(isinstance(model, dict) and model.keys() >= {"name", "digest"} for model in models):
                return {str(model["name"]): str(model["digest"]) for model in models}
        raise UnexpectedAnswer(host=url.place, what="its models", reason="it is no list of models")

    def first_answer(self, wire: Wire, url: Url, key: Authorization | None, model: Model) -> None:
        what = "a first embedding" if model.category == "embedding" else "a first token"
        match _ask(wire, url, key, model).expect(200, what=what).json():
            case {"eval_count": int(count)} if count >= 1:
                return
            case {"embeddings": [[*_, float() | int()], *_]}:
                return
        raise UnexpectedAnswer(host=url.place, what=what, reason="the answer is empty")

    def refuses_without_key(self, wire: Wire, url: Url, model: Model) -> bool:
        return _ask(wire, url, None, model).status in (401, 403)

    def reason_of(self, log: str) -> str | None:
        return reasons.first_reason(log)


def _ask(wire: Wire, url: Url, key: Authorization | None, model: Model) -> Answer:
    question: dict[str, object] = {"model": str(model.served_name)}
    if model.category == "embedding":
        path, question["input"] = "/api/embed", "ready?"
    else:
        path, question["prompt"] = "/api/generate", "ready?"
        question |= {"stream": False, "options": {"num_predict": 1}}
    headers, body = {"Content-Type": "application/json"}, json_body(question)
    return wire.request("POST", url.join(path), headers=headers, body=body, authorization=key, seconds=_ANSWER_SECONDS)


def _manifest_path(served: ServedName) -> str:
    """Where Ollama looks for the model that requests call so: `[host/][namespace/]name[:tag]`."""
    *front, last = str(served).split("/")
    name, colon, tag = last.partition(":")
    host = front.pop(0) if len(front) > 1 else _HOST
    path = f"manifests/{host}/{'/'.join(front) or _NAMESPACE}/{name}/{tag or _TAG}"
    if ":" in path or "" in (*front, name) or (colon and not tag):
        raise BadName(text=repr(str(served)), kind="served name for Ollama", expected="`[host/][namespace/]name[:tag]`")
    return str(FilePath(path))


def _below(path: FilePath | str) -> FilePath:
    """Return the path below the models folder as one below the engine's own."""
    return FilePath(f"{_MODELS}/{path}")
