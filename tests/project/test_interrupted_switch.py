"""A switch that was killed is resumed or undone by the next command, and a launch holds to what was disabled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from flows.launch_instance import launch_instance
from flows.recover_instance import recover_instance
from flows.switch_instance import switch_instance
from modelshelf.catalog import instances, journal, versions
from modelshelf.catalog.leases import instance_lease
from modelshelf.catalog.versions import Version
from modelshelf.errors import Disabled, EngineDied, NothingToSwitch, SwitchFailed
from modelshelf.library import naming, observing, running, switching
from modelshelf.library.launching import start as starting
from modelshelf.library.opening import Library
from modelshelf.library.recovery import claim_lost
from tasks import leases
from tests.making import P, reaching
from tests.project.test_instances import CHAT, _until, found, imported, is_alive, launch, launched_and_killed, run
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.usefixtures("no_server")


def killed(library: Library, after: Version, *, recorded: bool = True) -> None:
    """Leave the instance as a switch to that version leaves it that is killed before, or after, it is recorded."""
    plan = switching.plan_switch(library, P, CHAT, after.ref, back=False)
    switching.hold_both(library, plan)
    if recorded:
        running.end_instance(library, P, CHAT, "test")
        starting.record(library, P, plan.after, "test", also={target.id for target, _ in plan.before.serves})


def serves(library: Library) -> tuple[str, list[int]]:
    """The instance's state, and the ids of the versions that it holds."""
    with library.catalog.reading() as connection:
        chat = instances.find(connection, P, CHAT)
        return chat.state, sorted(instances.held(connection, chat))


def test_a_switch_that_was_killed_after_it_was_recorded_is_resumed_by_the_same_command(
    equipped: Library, registry: OllamaRegistry
) -> None:
    first, second = imported(equipped, registry, 1), imported(equipped, registry, 2)
    launch(equipped, first)
    killed(equipped, second)
    assert serves(equipped) == ("starting", [first.id, second.id])
    run(equipped, switch_instance.fn(str(CHAT), str(second.ref)))
    assert serves(equipped) == ("ready", [second.id])
    assert is_alive(equipped, found(equipped))


def test_a_resumed_switch_that_does_not_come_up_serves_again_what_it_did(equipped: Library, registry: OllamaRegistry) -> None:
    first = imported(equipped, registry, 1)
    bad = imported(equipped, registry, 2, **{"general.name": "cannot be loaded"})
    launch(equipped, first)
    killed(equipped, bad)
    observing.observe(equipped)
    assert serves(equipped) == ("failed", [first.id, bad.id]), "the look keeps the way back"
    with pytest.raises(SwitchFailed, match="serves its former version again"):
        run(equipped, switch_instance.fn(str(CHAT), str(bad.ref)))
    assert serves(equipped) == ("ready", [first.id])


def test_a_killed_switch_that_is_recovered_and_does_not_come_up_serves_again_what_it_did(
    equipped: Library, registry: OllamaRegistry
) -> None:
    """Nobody repeats the command: the next look starts the instance."""
    first = imported(equipped, registry, 1)
    bad = imported(equipped, registry, 2, **{"general.name": "cannot be loaded"})
    launch(equipped, first)
    killed(equipped, bad)
    observing.observe(equipped)
    assert [str(name) for _, name in claim_lost(equipped).instances] == [str(CHAT)]
    with pytest.raises(SwitchFailed, match="serves its former version again"):
        run(equipped, recover_instance.fn(str(CHAT)))
    assert serves(equipped) == ("ready", [first.id])
    assert not run(equipped, recover_instance.fn(str(CHAT)))


def test_a_switch_that_was_killed_after_it_was_recorded_is_undone_by_the_way_back(
    equipped: Library, registry: OllamaRegistry
) -> None:
    first, second = imported(equipped, registry, 1), imported(equipped, registry, 2)
    launch(equipped, first)
    killed(equipped, second)
    run(equipped, switch_instance.fn(str(CHAT), back=True))
    assert serves(equipped) == ("ready", [first.id])


