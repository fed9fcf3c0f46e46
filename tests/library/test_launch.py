"""Launches with an engine that answers in a blink; the real one is started in tests/live."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from modelshelf.catalog import instances
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.engines.contract import Model, Surroundings
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.errors import (
    EngineDied,
    EngineMissing,
    EngineNotReady,
    EngineTooSlow,
    InstanceRuns,
    NoSuchInstance,
    PortTaken,
    TypeMismatch,
    Unprotected,
)
from modelshelf.formats.kinds import Format
from modelshelf.library import caching, running
from modelshelf.library.launching import prove
from modelshelf.library.launching import start as starting
from modelshelf.library.launching.request import LaunchRequest, LaunchSettings, LaunchSpec, again, resolve
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ServedName
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.stop import StopToken
from modelshelf.wire import Url, Wire
from tests.making import NOTHING_ASKED, P, bring_in, gguf, hub_source, launch_all, ollama_source, safetensors
from tests.nodes.local import handled, key_file, log_file, node_of, with_settings
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

NAME, SERVED = InstanceName("chat-1"), ServedName("tiny")


def with_engine(library: Library, tmp_path: Path) -> Library:
    """The library with our quick engine as its llama-server."""
    program = tmp_path / "llama-server"
    program.write_text(f"#!{sys.executable}\n{Path(ENGINE).read_text()}")
    program.chmod(0o755)
    return with_settings(library, llamacpp_server=str(program))


ENGINE = str(Path(__file__).parent.parent / "stand_ins" / "engine.py")


@pytest.fixture
def ready(registry: OllamaRegistry, library: Library, tmp_path: Path) -> Iterator[tuple[Library, Version]]:
    registry.add_model("library/tiny", "1b", gguf(), template="t", params="{}")
    version, _ = bring_in(library, ollama_source(registry))
    equipped = with_engine(library, tmp_path)
    yield equipped, version
    with equipped.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(equipped, one)


def launch(library: Library, version: Version, request: LaunchRequest = NOTHING_ASKED, key: str = "") -> Instance:
    return launch_all(library, NAME, ((version, SERVED),), request, key)


def process_of(instance: Instance) -> Process:
    return handled(instance.handle)


def test_a_launched_instance_is_ready_and_says_what_it_runs(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version)
    assert (made.state, made.bind, made.engine) == ("ready", "127.0.0.1", "llamacpp")
    assert processes.alive(process_of(made))
    assert "--alias tiny" in " ".join(made.command)
    assert any("template" in note for note in made.notes), "what is left out is said"
    assert os.getsid(process_of(made).pid) == process_of(made).pid, "a session of its own"


def test_launching_again_finds_what_runs(ready: tuple[Library, Version]) -> None:
    library, version = ready
    assert launch(library, version).handle == launch(library, version).handle


def test_a_running_instance_is_not_changed_under_its_users(ready: tuple[Library, Version]) -> None:
    library, version = ready
    launch(library, version)
    with pytest.raises(InstanceRuns, match="arguments"):
        launch(library, version, LaunchRequest(arguments=("--threads", "1")))


def test_a_stopped_instance_keeps_its_port_and_does_not_run(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version)
    stopped = running.stop_instance(library, P, NAME, "test")
    assert stopped.state == "stopped"
    assert not processes.alive(process_of(made))
    assert running.stop_instance(library, P, NAME, "test").state == "stopped", "stopping again is no error"
    assert launch(library, version).port == made.port


def test_what_an_instance_was_started_with_is_kept_through_restarts(ready: tuple[Library, Version]) -> None:
    library, version = ready
    launch(library, version, LaunchRequest(arguments=("--say", "slow"), cpus=1))

    def resolved(request: LaunchRequest) -> LaunchSettings:
        spec = resolve(library, P, model=version.ref, template=None, served=None, name=NAME, request=request)
        assert (spec.instance, [name for _, name in spec.serves]) == (NAME, [SERVED])
        return spec.settings

    kept = LaunchSettings("llamacpp", arguments=("--say", "slow"), cpus=1)
    assert resolved(NOTHING_ASKED) == kept
    assert again(library, P, NAME).settings == kept
    assert resolved(LaunchRequest(arguments=("--threads", "1"))) == replace(kept, arguments=("--threads", "1"))
    assert resolved(LaunchRequest(cpus=0)) == replace(kept, cpus=0), "asking for the default lifts a limit"
    assert resolved(LaunchRequest(engine="ollama")).engine == "ollama"


def test_a_deleted_instance_is_gone_with_its_log(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version)
    log = log_file(library, made)
    running.delete_instance(library, P, NAME, "test")
    assert not log.exists()
    with library.catalog.reading() as connection:
        with pytest.raises(NoSuchInstance):
            instances.find(connection, P, NAME)
        instances.require_unused(connection, version)


def test_a_killed_engine_is_seen(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version)
    processes.stop(process_of(made), 0)
    state, reason = running.seen_state(library, made)
    assert state == "failed"
    assert "engine has ended" in str(reason)


def test_another_process_with_the_same_pid_is_not_ours(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version)
    ours = process_of(made)
    assert not processes.alive(replace(ours, started=ours.started - 1))
    assert not processes.alive(replace(ours, boot="another"))
    processes.stop(replace(ours, started=ours.started - 1), 0)
    assert processes.alive(ours), "a process that is not the recorded one is never ended"


def test_a_taken_port_is_told_before_anything_starts(ready: tuple[Library, Version]) -> None:
    library, version = ready
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortTaken, match="--port"):
            launch(library, version, LaunchRequest(port=taken.getsockname()[1]))


def test_an_engine_that_dies_is_reported_with_its_last_lines_as_a_block(ready: tuple[Library, Version]) -> None:
    library, version = ready
    with pytest.raises(EngineDied) as died:
        launch(library, version, LaunchRequest(arguments=("--say", "die")))
    first, *lines = str(died.value).split("\n")
    assert first.endswith("The whole log: `modelshelf logs chat-1`. From it:")
    assert [line for line in lines if not line.startswith("    ")] == []
    assert "not enough memory" in lines[-1]
    assert " | " not in str(died.value)
    with library.catalog.reading() as connection:
        failed = instances.find(connection, P, NAME)
    assert failed.state == "failed"
    assert "not enough memory" in str(failed.reason)
    assert launch(library, version).state == "ready", "it can be launched again"


@pytest.mark.parametrize(
    ("say", "reason"),
    [
        ("other-name", "lists another, expected tiny"),
        ("no-list", "no list of models"),
        ("no-token", "the answer is empty"),
        ("broken", "(?s)status 500.*the kernel for this head size is missing"),
    ],
)
def test_an_engine_that_does_not_serve_the_model_is_stopped_and_what_it_answered_is_the_reason(
    ready: tuple[Library, Version], say: str, reason: str
) -> None:
    library, version = ready
    with pytest.raises(EngineNotReady, match=reason):
        launch(library, version, LaunchRequest(arguments=("--say", say)))
    with library.catalog.reading() as connection:
        failed = instances.find(connection, P, NAME)
    assert node_of(library).members(failed.label) == []
    assert failed.state == "failed"
    assert re.search(reason, str(failed.reason))


def test_an_engine_that_is_missing_is_told(ready: tuple[Library, Version]) -> None:
    library, version = ready
    with pytest.raises(EngineMissing, match="config.toml"):
        launch(with_settings(library, llamacpp_server="/nowhere/llama-server"), version)


def test_beyond_loopback_a_key_is_required_and_asked_for(ready: tuple[Library, Version]) -> None:
    library, version = ready
    with pytest.raises(Unprotected, match="--key"):
        launch(library, version, LaunchRequest(bind="0.0.0.0"))
    made = launch(library, version, LaunchRequest(bind="0.0.0.0", key_block="door"), key="canary-key")
    assert "canary-key" not in " ".join(made.command)
    assert b"canary-key" not in Path(f"/proc/{process_of(made).pid}/environ").read_bytes()
    assert key_file(library, made).stat().st_mode & 0o777 == 0o600


def test_an_engine_that_reads_its_key_while_we_write_it_reads_it_whole(ready: tuple[Library, Version]) -> None:
    """Starting and waiting each write it: between the two, an engine that opened an emptied file would let nobody in."""
    library, version = ready
    made = launch(library, version, LaunchRequest(key_block="door"), key="the-key")
    file = key_file(library, made)
    seen: set[str] = set()
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.add(file.read_text())

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(500):
        library.node.prepare(made.label, [], None, bind=made.bind, port=made.port, key="the-key")
    ended.set()
    reading.join()
    assert seen == {"the-key\n"}


def test_a_key_that_the_engine_does_not_ask_for_is_no_key(ready: tuple[Library, Version]) -> None:
    library, version = ready
    with pytest.raises(EngineNotReady, match="carry no key"):
        launch(library, version, LaunchRequest(bind="0.0.0.0", key_block="door", arguments=("--say", "open")), key="the-key")
    with library.catalog.reading() as connection:
        assert node_of(library).members(instances.find(connection, P, NAME).label) == []


def test_a_look_at_an_instance_with_a_key_asks_with_it_and_without(ready: tuple[Library, Version]) -> None:
    library, version = ready
    made = launch(library, version, LaunchRequest(key_block="door"), key="the-key")
    assert prove.listing_differs(library, P, made) is None
    key_file(library, made).write_text("another-key")
    assert "401" in str(prove.listing_differs(library, P, made))


def test_a_start_without_a_line_of_log_is_reported_while_it_is_waited_for(ready: tuple[Library, Version]) -> None:
    library, version = ready
    library = replace(library, limits=replace(library.limits, engine_start_seconds=2, engine_quiet_seconds=1))
    recorded = launch_only(library, version, LaunchRequest(arguments=("--say", "silent")))
    silent: list[float] = []
    began = time.monotonic()
    with pytest.raises(EngineTooSlow, match="did not answer within 2 s"):
        prove.wait_until_ready(library, recorded, StopToken(), silent.append)
    assert len(silent) >= 1
    assert all(1 <= seconds < time.monotonic() - began for seconds in silent)


def test_an_engine_is_not_proven_by_another_program_that_has_its_port(ready: tuple[Library, Version], tmp_path: Path) -> None:
    library, version = ready
    library = replace(library, limits=replace(library.limits, engine_start_seconds=2))
    recorded = launch_only(library, version, LaunchRequest(arguments=("--say", "deaf")))
    command = recorded.instance.command[: recorded.instance.command.index("--say")]
    with subprocess.Popen(command) as other:
        try:
            with pytest.raises(EngineTooSlow):
                prove.wait_until_ready(library, recorded, StopToken())
            assert Wire().request("GET", Url(f"{recorded.instance.url}/health")).status == 200, "the other answers"
        finally:
            other.kill()


def launch_only(library: Library, version: Version, request: LaunchRequest) -> starting.Started:
    """The engine runs, and is not proven yet."""
    spec = LaunchSpec(NAME, ((version, SERVED),), LaunchSettings("llamacpp").changed_by(request))
    instance = starting.record(library, P, spec, "test")
    caching.fill(library, P, version, StopToken())
    return starting.start(library, P, instance, spec.serves, spec.settings, "")


def test_unprotected_is_possible_when_it_is_said(ready: tuple[Library, Version]) -> None:
    library, version = ready
    assert launch(library, version, LaunchRequest(bind="0.0.0.0", unprotected=True)).state == "ready"


def test_an_engine_that_does_not_take_the_format_is_refused_with_both_named(hub: Hub, library: Library, tmp_path: Path) -> None:
    hub.repo("org/m").commit({"config.json": b"{}", "model.safetensors": safetensors()})
    version, _ = bring_in(library, hub_source(hub, "org/m"))
    with pytest.raises(TypeMismatch, match="llamacpp serves gguf and ollama.*is safetensors"):
        launch(with_engine(library, tmp_path), version)


def test_the_environment_of_an_engine_is_built_from_scratch(
    ready: tuple[Library, Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    library, version = ready
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "canary-auth")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-aws")
    environment = Path(f"/proc/{process_of(launch(library, version)).pid}/environ").read_bytes()
    assert b"canary" not in environment


def test_of_shards_the_engine_gets_the_first_and_a_projector_beside_it(tmp_path: Path) -> None:
    from modelshelf.digest import Digest
    from modelshelf.formats.image import PackedFile
    from modelshelf.formats.kinds import Role
    from modelshelf.names import FilePath

    names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-m.gguf"]
    files = tuple(PackedFile(FilePath(name), Role.WEIGHT, Digest.of(name.encode()), 1) for name in names)
    at = Surroundings((PurePosixPath(tmp_path),), PurePosixPath("/own"), "127.0.0.1", 1)
    arguments = LlamaCpp().command([Model(SERVED, "chat", Format.GGUF, files)], at, ["--threads", "2"]).arguments
    assert arguments[:2] == ("--model", str(tmp_path / names[0]))
    assert arguments[arguments.index("--mmproj") + 1] == str(tmp_path / names[2])
    assert arguments[-2:] == ("--threads", "2")
