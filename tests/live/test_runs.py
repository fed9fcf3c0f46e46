"""Runs that are cancelled, killed, doubled, refused; the server's own safety."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from modelshelf.cli.prefect_api import FINAL
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.wire import Url, Wire
from tests.live.conftest import Shelf
from tests.making import gguf
from tests.nodes.local import node_of
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
CANARY = f"canary{uuid.uuid4().hex}"


@pytest.fixture
def slow(shelf: Shelf, registry: OllamaRegistry, hub: Hub) -> Iterator[str]:
    """A source whose body takes its time."""
    registry.add_model("library/slow", "1b", gguf(60_000_000, seed=os.getpid()), template=uuid.uuid4().hex)
    registry.faults.pace = 0.6
    shelf.login(registry, hub)
    yield f"ollama://{registry.host}/library/slow:1b"


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """What `holds` gives once it gives something."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)
    return found


def leases(shelf: Shelf) -> int:
    with shelf.library.catalog.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM lease")).scalar_one())


def begin(shelf: Shelf, registry: OllamaRegistry, source: str) -> str:
    """The id of an import that has begun to fetch."""
    run = shelf.json("import", source, "--no-wait")["run"]
    until(lambda: registry.body_bytes > 1_000_000)
    return str(run)


def test_a_cancelled_import_ends_its_threads_and_the_next_one_goes_on(shelf: Shelf, registry: OllamaRegistry, slow: str) -> None:
    run = begin(shelf, registry, slow)
    shelf("cancel", run[:8])
    until(lambda: shelf.api.run(run)["state_type"] == "CANCELLED")
    until(lambda: leases(shelf) == 0, seconds=10)
    sent = registry.body_bytes
    time.sleep(0.5)
    assert registry.body_bytes - sent < 2_000_000, "nothing is fetched after the lease is released"
    assert next(one for one in shelf.json("list") if one["model"] == "slow")["interrupted"]
    registry.faults.pace = 0
    shelf("retry", run[:8])
    assert shelf.json("show", "slow:1b")["state"] == "ready"
    shelf("delete", "slow:1b")


def test_the_history_names_who_asked_and_the_publisher_is_asked_once_by_all_steps_of_a_run(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub
) -> None:
    registry.add_model("library/tiny", "92b", gguf(seed=92))
    registry.token = "token-0"
    shelf.login(registry, hub)
    registry.requests.clear()
    shelf("import", f"ollama://{registry.host}/library/tiny:92b")
    paths = [path for _, path, _ in registry.requests]
    assert sum("/token" in path for path in paths) == 1
    assert sum("/manifests/" in path for path in paths) == 2, "the first was answered with where tokens are from"
    shelf("delete", "tiny:92b")
    events = {one["what"]: one["who"] for one in shelf.json("history", "tiny")}
    assert events["version.ready"].startswith(f"{getpass.getuser()}, run import ")
    assert events["version.deleted"].startswith(f"{getpass.getuser()}, run ")


def test_a_killed_run_is_seen_and_the_next_one_completes_it(shelf: Shelf, registry: OllamaRegistry, slow: str) -> None:
    run = begin(shelf, registry, slow)
    os.kill(pid_of(run), signal.SIGKILL)
    until(lambda: shelf.api.run(run)["state_type"] in FINAL)
    assert shelf.api.run(run)["state_type"] == "CRASHED"
    with shelf.library.catalog.writing() as connection:
        connection.execute(text("UPDATE lease SET expires = 0"))  # half a minute passes
    registry.faults.pace = 0
    shelf("import", slow)
    assert shelf.json("show", "slow:1b")["state"] == "ready"
    shelf("delete", "slow:1b")


def test_each_other_lifecycle_killed_as_a_run_leaves_nothing_to_free_by_hand(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path
) -> None:
    registry.add_model("library/tiny", "91b", gguf(seed=91))
    shelf.login(registry, hub)
    shelf("import", f"ollama://{registry.host}/library/tiny:91b")
    for deployment, parameters in (
        ("cache-version", {"model": "tiny:91b"}),
        ("launch-instance", {"model": "tiny:91b", "engine": "llamacpp"}),
        ("stop-instance", {"instance": "tiny", "delete": True}),
        ("delete-version", {"model": "tiny:91b"}),
    ):
        made = shelf.api.create_run(f"{deployment}/{deployment}", parameters, uuid.uuid4().hex)["id"]
        with shelf.library.catalog.writing():  # the run comes as far as its first write
            until(lambda made=made: shelf.api.run(made)["state_type"] == "RUNNING")
            os.kill(pid_of(made), signal.SIGKILL)
            until(lambda made=made: shelf.api.run(made)["state_type"] in FINAL)
        assert shelf.api.run(made)["state_type"] == "CRASHED", deployment
        with shelf.library.catalog.writing() as connection:
            connection.execute(text("UPDATE lease SET expires = 0"))  # half a minute passes
        shelf("retry", made[:8])
    assert shelf.json("instances") == []
    assert not any(one["model"] == "tiny" for one in shelf.json("list"))


