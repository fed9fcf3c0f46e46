"""On a shared server, a run whose machine is gone ends, and no run that lives or has ended does."""

from __future__ import annotations

from prefect.events import EventTrigger, Posture, ResourceSpecification
from prefect.settings import get_current_settings

from deployments.automations import lost_runs
from modelshelf.cli.deployments import TAG
from modelshelf.cli.follow import OURS
from tests.project.test_deployments import STATED


def trigger() -> EventTrigger:
    found = lost_runs().trigger
    assert isinstance(found, EventTrigger)
    return found


def test_three_heartbeats_of_prefects_default_must_be_missing() -> None:
    heartbeat = get_current_settings().flows.heartbeat_frequency
    assert heartbeat is not None
    assert trigger().posture is Posture.Proactive
    assert trigger().within.total_seconds() == 3 * heartbeat


def test_each_end_of_a_run_is_expected_by_the_name_of_its_state() -> None:
    """The event of a state has the state's name, so a refused run would else be ended once more as crashed."""
    ends = {name.removeprefix("prefect.flow-run.") for name in trigger().expect} - {"heartbeat"}
    assert ends == {"Completed", "Failed", "Cancelled", "Crashed", *OURS}


def test_only_our_runs_are_ended_by_the_tag_that_each_heartbeat_has() -> None:
    """A heartbeat names no work pool."""
    assert trigger().match_related == ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}"})
    assert all(TAG in one["tags"] for one in STATED)
