"""What a run leaves in Prefect's UI: a named state, a log of its own, a card that ends, pages that hold no markup of others."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelshelf.cli.prefect_api import FINAL
from tests.live.conftest import Shelf
from tests.live.test_runs import until
from tests.making import gguf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
HOSTILE = "[x](javascript:alert) <img src=x onerror=alert(1)> | \x1b[2J\u202e"


@pytest.fixture(autouse=True)
def publishers(shelf: Shelf, registry: OllamaRegistry, hub: Hub) -> Iterator[None]:
    shelf.login(registry, hub)
    registry.add_model("library/tiny", "1b", gguf(2_000_000, seed=3))
    yield


def ended(shelf: Shelf, *command: str) -> dict[str, Any]:
    """The run that the command started, when it has ended."""
    run = shelf.json(*command, "--no-wait")["run"]
    until(lambda: shelf.api.run(run)["state_type"] in FINAL)
    return shelf.api.run(run)


def log_of(shelf: Shelf, run: dict[str, Any]) -> list[str]:
    until(lambda: any("Finished in state" in line["message"] for line in shelf.api.logs(run["id"], 0)))
    return [str(line["message"]) for line in shelf.api.logs(run["id"], 0)]


def artifacts(shelf: Shelf) -> dict[str, dict[str, Any]]:
    found = shelf.api._send("POST", "artifacts/latest/filter", {"limit": 200}, what="artifacts")
    return {artifact["key"]: artifact for artifact in found}


def test_a_refusal_is_a_state_with_its_sentence_and_no_traceback(shelf: Shelf, registry: OllamaRegistry) -> None:
    source = f"ollama://{registry.host}/library/none:1b"
    run = ended(shelf, "import", source)
    assert (run["state_type"], run["state_name"]) == ("FAILED", "Refused")
    assert run["state"]["message"].startswith(f"{registry.host} has no")
    log = "\n".join(log_of(shelf, run))
    assert "Traceback" not in log
    done = shelf("import", source, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert run["state"]["message"].split(".")[0] in " ".join(done.stderr.split())


def test_what_stays_unavailable_is_a_state_of_its_own_and_exit_status_3(shelf: Shelf, registry: OllamaRegistry) -> None:
    registry.__exit__()
    done = shelf("import", f"ollama://{registry.host}/library/tiny:1b", check=False)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("Trying again") == 3
    run = shelf.api.runs(1)[0]
    assert (run["state_type"], run["state_name"]) == ("FAILED", "Unavailable")
    assert "could not be reached" in run["state"]["message"]
    assert "Traceback" not in "\n".join(log_of(shelf, run))


def test_what_nobody_foresaw_stays_a_failure_with_its_trace(shelf: Shelf) -> None:
    metrics = shelf.settings.home / "metrics.prom"
    metrics.unlink(missing_ok=True)
    (metrics / "in-the-way").mkdir(parents=True)
    made = shelf.api.create_run("reconcile/reconcile-every-five-minutes", {}, "unforeseen")
    run = until(lambda: (found := shelf.api.run(made["id"]))["state_type"] in FINAL and found)
    shutil.rmtree(metrics)
    assert (run["state_type"], run["state_name"]) == ("FAILED", "Failed")
    assert "Traceback" in "\n".join(log_of(shelf, run))
    followed = shelf("follow", made["id"][:8], check=False)
    assert followed.returncode == 70
    printed = re.search(r"`(grep [0-9a-f-]+ .*worker\.log)`", followed.stderr)
    assert printed is not None, followed.stderr
    found = subprocess.run(printed[1].split(), capture_output=True, text=True, check=True)
    assert "Traceback" in found.stdout or "traceback" in found.stdout


def test_a_run_says_step_by_step_what_it_did_and_follow_shows_it(shelf: Shelf, registry: OllamaRegistry) -> None:
    registry.add_model("library/steps", "1b", gguf(2_000_000, seed=31))
    done = shelf("import", f"ollama://{registry.host}/library/steps:1b")
    steps = ("Pinned ollama://", "files, 2.0 MB", "2.0 MB to fetch", "Fetching steps:1b", "Published steps:1b")
    for words in steps:
        assert done.stderr.count(words) == 1, (words, done.stderr)
    assert "" not in done.stderr.splitlines(), "where no terminal is, no empty line is printed for a spinner"
    log = log_of(shelf, shelf.api.runs(1)[0])
    assert [sum(words in line for line in log) for words in steps] == [1] * len(steps)


def test_a_card_of_progress_ends_at_a_hundred_or_says_failed(shelf: Shelf, registry: OllamaRegistry) -> None:
    registry.add_model("library/card", "1b", gguf(3_000_000, seed=8))
    registry.faults.flip_byte_at = 2_000_000
    assert shelf("import", f"ollama://{registry.host}/library/card:1b", check=False).returncode == 1
    (card,) = [one for key, one in artifacts(shelf).items() if key.startswith("fetching-card")]
    assert "failed at" in card["description"]
    registry.faults.flip_byte_at = None
    shelf("import", f"ollama://{registry.host}/library/card:1b")
    (card,) = [one for key, one in artifacts(shelf).items() if key.startswith("fetching-card")]
    assert float(json.loads(card["data"]) if isinstance(card["data"], str) else card["data"]) == 100.0


def test_pages_have_the_names_that_people_know_and_one_lists_all(shelf: Shelf, registry: OllamaRegistry) -> None:
    shelf("import", f"ollama://{registry.host}/library/tiny:1b")
    shelf("audit")
    shelf("clean", "--dry-run")
    found = artifacts(shelf)
    assert {"library", "import-tiny", "audit", "clean"} <= found.keys()
    page = found["library"]["data"]
    assert "/artifacts/key/import-tiny" in page
    assert "## Instances" in page
    assert "free in the store" in page


def test_a_launch_reports_where_and_how_to_ask_and_where_its_time_went(
    shelf: Shelf, registry: OllamaRegistry, quick_engine: Path
) -> None:
    shelf("import", f"ollama://{registry.host}/library/tiny:1b")
    url = shelf.json("launch", "tiny", "--engine", "llamacpp")["base_url"].removesuffix("/v1")
    page = artifacts(shelf)["instance-tiny"]["data"]
    assert f"curl -s {url}/v1/completions" in page
    assert "tiny:1b" in page.replace("\\", "")
    stages = {
        name: float(seconds.replace("\\", ""))
        for name, seconds in re.findall(r"^\| ([\w ]+) \| ([\d\\.]+) \|$", page, re.MULTILINE)
    }
    assert {"queue", "replica", "first token"} <= stages.keys()
    del stages["settings revision"]
    assert sum(stages.values()) - stages["total"] == pytest.approx(stages["total"], abs=0.01)
    shelf("delete", "--instance", "tiny")


def test_text_of_a_publisher_is_no_markup_and_no_command_to_a_terminal(shelf: Shelf, hub: Hub) -> None:
    hub.repo("org/hostile").license = HOSTILE
    hub.repo("org/hostile").commit({"README.md": HOSTILE.encode(), "m.gguf": gguf(seed=9)})
    done = shelf("import", "hf://org/hostile")
    page = artifacts(shelf)["import-hostile"]
    for shown in (page["data"], page["description"]):
        assert "<img" not in shown
        assert "](javascript" not in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "\\x1b" in page["data"], "shown, and not obeyed"
    assert "\x1b" not in done.stdout + done.stderr
    shelf("delete", "hostile")


def test_the_names_of_runs_tell_what_they_do(shelf: Shelf, registry: OllamaRegistry) -> None:
    source = f"{registry.host}/library/tiny:1b"
    assert ended(shelf, "import", f"ollama://{source}", "--dry-run")["name"] == f"plan import {source}"
    assert ended(shelf, "import", f"ollama://{source}")["name"] == f"import {source}"
    assert ended(shelf, "import", "hf://org/none:Q4_K_M")["name"] == "import org/none@main Q4_K_M"
    shelf("clean", "--dry-run")
    assert shelf.api.runs(1)[0]["name"] == "plan clean project default"