def test_the_same_import_twice_at_once_downloads_once_and_the_second_is_told_who_is_at_it(
    shelf: Shelf, registry: OllamaRegistry, slow: str
) -> None:
    first = begin(shelf, registry, slow)
    second = shelf.json("import", slow, "--no-wait")["run"]
    until(lambda: any(re.search("Waiting for .*run import", line["message"]) for line in shelf.api.logs(second, 0)))
    shelf("follow", first[:8])
    shelf("follow", second[:8])
    assert registry.body_bytes == sum(content.size for content in registry.blobs.values())
    shelf("delete", "slow:1b")


def test_progress_is_in_bytes_and_never_falls(shelf: Shelf, registry: OllamaRegistry, slow: str) -> None:
    from modelshelf.catalog import journal

    run = shelf.json("import", slow, "--no-wait")["run"]
    samples: list[int] = []
    while shelf.api.run(run)["state_type"] not in FINAL:
        with shelf.library.catalog.reading() as connection:
            if (sample := journal.get_progress(connection, run)) is not None:
                samples.append(sample.done)
    assert samples == sorted(samples)
    assert len(set(samples)) > 3
    assert samples[-1] > 59_000_000
    shelf("delete", "slow:1b")


def test_an_interrupted_command_leaves_its_run_going_and_says_how_to_follow_it(
    shelf: Shelf, registry: OllamaRegistry, slow: str
) -> None:
    command = subprocess.Popen(
        shelf.command("import", slow), env=shelf.environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: registry.body_bytes > 1_000_000)
    os.killpg(command.pid, signal.SIGINT)
    _, said = command.communicate(timeout=20)
    assert command.returncode == 130
    run = re.search(r"modelshelf follow ([0-9a-f]{8})", said)
    assert run, said
    assert "Not done" not in said  # the run goes on
    assert said.splitlines()[-2:] == [f"Follow it: modelshelf follow {run[1]}", f"Cancel it: modelshelf cancel {run[1]}"]
    shelf("follow", run[1])
    assert shelf.json("show", "slow:1b")["state"] == "ready"
    shelf("delete", "slow:1b")


def test_an_engine_outlives_down_and_its_state_is_seen_without_a_server(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path
) -> None:
    registry.add_model("library/tiny", "1b", gguf())
    shelf.login(registry, hub)
    shelf("import", f"ollama://{registry.host}/library/tiny:1b")
    launched = shelf.json("launch", "tiny", "--name", "served-as", "--engine", "llamacpp")
    process = Process(**launched["process"])
    os.kill(Process(**json.loads((shelf.settings.run / "server.json").read_text())["worker"]).pid, signal.SIGINT)
    shelf("down")
    assert processes.alive(process)
    assert shelf("status").returncode == 0
    assert shelf.json("instances")[0]["state"] == "ready"
    shelf("up", "--detach")
    again = shelf.json("launch", "tiny", "--name", "served-as", "--engine", "llamacpp")
    assert again["process"] == launched["process"], "what runs is found, not started again"
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not processes.alive(process))
    assert shelf.json("instances")[0]["state"] == "failed"
    shelf("delete", "--instance", "tiny")
    shelf("delete", "tiny")


