"""A failed start says its reason: the line that gives it, whatever tracebacks follow.

llama.cpp's logs were recorded; those of vLLM and of Ollama's runner are written after the format of vLLM 0.32 and Ollama 0.32.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from modelshelf.engines.contract import Command
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.vllm import Vllm
from modelshelf.nodes import logs, processes

LOGS = Path(__file__).parent / "logs"
REASONS = {
    "vllm-dtype.log": "vllm serve: error: argument --dtype: invalid choice: 'float99'",
    "vllm-max-model-len.log": "User-specified max_model_len (100000) is greater than the derived max_model_len",
    "vllm-memory.log": "ValueError: Free memory on device cpu (14.2/23.4 GiB) on startup is less than desired",
    "vllm-tensor-parallel.log": "AssertionError: 4 ranks need as many NUMA nodes with CPUs, found 1",
    "vllm-head-size.log": "RuntimeError: Unsupported CPU attention head size: 16",
    "vllm-bare-assertion.log": "AssertionError: assert len(nodes) >= world_size",
    "vllm-unrecognized.log": "vllm: error: unrecognized arguments: --lora",
    "llamacpp-assert.log": "GGML_ASSERT(n_outputs_max <= cparams.n_outputs_max) failed",
    "llamacpp-arguments.log": "error: invalid argument: --jinjaa",
    "llamacpp-no-memory.log": "what(): Resource temporarily unavailable",
    "llamacpp-not-gguf.log": "invalid magic characters: 'NOPE', expected 'GGUF'",
    "ollama-runner.log": "failed to load model: unknown model architecture: 'test'",
    "ollama-port.log": "Error: listen tcp 127.0.0.1:11434: bind: address already in use",
}


@pytest.mark.parametrize(("file", "reason"), REASONS.items())
def test_the_reason_is_found_above_what_follows(file: str, reason: str) -> None:
    engine = {"vllm": Vllm(), "llamacpp": LlamaCpp(), "ollama": Ollama()}[file.partition("-")[0]]
    found = engine.reason_of((LOGS / file).read_text())
    assert found is not None
    assert reason in found


@pytest.mark.parametrize("engine", [LlamaCpp(), Ollama(), Vllm()])
@pytest.mark.parametrize(
    "log",
    [
        "",
        "INFO 11-25 09:00:01 [api_server.py:42] started\nERROR 11-25 [core.py:9] RuntimeError: Engine core initialization failed. See root cause above.\n",
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace above for the root cause.\n",
        '0.00.010.990 I llama_model_loader: - kv   3: tokenizer.ggml.tokens arr[str,32000] = ["error: ", "ValueError: "]\n',
        "srv  update_slots: all slots are idle\n",
    ],
)
def test_what_is_no_reason_is_not_taken_for_one(engine: LlamaCpp | Ollama | Vllm, log: str) -> None:
    assert engine.reason_of(log) is None


def test_only_what_came_after_this_start_is_read(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    for words in ("unrecognized arguments: --jinja", "unrecognized arguments: --lora"):
        process = processes.spawn("f" * 32, Command(("/bin/echo", words)), log)
        assert processes.exit_status(process.pid) == "0"
    assert logs.this_start(log) == "unrecognized arguments: --lora\n"
    first, second = log.read_text().splitlines()
    assert first.startswith("# started 2")
    assert first.endswith("Z: /bin/echo 'unrecognized arguments: --lora'")
    assert second == "unrecognized arguments: --lora"
    assert log.with_name("engine.log.1").read_text().endswith("unrecognized arguments: --jinja\n")
    assert log.stat().st_mode & 0o777 == 0o600


def test_of_a_long_log_the_beginning_and_the_end_are_read(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    logs.begin(log, ["engine"])
    with log.open("a") as file:
        file.write("ValueError: the reason\n" + "x" * 99 + "\n" + ("traceback " * 10 + "\n") * 60_000 + "the last line\n")
    read = logs.this_start(log)
    assert len(read) < 3 << 20
    assert (read.splitlines()[0], read.splitlines()[-1]) == ("ValueError: the reason", "the last line")
