"""The main job with everything real: server, worker, weights, engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.wire import Url, Wire
from tests.live.conftest import Shelf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
SHA = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def test_a_published_model_becomes_an_answer(shelf: Shelf, registry: OllamaRegistry, hub: Hub, gemma: Path) -> None:
    registry.add_model("library/gemma3", "270m", gemma, template="{{ .Prompt }}")
    hub.repo("google/gemma").commit({"README.md": b"# Gemma", "gemma-Q4_K_M.gguf": gemma})
    shelf.login(registry, hub)
    source = f"ollama://{registry.host}/library/gemma3:270m"

    dry = shelf.json("import", source, "--dry-run")
    assert dry["to_fetch"] > 253_000_000
    assert shelf.json("list") == [], "a dry run changes nothing"
    plan = shelf.json("import", source)
    shown = shelf.json("show", "gemma3:270m")
    assert (shown["state"], shown["format"]) == ("ready", "ollama")
    assert f"sha256:{SHA}" in {file["digest"] for file in shown["files"]}
    assert plan["version"] == shown["name"]

    assert "0 B to copy" in shelf("cache", "gemma3").stdout
    launched = shelf("launch", "gemma3", "--engine", "llamacpp")
    assert "llama.cpp does not apply its prompt template" in launched.stderr
    (instance,) = shelf.json("instances")
    assert instance["state"] == "ready"
    assert set(instance["stages"]) == {"queue", "replica", "create", "engine up", "model visible", "first token"}
    answer = ask(instance, "The capital of France is")
    assert len(answer.split()) > 3, answer
    printed = subprocess.run(["bash", "-c", instance["curl"]], capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout)["choices"], "the curl works as it stands"

    before = registry.body_bytes
    again = shelf.json("import", "hf://google/gemma", "--name", "gemma-hub")
    assert again["to_fetch"] == len(b"# Gemma")
    assert (registry.body_bytes, hub.asked(".gguf")) == (before, 0)
    weights = [path for path in (shelf.settings.home).rglob("*") if path.is_file() and path.stat().st_size > 100_000_000]
    assert len({path.stat().st_ino for path in weights}) == 1, "one copy of the weights on the disk"

    refused = shelf("delete", "gemma3:270m", check=False)
    assert refused.returncode == 1
    assert "instance gemma3" in refused.stderr
    process = Process(**instance["process"])
    shelf("stop", "gemma3")
    assert not processes.alive(process)
    shelf("delete", "--instance", "gemma3")
    freed = shelf.json("delete", "gemma3:270m", "--dry-run")
    assert freed["keeps"] > 253_000_000, "the Hub's version still needs the weights"
    shelf("delete", "gemma3:270m")
    shelf("delete", "gemma-hub")
    assert shelf.json("list") == []


def ask(instance: dict[str, object], prompt: str) -> str:
    serves = instance["serves"]
    assert isinstance(serves, list)
    body = json.dumps({"model": serves[0]["name"], "prompt": prompt, "max_tokens": 16, "temperature": 0}).encode()
    url = Url(f"{instance['base_url']}/completions")
    answer = Wire().request("POST", url, headers={"Content-Type": "application/json"}, body=body, seconds=120)
    return str(answer.expect(200, what="an answer").json()["choices"][0]["text"])
