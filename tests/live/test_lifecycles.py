"""The lifecycles of one machine as commands, through a real server and worker, with an engine that answers in a blink."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from modelshelf.catalog import instances
from modelshelf.cli.prefect_api import FINAL
from modelshelf.names import InstanceName
from tests.live.conftest import Shelf
from tests.live.test_runs import until
from tests.making import P, gguf, safetensors, write
from tests.nodes.local import node_of
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@pytest.fixture
def two(shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path) -> tuple[str, str]:
    """Two versions of one model, by name; the tag moved in between."""
    shelf.login(registry, hub)
    for seed in (1, 2):
        registry.add_model("library/tiny", "1b", gguf(seed=seed), template="shared")
        shelf("import", f"ollama://{registry.host}/library/tiny:1b")
    names = [one["name"] for one in shelf.json("list", "tiny")]
    return f"tiny:{names[1]}", f"tiny:{names[0]}"


def test_aliases_templates_switching_and_cleaning(shelf: Shelf, two: tuple[str, str]) -> None:
    first, second = two
    shelf("alias", first, "stable")
    shelf("alias", second, "stable")
    shelf("alias", "tiny", "stable", "--back")
    assert [move["after"] for move in shelf.json("alias", "tiny") if move["alias"] == "stable"] == [
        first.partition(":")[2], second.partition(":")[2], first.partition(":")[2],
    ]  # fmt: skip

    made = shelf.json("template", "define", "chat", "bot=tiny:stable", "--engine", "llamacpp", "--env", "A=1")
    assert made["serves"] == [{"name": "bot", "version": first}]
    launched = shelf.json("launch", "--template", "chat")
    assert (launched["instance"], launched["state"], launched["serves"]) == ("chat", "ready", made["serves"])

    switched = shelf.json("switch", "chat", second)
    assert (switched["serves"][0]["version"], switched["port"]) == (second, launched["port"])
    back = shelf.json("switch", "chat", "--back")
    assert back["serves"][0]["version"] == first
    restarted = shelf.json("restart", "chat")
    assert restarted["serves"] == back["serves"]
    assert restarted["process"] != back["process"]

    refused = shelf("delete", second, check=False)
    assert refused.returncode == 1
    assert "the past of instance chat" in refused.stderr
    shelf("switch", "chat", "--forget")
    shelf("disable", second)
    assert "disabled" in shelf("launch", second, "--as", "other", check=False).stderr
    assert shelf.json("explain", second)[0]["command"] == f"modelshelf enable {second}"

    with shelf.library.catalog.writing() as connection:  # a new version, so that this one is no longer what its tag means
        connection.execute(text("DELETE FROM alias WHERE name = '1b'"))
    plan = shelf.json("clean", "--keep", "0", "--days", "0", "--dry-run")
    assert [one["ref"] for one in plan["versions"]] == [second]
    done = shelf.json("clean", "--keep", "0", "--days", "0")
    assert (done["removed"], done["freed"]) == ([second], plan["frees"])
    assert shelf.json("audit", "--rehash") == []

    shelf("delete", "--instance", "chat")
    shelf("template", "delete", "chat")
    shelf("alias", "tiny", "stable", "--remove")
    shelf("delete", first)


def test_a_cancelled_launch_leaves_no_engine_and_its_instance_stopped(shelf: Shelf, two: tuple[str, str]) -> None:
    """The engine loads for ever; the run is ended by a signal, as Prefect cancels it."""
    model, _ = two
    made = json.loads(
        shelf("launch", model, "--engine", "llamacpp", "--as", "loads", "--no-wait", "--json", "--", "--say", "silent").stdout
    )

    def processes_of_it() -> list[int]:
        with shelf.library.catalog.reading() as connection:
            found = instances.lookup(connection, P, InstanceName("loads"))
        return [process.pid for process in node_of(shelf.library).members(found.label)] if found is not None else []

    until(processes_of_it)
    shelf("cancel", made["run"])
    until(lambda: shelf.api.run(made["run"])["state_type"] in FINAL)
    assert processes_of_it() == []
    (seen,) = [one for one in shelf.json("instances") if one["instance"] == "loads"]
    assert (seen["state"], seen["reason"]) == ("stopped", "its launch was cancelled")
    shelf("delete", "--instance", "loads")
    shelf("evict", model)


def test_marking_a_version_starts_a_warm_up_by_its_event(shelf: Shelf, two: tuple[str, str]) -> None:
    first, second = two
    api = shelf.api
    run = api.create_run("change-version/change-version", {"model": second, "change": "auto-cache"}, "mark-once")["id"]
    until(lambda: api.run(run)["state_type"] in FINAL)
    until(lambda: any(one["version"] == second for one in shelf.json("nodes")[0]["replicas"]))
    shelf("evict", second)
    assert second not in {one["version"] for one in shelf.json("nodes")[0]["replicas"]}
    shelf("nodes", "--budget", "10")
    full = shelf("cache", second, check=False)
    assert (full.returncode, "budget of 10 bytes" in full.stderr) == (1, True)
    shelf("nodes", "--budget", "0")
    shelf("cache", first, "--pin")
    assert "pinned" in shelf("evict", first, check=False).stderr
    unpin = api.create_run("change-version/change-version", {"model": first, "change": "unpin"}, "unpin-once")["id"]
    until(lambda: api.run(unpin)["state_type"] == "COMPLETED")
    for name in (first, second):
        shelf("delete", name)


def test_a_folder_is_imported_explained_and_built(shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write(folder / "config.json", b'{"auto_map": {"AutoModel": "code.Model"}}')
    write(folder / "model.safetensors", safetensors())
    refused = shelf("import", str(folder), check=False)
    assert (refused.returncode, "--allow-code" in refused.stderr) == (1, True)
    shelf("import", str(folder), "--allow-code")
    (version,) = [one for one in shelf.json("list", "mine") if one["state"] == "ready"]
    built = shelf.json("build", "mine", str(tmp_path / "image"))
    index = json.loads((tmp_path / "image" / "index.json").read_text())
    assert built["image"] == version["image"] == index["manifests"][0]["digest"]
    assert shelf.json("explain", "mine", "--engine", "llamacpp")[0]["because"].startswith("llamacpp serves gguf and ollama: mine")
    disk = shelf.json("disk")
    parts = ("images", "replicas", "instances", "partial", "reserved", "orphans", "catalog", "other")
    assert sum(disk[part] for part in parts) == disk["total"]
    shelf("delete", "mine")


def test_a_folder_of_a_shared_filesystem_is_registered_launched_and_let_go(
    shelf: Shelf, tmp_path: Path, quick_engine: Path
) -> None:
    weights = write(tmp_path / "models" / "tuned" / "tuned.gguf", gguf(seed=9))
    refused = shelf("register", "fs://nowhere/models/tuned", check=False)
    assert (refused.returncode, "[filesystems.nowhere]" in refused.stderr) == (1, True)
    configured = shelf.settings.config_file.read_text()
    shelf.settings.config_file.write_text(f'{configured}[filesystems.shared]\npath = "{tmp_path}"\n')
    assert shelf.json("register", "fs://shared/models/tuned", "--dry-run")["to_hash"] == 0
    plan = shelf.json("register", "fs://shared/models/tuned", "--hash")
    assert (plan["total"], plan["region"], plan["ready"]) == (weights.stat().st_size, "local", False)
    assert shelf.json("show", "tuned")["filesystem"] == "shared"
    assert str(weights) in shelf.json("launch", "tuned")["command"]
    assert "in place" in shelf("cache", "tuned", check=False).stderr
    assert shelf.json("audit", "--rehash") == []
    shelf("delete", "--instance", "tuned")
    shelf("delete", "tuned")
    assert weights.exists()
    shelf.settings.config_file.write_text(configured)


def test_every_change_of_state_is_a_prefect_event(shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path) -> None:
    registry.add_model("library/told", "1b", gguf(seed=77), template="t")
    shelf.login(registry, hub)
    shelf("import", f"ollama://{registry.host}/library/told:1b")
    shelf("launch", "told", "--engine", "llamacpp")
    shelf("stop", "told")
    shelf("delete", "--instance", "told")
    shelf("delete", "told:1b")
    wanted = ["version.ready", "instance.ready", "instance.stopped", "instance.deleted", "version.deleted"]

    def told() -> bool:
        body = {"filter": {"event": {"prefix": ["modelshelf."]}}, "limit": 50}
        found = shelf.api._send("POST", "events/filter", body)["events"]
        return {f"modelshelf.{one}" for one in wanted} <= {one["event"] for one in found if "told" in str(one["resource"])}

    until(told)
    lines = [json.loads(line) for line in (shelf.settings.run / "worker.log").read_text().splitlines()]
    about = [line for line in lines if line.get("version", "").startswith("told:1b-")]
    assert {"import-ollama", "launch-instance", "delete-version"} <= {line["flow_name"] for line in about}
    assert all(line["flow_run_id"] for line in about), "the version and the run are in each line"