def test_a_run_starts_over_the_http_api_as_the_how_to_says(shelf: Shelf, registry: OllamaRegistry, hub: Hub) -> None:
    registry.add_model("library/tiny", "2b", gguf(seed=2))
    shelf.login(registry, hub)
    page = (Path(__file__).parent.parent.parent / "docs" / "how-to.md").read_text()
    script = re.search(r"```sh\n(auth=.*?)```", page, re.DOTALL)
    assert script, "the page shows how"
    commands = (
        script[1].replace("qwen3:0.6b", f"{registry.host}/library/tiny:2b").replace("~/.modelshelf", str(shelf.settings.home))
    )
    url = json.loads((shelf.settings.run / "server.json").read_text())["url"]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.replace("http://127.0.0.1:4200", url)],
        capture_output=True,
        text=True,
        check=True,
    )
    run = json.loads(done.stdout.splitlines()[-1])["id"]
    until(lambda: shelf.api.run(run)["state_type"] == "COMPLETED")
    assert shelf.json("show", "tiny:2b")["state"] == "ready"
    shelf("delete", "tiny:2b")


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["import", "ollama://{host}/library/none:1b"], 1, "has no"),
        (["import", "hf://org/gone"], 1, "private or does not exist"),
        (["import", "nonsense"], 2, "neither a file nor a folder"),
        (["show", "nothing"], 1, "modelshelf list"),
        (["launch", "nothing"], 1, "can see no nothing"),
        (["launch", "NOT A NAME"], 2, "is not a model reference|not a model name"),
        (["stop", "nothing"], 1, "modelshelf instances"),
        (["follow", "00000000"], 1, "modelshelf runs"),
        (["logs", "nothing"], 1, "There is no instance"),
        (["delete", "nothing"], 1, "can see no nothing"),
        (["login", "what"], 1, "huggingface, ollama or engine"),
    ],
)
def test_bad_input_gets_its_own_words_and_exit_status(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, command: list[str], status: int, words: str
) -> None:
    shelf.login(registry, hub)
    done = shelf(*[part.format(host=registry.host) for part in command], check=False)
    assert done.returncode == status, done.stderr
    assert re.search(words, " ".join(done.stderr.replace("│", " ").split())), done.stderr
    assert "Traceback" not in done.stderr


def test_what_was_refused_is_not_tried_again(shelf: Shelf, registry: OllamaRegistry, hub: Hub) -> None:
    shelf.login(registry, hub)
    shelf("import", f"ollama://{registry.host}/library/none:1b", check=False)
    assert registry.asked("/manifests/") == 1