def test_a_way_back_that_is_tried_again_goes_to_the_same_revision(equipped: Library, registry: OllamaRegistry) -> None:
    first, second = imported(equipped, registry, 1), imported(equipped, registry, 2)
    launch(equipped, first)
    run(equipped, switch_instance.fn(str(CHAT), str(second.ref)))
    for _ in range(2):
        run(equipped, switch_instance.fn(str(CHAT), back=True, revision=1))
        assert serves(equipped) == ("ready", [first.id])
    run(equipped, switch_instance.fn(str(CHAT), forget=True))
    for revision in (0, 1):
        with pytest.raises(NothingToSwitch, match="no earlier version is recorded|revision 1 is not recorded any more"):
            run(equipped, switch_instance.fn(str(CHAT), back=True, revision=revision))


def test_what_a_switch_held_that_was_killed_before_it_stopped_anything_is_let_go_by_the_next_look(
    equipped: Library, registry: OllamaRegistry
) -> None:
    first, second = imported(equipped, registry, 1), imported(equipped, registry, 2)
    launch(equipped, first)

    async def looked_while_it_runs() -> None:
        async with leases.hold(instance_lease(P, CHAT)):
            killed(equipped, second, recorded=False)
            observing.observe(equipped)
            assert serves(equipped) == ("ready", [first.id, second.id]), "a switch that runs keeps what it holds"

    run(equipped, looked_while_it_runs())
    observing.observe(equipped)
    assert serves(equipped) == ("ready", [first.id])


def test_a_switch_to_what_a_dead_instance_serves_starts_it_again(equipped: Library, registry: OllamaRegistry) -> None:
    first = imported(equipped, registry, 1)
    launch(equipped, first)
    running.stop_engine(equipped, found(equipped))
    run(equipped, switch_instance.fn(str(CHAT), str(first.ref)))
    assert is_alive(equipped, found(equipped))
    running.stop_instance(equipped, P, CHAT, "test")
    run(equipped, switch_instance.fn(str(CHAT), forget=True))
    assert found(equipped).state == "stopped", "to forget starts nothing"


def test_a_version_without_another_to_return_to_is_not_tried_twice(equipped: Library, registry: OllamaRegistry) -> None:
    bad = imported(equipped, registry, 2, **{"general.name": "cannot be loaded"})
    with pytest.raises(EngineDied):
        launch(equipped, bad)
    with pytest.raises(EngineDied, match="unknown model architecture"):
        run(equipped, switch_instance.fn(str(CHAT), str(bad.ref)))


# --- a launch and `disable` of the version that it launches


def test_a_version_that_is_disabled_while_its_launch_waits_is_refused_and_nothing_is_recorded(
    equipped: Library, registry: OllamaRegistry
) -> None:
    tiny = imported(equipped, registry, 1)

    def planned() -> bool:
        with equipped.catalog.reading() as connection:
            plan = journal.get_plan(connection, "test") or {}
        return plan.get("instance") == str(CHAT)

    async def raced() -> None:
        async with leases.hold(instance_lease(P, CHAT)):
            launching = asyncio.ensure_future(launch_instance.fn(str(tiny.ref), "", str(CHAT), engine="llamacpp"))
            await _until(planned)
            naming.mark(equipped, P, tiny.ref, who="test", disabled=True)
        with pytest.raises(Disabled):
            await launching

    run(equipped, raced())
    with equipped.catalog.reading() as connection:
        assert instances.page(connection, P) == []
        assert instances.holders(connection, tiny) == []
    assert equipped.node.look() == {}


def test_a_version_that_is_disabled_once_its_launch_is_recorded_comes_up(equipped: Library, registry: OllamaRegistry) -> None:
    tiny = imported(equipped, registry, 1)

    def disable() -> None:
        naming.mark(equipped, P, tiny.ref, who="test", disabled=True)

    with reaching("instance.recorded", disable):
        assert launch(equipped, tiny).state == "ready"
    with equipped.catalog.reading() as connection:
        assert versions.get(connection, P, tiny.id).disabled


def test_a_killed_launch_of_a_version_that_was_disabled_since_is_taken_up_again(
    equipped: Library, registry: OllamaRegistry
) -> None:
    """It was recorded before: what an instance was started with may be started again."""
    tiny = imported(equipped, registry, 1)
    launched_and_killed(equipped, tiny)
    naming.mark(equipped, P, tiny.ref, who="test", disabled=True)
    run(equipped, launch_instance.fn("", "", str(CHAT)))
    assert found(equipped).state == "ready"
