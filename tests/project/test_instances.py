"""Launch, restart, switch and stop as their flows do it, without a server: what they hold, check, conclude and fall back to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.define_template import define_template
from flows.launch_instance import launch_instance
from flows.register_filesystem import register_filesystem
from flows.restart_instance import restart_instance
from flows.switch_instance import switch_instance
from modelshelf.catalog import instances, journal, replicas, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.leases import Lease, instance_lease
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import Point
from modelshelf.errors import (
    BadSetting,
    EngineMissing,
    ModelshelfError,
    NodeFull,
    NotReady,
    PlaceChanged,
    ReplicaGone,
    StillInUse,
    SwitchFailed,
)
from modelshelf.library import caching, naming, observing, running
from modelshelf.library.launching.request import LaunchRequest, LaunchSettings
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName
from modelshelf.settings import Filesystem
from modelshelf.stop import StopToken
from tasks import instances as steps
from tasks import leases
from tasks.library import working_on
from tests.making import P, bring_in, gguf, ollama_source, reaching, stored_key, write
from tests.nodes.local import node_of, with_settings
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.usefixtures("no_server")
CHAT = InstanceName("chat")


@pytest.fixture
def tiny(equipped: Library, registry: OllamaRegistry) -> Version:
    return imported(equipped, registry, 1)


def imported(library: Library, registry: OllamaRegistry, seed: int, **entries: str) -> Version:
    registry.add_model("library/tiny", "1b", gguf(seed=seed, **entries), template="t")
    return bring_in(library, ollama_source(registry))[0]


def run(library: Library, work: Coroutine[Any, Any, Any]) -> Any:
    with working_on(library, "test"):
        return asyncio.run(work)


def launch(library: Library, version: Version, **parameters: Any) -> Instance:
    run(library, launch_instance.fn(model=str(version.ref), instance=str(CHAT), **{"engine": "llamacpp", **parameters}))
    return found(library)


def found(library: Library) -> Instance:
    with library.catalog.reading() as connection:
        return instances.find(connection, P, CHAT)


def is_alive(library: Library, instance: Instance) -> bool:
    return instance.handle is not None and library.node.find(instance.label) == instance.handle


# --- what a launch holds


def test_what_a_launch_counts_on_is_not_evicted_under_it(equipped: Library, registry: OllamaRegistry, tiny: Version) -> None:
    other = imported(equipped, registry, 2)
    assert tiny.size is not None
    with equipped.catalog.writing() as connection:
        replicas.set_budget(connection, equipped.node_id, tiny.size + 1000)
    tried: list[str] = []

    def others_want_the_space() -> None:
        if not tried:
            for want in (
                lambda: caching.evict(equipped, P, tiny.ref, who="test"),
                lambda: caching.fill(equipped, P, other, StopToken()),
            ):
                with pytest.raises((StillInUse, NodeFull), match="instance chat"):
                    want()
                tried.append("refused")

    with reaching("replica.recorded", others_want_the_space):
        assert launch(equipped, tiny).state == "ready"
    assert tried == ["refused", "refused"]


def test_files_that_go_away_before_the_start_are_an_error_that_explains_itself(equipped: Library, tiny: Version) -> None:
    assert tiny.image is not None
    image = tiny.image
    with (
        reaching("replica.recorded", lambda: equipped.node.replicas.evict(image)),
        pytest.raises(ReplicaGone, match="a start lays them out first"),
    ):
        launch(equipped, tiny)
    failed = found(equipped)
    assert (failed.state, failed.handle) == ("failed", None)
    assert "are missing" in str(failed.reason)
    assert launch(equipped, tiny).state == "ready"


def test_a_launch_without_room_for_its_files_says_so_on_the_instance(equipped: Library, tiny: Version) -> None:
    with equipped.catalog.writing() as connection:
        replicas.set_budget(connection, equipped.node_id, 1000)
    with pytest.raises(NodeFull):
        launch(equipped, tiny)
    assert (found(equipped).state, "budget of 1,000 bytes" in str(found(equipped).reason)) == ("failed", True)


# --- what is asked for


def test_an_engine_that_is_asked_for_wins_over_the_templates(equipped: Library, tiny: Version) -> None:
    run(equipped, define_template.fn("bot", [str(tiny.ref)], engine="ollama"))
    run(equipped, launch_instance.fn(template="bot", instance=str(CHAT), engine="llamacpp"))
    assert (found(equipped).engine, found(equipped).state) == ("llamacpp", "ready")


def test_a_limit_is_kept_until_it_is_lifted(equipped: Library, tiny: Version) -> None:
    launch(equipped, tiny, cpus=1, arguments=["--threads", "1"])
    running.stop_instance(equipped, P, CHAT, "test")
    kept = LaunchSettings.of(launch(equipped, tiny))
    assert (kept.cpus, kept.arguments) == (1, ("--threads", "1"))
    running.stop_instance(equipped, P, CHAT, "test")
    assert LaunchSettings.of(launch(equipped, tiny, cpus=0)) == replace(kept, cpus=0)


def test_settings_that_an_earlier_release_stored_are_read(equipped: Library, tiny: Version) -> None:
    made = launch(equipped, tiny)
    stored = {"engine": "llamacpp", "port": 4711, "arguments": ["--threads", "1"], "unknown": 1, "key_block": None}
    read = LaunchSettings.of(replace(made, settings=stored))
    assert read == LaunchSettings("llamacpp", port=4711, arguments=("--threads", "1"))
    assert LaunchSettings.of(replace(made, settings={}, engine="ollama")) == LaunchSettings("ollama")


def test_another_address_asks_again_whether_it_may_be_unprotected() -> None:
    open_to_all = LaunchSettings("llamacpp", bind="0.0.0.0", unprotected=True)
    assert not open_to_all.changed_by(LaunchRequest(bind="10.0.0.1")).unprotected
    assert open_to_all.changed_by(LaunchRequest(bind="0.0.0.0", port=1)).unprotected


def test_the_plan_shows_what_the_engine_leaves_out(equipped: Library, tiny: Version) -> None:
    run(equipped, launch_instance.fn(model=str(tiny.ref), engine="llamacpp", dry_run=True))
    with equipped.catalog.reading() as connection:
        plan = journal.get_plan(connection, "test")
    assert plan is not None
    assert "llama.cpp does not apply its prompt template" in plan["left_out"][0]


# --- how a launch ends early


async def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def _starting(library: Library) -> Callable[[], bool]:
    def condition() -> bool:
        with library.catalog.reading() as connection:
            one = instances.lookup(connection, P, CHAT)
        return one is not None and one.state == "starting" and one.handle is not None

    return condition


def test_a_cancelled_launch_stops_what_is_not_ready(equipped: Library, tiny: Version) -> None:
    async def cancelled() -> None:
        flow = launch_instance.fn(str(tiny.ref), "", str(CHAT), engine="llamacpp", arguments=["--say", "silent"])
        launching = asyncio.ensure_future(flow)
        await _until(_starting(equipped))
        launching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await launching

    run(equipped, cancelled())
    ended = found(equipped)
    assert (ended.state, ended.reason, ended.handle) == ("stopped", running.CANCELLED, None)
    assert node_of(equipped).members(ended.label) == []


@pytest.mark.parametrize("point", ["instance.recorded", "instance.spawned", "instance.pid_recorded"])
def test_a_launch_that_is_cancelled_at_any_step_ends_as_stopped(equipped: Library, tiny: Version, point: Point) -> None:
    async def cancelled() -> None:
        launching = asyncio.ensure_future(launch_instance.fn(str(tiny.ref), "", str(CHAT), engine="llamacpp"))
        loop = asyncio.get_running_loop()
        with reaching(point, lambda: loop.call_soon_threadsafe(launching.cancel)), pytest.raises(asyncio.CancelledError):
            await launching

    run(equipped, cancelled())
    ended = found(equipped)
    assert (ended.state, ended.reason, node_of(equipped).members(ended.label)) == ("stopped", running.CANCELLED, [])


def test_a_killed_launch_is_concluded_by_the_next_look(equipped: Library, tiny: Version) -> None:
    spec = launched_and_killed(equipped, tiny)
    with equipped.catalog.writing() as connection:
        lease = Lease(spec.lease, says="the killed run")
        lease.acquire(connection)
    assert running.seen_state(equipped, spec) == ("starting", None), "its lease has not lapsed"
    observing.observe(equipped)
    assert is_alive(equipped, found(equipped)), "a look leaves alone what is being launched"
    with equipped.catalog.writing() as connection:
        lease.release(connection)
    observing.observe(equipped)
    ended = found(equipped)
    assert (ended.state, ended.reason) == ("failed", running.INTERRUPTED)
    assert node_of(equipped).members(ended.label) == []


def test_a_killed_launch_is_proven_by_the_next_one_or_replaced_by_another(equipped: Library, tiny: Version) -> None:
    left = launched_and_killed(equipped, tiny)
    assert launch(equipped, tiny).handle == left.handle
    left = launched_and_killed(equipped, tiny)
    replaced = launch(equipped, tiny, arguments=["--threads", "2"])
    assert (replaced.state, replaced.handle != left.handle) == ("ready", True)
    assert len(node_of(equipped).members(replaced.label)) == 1


def launched_and_killed(library: Library, version: Version) -> Instance:
    """The instance as a launch leaves it that was killed before it was proven."""
    made = launch(library, version)
    with library.catalog.writing() as connection:
        instances.change(connection, made.id, state="starting")
    return found(library)


# --- restart and switch check first


Break = Callable[[Library, Version], Library]


def _engine_gone(library: Library, _version: Version) -> Library:
    return with_settings(library, llamacpp_server="/nowhere/llama-server")


def _damaged(library: Library, version: Version) -> Library:
    with library.catalog.writing() as connection:
        versions.reopen(connection, P, version, "its content is damaged", "test")
    return library


def _no_room(library: Library, version: Version) -> Library:
    with library.catalog.writing() as connection:
        replicas.set_budget(connection, library.node_id, 1000)
        replicas.release(connection, library.node_id, version.id, "gone")
    return library


@pytest.mark.parametrize(
    ("broken", "error"), [(_engine_gone, EngineMissing), (_damaged, NotReady), (_no_room, NodeFull)], ids=lambda v: v.__name__
)
def test_a_restart_that_cannot_work_stops_nothing(
    equipped: Library, tiny: Version, broken: Break, error: type[ModelshelfError]
) -> None:
    made = launch(equipped, tiny)
    with pytest.raises(error):
        run(broken(equipped, tiny), restart_instance.fn(str(CHAT)))
    assert (found(equipped).state, found(equipped).handle) == ("ready", made.handle)
    assert is_alive(equipped, made)


def test_a_restart_whose_file_was_touched_stops_nothing(equipped: Library, tmp_path: Path) -> None:
    file = write(tmp_path / "mnt/models/mine/model.gguf", gguf())
    library = replace(
        equipped, settings=replace(equipped.settings, filesystems={"shared": Filesystem(tmp_path / "mnt", "local")})
    )
    run(library, register_filesystem.fn("shared", "models/mine"))
    run(library, launch_instance.fn("mine", "", str(CHAT)))
    made = found(library)
    file.touch()
    with pytest.raises(PlaceChanged):
        run(library, restart_instance.fn(str(CHAT)))
    assert is_alive(library, made)
    file.unlink()
    with pytest.raises(PlaceChanged):
        run(library, restart_instance.fn(str(CHAT)))
    assert is_alive(library, made)
    assert found(library).state == "ready"


def test_a_restart_without_its_key_stops_nothing(equipped: Library, tiny: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    with stored_key("the-key"):
        made = launch(equipped, tiny, key="door")

    async def nobody_stored(_block: str) -> str:
        raise BadSetting(where="the engine key 'door'", reason="nobody stored it")

    monkeypatch.setattr(steps, "_key", nobody_stored)
    with pytest.raises(BadSetting, match="nobody stored it"):
        run(equipped, restart_instance.fn(str(CHAT)))
    assert is_alive(equipped, made)


def test_a_restart_runs_the_same_again(equipped: Library, tiny: Version) -> None:
    made = launch(equipped, tiny, arguments=["--threads", "1"])
    run(equipped, restart_instance.fn(str(CHAT)))
    after = found(equipped)
    assert (after.state, after.port, after.settings, after.serves) == ("ready", made.port, made.settings, made.serves)
    assert after.handle != made.handle


def test_a_switch_that_cannot_work_stops_nothing(equipped: Library, registry: OllamaRegistry, tiny: Version) -> None:
    made = launch(equipped, tiny)
    other = imported(equipped, registry, 2)
    with equipped.catalog.writing() as connection:
        replicas.set_budget(connection, equipped.node_id, (tiny.size or 0) + 1000)
    with pytest.raises(NodeFull, match="instance chat"):
        run(equipped, switch_instance.fn(str(CHAT), str(other.ref)))
    with pytest.raises(EngineMissing):
        run(_engine_gone(equipped, other), switch_instance.fn(str(CHAT), str(other.ref)))
    assert is_alive(equipped, made)
    with equipped.catalog.reading() as connection:
        assert instances.holders(connection, other) == [], "what was not switched to is not held"


def test_a_switch_that_does_not_come_up_serves_again_what_it_did(
    equipped: Library, registry: OllamaRegistry, tiny: Version
) -> None:
    launch(equipped, tiny)
    naming.mark(equipped, P, tiny.ref, who="test", disabled=True)  # what it serves may be started again
    bad = imported(equipped, registry, 2, **{"general.name": "cannot be loaded"})
    with pytest.raises(SwitchFailed, match=r"(?s)serves its former version again\..*unknown model architecture"):
        run(equipped, switch_instance.fn(str(CHAT), str(bad.ref)))
    after = found(equipped)
    assert (after.state, [one.version_id for one in after.serves]) == ("ready", [tiny.id])
    assert is_alive(equipped, after)


def test_a_switch_falls_back_to_what_the_one_before_it_made(equipped: Library, registry: OllamaRegistry, tiny: Version) -> None:
    """Two switches at once: the second waits, and what it plans is what the first one left."""
    launch(equipped, tiny)
    second = imported(equipped, registry, 2)
    bad = imported(equipped, registry, 3, **{"general.name": "cannot be loaded"})

    async def both() -> None:
        async with leases.hold(instance_lease(P, CHAT)):
            waiting = asyncio.ensure_future(switch_instance.fn(str(CHAT), str(bad.ref)))
            await asyncio.sleep(0.3)  # it waits for the lease, or it has planned already
            plan = await steps.plan_switch(P, CHAT, second.ref, back=False, forget=False)
            await steps.switch(P, plan, began=0.0, queued=0.0)
        with pytest.raises(SwitchFailed):
            await waiting

    run(equipped, both())
    assert [one.version_id for one in found(equipped).serves] == [second.id]


def test_what_a_switch_would_return_to_is_not_evicted_meanwhile(
    equipped: Library, registry: OllamaRegistry, tiny: Version
) -> None:
    launch(equipped, tiny)
    bad = imported(equipped, registry, 2, **{"general.name": "cannot be loaded"})
    tried: list[bool] = []

    def evict() -> None:
        if not tried:
            with pytest.raises(StillInUse, match="instance chat"):
                caching.evict(equipped, P, tiny.ref, who="test")
            tried.append(True)

    with reaching("instance.spawned", evict), pytest.raises(SwitchFailed):
        run(equipped, switch_instance.fn(str(CHAT), str(bad.ref)))
    assert tried == [True]