def test_a_secret_is_nowhere_but_in_its_block(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path, tmp_path: Path
) -> None:
    """Commands of each kind are run, also into errors, and everything that is stored, printed or shown is searched."""
    hub.repo("org/gated").commit({"model.gguf": gguf(seed=5)})
    hub.repos["org/gated"].gated, hub.token = True, f"{CANARY}hub"
    registry.add_model("library/secret", "1b", gguf(seed=6))
    registry.token, registry.password = f"{CANARY}token", f"me:{CANARY}registry"
    said = [
        shelf("login", "huggingface", "--endpoint", hub.url, stdin=f"{CANARY}hub\n"),
        shelf("login", "ollama", registry.host, "--http", "--user", "me", stdin=f"{CANARY}registry\n"),
        shelf("login", "engine", "door", stdin=f"{CANARY}engine\n"),
        shelf("import", "hf://org/gated"),
        shelf("import", f"ollama://{registry.host}/library/secret:1b"),
        shelf("launch", "secret", "--engine", "llamacpp", "--bind", "0.0.0.0", "--key", "door"),
        shelf("instances", "--json"),
        shelf("restart", "secret"),
        shelf("switch", "secret", "gated"),
        shelf("switch", "secret", "--back"),
        shelf("template", "define", "kept", "secret", "--engine", "llamacpp", "--env", "A=1"),
        shelf("template", "list", "--json"),
        shelf("cache", "gated", "--pin"),
        shelf("evict", "gated", check=False),
        shelf("alias", "gated", "stable"),
        shelf("diff", "gated", "secret"),
        shelf("explain", "secret", "--in", "secret"),
        shelf("show", "secret", "--json"),
        shelf("build", "secret", str(tmp_path / "image")),
        shelf("clean", "--keep", "0", "--days", "0", "--dry-run"),
        shelf("audit", "--rehash"),
        shelf("disk", "--json"),
        shelf("nodes", "--json"),
        shelf("status", "--json"),
        shelf("logs", "secret"),
        shelf("import", "hf://org/gated@none", check=False),
        shelf("login", "engine", "door", stdin=f"{CANARY}other\n"),
        shelf("launch", "secret", "--as", "refused", "--bind", "0.0.0.0", "--key", "nobody-stored", check=False),
        shelf("login", "ollama", registry.host, "--http", "--user", "me", stdin=f"{CANARY}wrong\n"),
        shelf("import", f"ollama://{registry.host}/library/secret:2b", check=False),
        shelf("login", "huggingface", "--endpoint", hub.url, stdin=f"{CANARY}wrong\n"),
        shelf("import", "hf://org/gated", "--name", "refused", check=False),
        shelf("runs", "--json"),
    ]
    assert [done.returncode for done in said].count(1) == 5
    key_file = node_of(shelf.library).own_folder(_label(shelf)) / "key"
    assert CANARY in key_file.read_text()
    for done in said:
        assert CANARY not in done.stdout + done.stderr
    command_lines = [content for _, content in _proc("cmdline")]
    assert not [line for line in command_lines if CANARY.encode() in line]
    api = shelf.api
    environments = [content for _, content in _proc("environ")]
    assert not [one for one in environments if CANARY.encode() in one], "also not in an engine's environment"
    for what in ("flow_runs", "task_runs", "artifacts", "logs", "block_documents", "deployments", "events", "variables"):
        shown = json.dumps(api._send("POST", f"{what}/filter", {} if what == "events" else {"limit": 200}, what=what))
        assert CANARY not in shown, what
    run = api.runs(1)[0]["id"]
    assert CANARY not in json.dumps(api._get(f"flow_run_states/?flow_run_id={run}", what="states"))
    shelf("delete", "--instance", "secret")
    shelf("template", "delete", "kept")
    shelf("alias", "gated", "stable", "--remove")
    shelf("down")
    everywhere = [*shelf.settings.home.rglob("*"), *tmp_path.rglob("*")]
    found = [path for path in everywhere if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert found == [], "blocks are encrypted, and nothing else holds it"
    shelf("up", "--detach")


def test_an_import_shows_its_registry_the_login_that_is_stored_for_it(shelf: Shelf, registry: OllamaRegistry) -> None:
    registry.add_model("library/locked", "1b", gguf(seed=8))
    registry.token, registry.password = "token", "me:right"
    source = f"ollama://{registry.host}/library/locked:1b"
    shelf("login", "ollama", registry.host, "--http", "--no-secret")
    assert "status 401" in shelf("import", source, check=False).stderr
    shelf("login", "ollama", registry.host, "--http", "--user", "me", stdin="right\n")
    shelf("import", source)
    assert shelf.json("show", "locked:1b")["state"] == "ready"
    shelf("delete", "locked:1b")
    shelf("logout", "ollama", registry.host)
    assert shelf("import", source, check=False).returncode == 1


def test_logins_are_listed_without_their_secrets_and_deleted(shelf: Shelf) -> None:
    shelf("login", "ollama", "registry.example:5000", "--user", "me", stdin=f"{CANARY}list\n")
    shelf("login", "engine", "list-door", stdin=f"{CANARY}list\n")
    listed = shelf("logins")
    assert CANARY not in listed.stdout + listed.stderr
    stored = {(one["kind"], one["name"]): one for one in shelf.json("logins")}
    registry = stored["ollama", "registry.example:5000"]
    assert (registry["address"], registry["user"], registry["secret"]) == ("https://registry.example:5000", "me", True)
    shelf("logout", "ollama", "registry.example:5000")
    shelf("logout", "engine", "list-door")
    assert not {("ollama", "registry.example:5000"), ("engine", "list-door")} & {
        (one["kind"], one["name"]) for one in shelf.json("logins")
    }
    again = shelf("logout", "engine", "list-door", check=False)
    assert (again.returncode, "modelshelf logins" in again.stderr) == (1, True)


def test_the_server_is_for_this_machine_and_for_who_knows_its_secret(shelf: Shelf) -> None:
    url = json.loads((shelf.settings.run / "server.json").read_text())["url"]
    port = Url(url).port
    listening = subprocess.run(
        ["bash", "-c", "cat /proc/net/tcp /proc/net/tcp6"], capture_output=True, text=True, check=True
    ).stdout
    at = [
        line.split()[1]
        for line in listening.splitlines()
        if line.split()[3:4] == ["0A"] and line.split()[1].endswith(f":{port:04X}")
    ]
    assert at == [f"0100007F:{port:04X}"], "loopback only"
    wire = Wire()
    assert wire.request("GET", Url(f"{url}/api/admin/version")).status == 401
    assert wire.request("POST", Url(f"{url}/api/flow_runs/filter"), body=b"{}").status in (401, 403)
    secret = shelf.api._authorization
    no_csrf = wire.request(
        "POST", Url(f"{url}/api/flow_runs/filter"), body=b"{}", authorization=secret, headers={"Content-Type": "application/json"}
    )
    assert no_csrf.status == 403, "a request that another web page could send is refused"
    answer = wire.request("GET", Url(f"{url}/api/hello"), authorization=secret, headers={"Origin": "http://evil.example"})
    assert answer.headers.get("access-control-allow-origin") in (None, url)
    page = wire.request("GET", Url(f"{url}/ui-settings"), authorization=secret)
    if page.status == 200:
        assert page.json()["api_url"] == "/api"


def test_secrets_and_databases_are_for_their_owner_alone(shelf: Shelf) -> None:
    home = shelf.settings.home
    for folder in (home, shelf.settings.secrets, shelf.settings.prefect_home, shelf.settings.run):
        assert folder.stat().st_mode & 0o777 == 0o700, folder
    for name in ("auth-string", "block-key"):
        assert (shelf.settings.secrets / name).stat().st_mode & 0o777 == 0o600
    key = (shelf.settings.secrets / "block-key").read_bytes().strip()
    for database in shelf.settings.prefect_home.rglob("*.db*"):
        assert key not in database.read_bytes()


def test_reconcile_is_scheduled_and_only_observes(shelf: Shelf) -> None:
    api = shelf.api
    deployed = {one["name"]: one for one in api.deployments()}
    assert deployed["reconcile-every-five-minutes"]["schedules"][0]["active"]
    run = api.create_run("reconcile/reconcile-every-five-minutes", {}, uuid.uuid4().hex)["id"]
    until(lambda: api.run(run)["state_type"] == "COMPLETED")


def test_a_schedule_that_someone_switched_off_stays_off(shelf: Shelf) -> None:
    api = shelf.api
    deployment = next(one for one in api.deployments() if one["name"] == "reconcile-every-five-minutes")
    schedule = deployment["schedules"][0]["id"]
    api._send("PATCH", f"deployments/{deployment['id']}/schedules/{schedule}", {"active": False}, what="a schedule")
    shelf("down")
    shelf("up", "--detach")
    after = next(one for one in shelf.api.deployments() if one["name"] == "reconcile-every-five-minutes")
    assert [one["active"] for one in after["schedules"]] == [False]


def test_two_commands_that_find_no_server_start_one(shelf: Shelf) -> None:
    shelf("down")
    both = [subprocess.Popen(shelf.command("up", "--detach"), env=shelf.environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    servers = [line for _, line in _proc("cmdline") if b"prefect\0server\0start" in line]
    ours = [
        line
        for line in servers
        if f"{Url(json.loads((shelf.settings.run / 'server.json').read_text())['url']).port}".encode() in line
    ]
    assert len(ours) == 1


def test_a_port_that_another_program_has_is_left_to_it(tmp_path: Path) -> None:
    from modelshelf.cli import starting

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 4200))
        except OSError:
            pass  # somebody has it already: as good
        taken.listen()
        assert starting.free_port(4200) != 4200


def test_a_port_that_is_taken_between_our_look_and_our_server_is_left_to_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two homes start in the same second."""
    from modelshelf.cli import launcher, starting
    from modelshelf.settings import Settings

    settings = Settings(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'catalog.db'}")
    seen = starting.free_port
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = [other.getsockname()[1]]
        monkeypatch.setattr(starting, "free_port", lambda *preferred: ports.pop() if ports else seen(*preferred))
        api = launcher.ensure(settings, lambda _line: None)
        assert api.is_healthy()
        assert (ports, launcher.stop(settings, lambda _line: None)) == ([], True)


def pid_of(run: str) -> int:
    """The process that runs it."""
    wanted = f"PREFECT__FLOW_RUN_ID={run}".encode()
    return next(pid for pid, content in _proc("environ") if wanted in content.split(b"\0"))


def _label(shelf: Shelf) -> str:
    with shelf.library.catalog.reading() as connection:
        return str(connection.execute(text("SELECT label FROM instance")).scalar_one())


def _proc(name: str) -> list[tuple[int, bytes]]:
    """The pid of each process that may be looked at, and what that file of it holds."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                found.append((int(entry.name), (entry / name).read_bytes()))
    return found
