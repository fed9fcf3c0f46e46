"""Ollama: the binary on PATH, with a models folder of its own that is made of links.

    models/blobs/sha256-<hex>                        hard links to the replica's files
    models/manifests/<host>/<namespace>/<name>/<tag> copies: Ollama writes a manifest in place, through any link
    models.json                                      what of this we laid out; the rest is the instance's own

Source: the layout and `/api/tags` of Ollama 0.6.5, as observed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.durable import NO_LINK, write_whole
from modelshelf.engines import reasons
from modelshelf.engines.contract import Command, Listen, Mounted
from modelshelf.engines.ollama_models import manifest_digest, model_of
from modelshelf.errors import BadName, BadSetting, EngineMissing, UnexpectedAnswer
from modelshelf.formats.kinds import Format
from modelshelf.names import FilePath, ServedName
from modelshelf.wire import Answer, Authorization, Url, Wire, json_body

_HOST, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_ANSWER_SECONDS = 300


@dataclass(frozen=True, slots=True)
class _Laid:
    """What we put into a models folder, as paths below it."""

    manifests: frozenset[str]
    blobs: frozenset[str]


class Ollama:
    """Serves versions of Ollama registries and of other instances, and GGUF in one file, several at once."""

    name = "ollama"
    accepts = frozenset({Format.OLLAMA, Format.GGUF})
    categories = frozenset({"chat", "embedding"})
    takes_key = False
    models_at_once = 100
    smaller = "--env OLLAMA_CONTEXT_LENGTH=4096"

    def require_installed(self) -> None:
        self._program()

    def lay_out(self, mounted: Sequence[Mounted], own: Path) -> None:
        models, listing = own / "models", own / "models.json"
        before = _read(listing)
        made = {_manifest_path(one.served_name): model_of(one) for one in mounted}
        now = _Laid(frozenset(made), frozenset(f"blobs/{name}" for model in made.values() for name in model.blobs))
        # the list first: what it names and is not there does no harm
        write_whole(listing, json.dumps({"manifests": sorted(now.manifests), "blobs": sorted(now.blobs)}))
        (models / "blobs").mkdir(parents=True, exist_ok=True)
        for path, model in made.items():
            for name, file in model.links.items():
                _link(file, models / "blobs" / name)
            for name, content in model.written.items():
                write_whole(models / "blobs" / name, content, mode=0o644)
            manifest = models / path
            manifest.parent.mkdir(parents=True, exist_ok=True)
            write_whole(manifest, model.manifest, mode=0o644)
        for left in before.manifests - now.manifests:
            (models / left).unlink(missing_ok=True)
        needed = _blobs_needed(models)
        for left in before.blobs - now.blobs:
            if left not in needed:
                (models / left).unlink(missing_ok=True)

    def command(self, mounted: Sequence[Mounted], listen: Listen, arguments: Sequence[str], cpus: int = 0) -> Command:
        environment = {
            "HOME": str(listen.own),
            "OLLAMA_HOST": f"{listen.host}:{listen.port}",
            "OLLAMA_MODELS": str(listen.own / "models"),
            "OLLAMA_NOPRUNE": "1",
            "OLLAMA_NO_CLOUD": "1",  # from 0.24 on it asks ollama.com at its start, and passes requests for `:cloud` models on
        }
        left_out = tuple(dict.fromkeys(note for one in mounted for note in model_of(one).left_out))
        return Command((self._program(), "serve"), environment, left_out)

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

    def identity(self, mounted: Mounted) -> str:
        """Ollama's id of a model is the sha256 of its manifest's bytes."""
        return manifest_digest(mounted)

    def is_up(self, wire: Wire, url: Url) -> bool:
        return wire.request("GET", url.join("/api/version"), seconds=5).status == 200

    def listed(self, wire: Wire, url: Url, key: Authorization | None) -> dict[str, str | None]:
        answer = wire.request("GET", url.join("/api/tags"), authorization=key, seconds=30)
        match answer.expect(200, what="its models").json():
            case {"models": [*models]} if all(isinstance(model, dict) and model.keys() >= {"name", "digest"} for model in models):
                return {str(model["name"]): str(model["digest"]) for model in models}
        raise UnexpectedAnswer(host=url.place, what="its models", reason="it is no list of models")

    def first_answer(self, wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> None:
        what = "a first embedding" if mounted.category == "embedding" else "a first token"
        match _ask(wire, url, key, mounted).expect(200, what=what).json():
            case {"eval_count": int(count)} if count >= 1:
                return
            case {"embeddings": [[*_, float() | int()], *_]}:
                return
        raise UnexpectedAnswer(host=url.place, what=what, reason="the answer is empty")

    def refuses_without_key(self, wire: Wire, url: Url, mounted: Mounted) -> bool:
        return _ask(wire, url, None, mounted).status in (401, 403)

    def reason_of(self, log: str) -> str | None:
        return reasons.first_reason(log)

    def _program(self) -> str:
        if (found := shutil.which("ollama")) is None:
            advice = "Install Ollama from ollama.com, or launch with `--engine llamacpp`."
            raise EngineMissing(engine=self.name, reason="there is no `ollama` on PATH", advice=advice)
        return found


def _ask(wire: Wire, url: Url, key: Authorization | None, mounted: Mounted) -> Answer:
    question: dict[str, object] = {"model": str(mounted.served_name)}
    if mounted.category == "embedding":
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


def _link(file: Path, target: Path) -> None:
    """A hard link: Ollama puts blobs in their place by rename and removes them by unlink, never in place.

    Where no hard link can be made, the file is reached through a symbolic link.
    """
    try:
        if target.samefile(file):
            return
    except FileNotFoundError:  # also a symbolic link whose file has gone
        pass
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        target.symlink_to(file)


def _read(listing: Path) -> _Laid:
    if not listing.exists():
        return _Laid(frozenset(), frozenset())
    said = json.loads(listing.read_text())
    return _Laid(frozenset(said["manifests"]), frozenset(said["blobs"]))


def _blobs_needed(models: Path) -> set[str]:
    """The blobs of every manifest that is there now, also of those that someone made inside the instance."""
    needed: set[str] = set()
    for manifest in (models / "manifests").rglob("*"):
        if manifest.is_file():
            try:
                content = json.loads(manifest.read_bytes())
                digests = [Digest.parse(layer["digest"]) for layer in (content["config"], *content["layers"])]
            except (ValueError, KeyError, TypeError):  # not Ollama's: it needs nothing of ours
                continue
            needed |= {f"blobs/sha256-{digest.hex}" for digest in digests}
    return needed
