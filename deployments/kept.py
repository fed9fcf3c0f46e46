"""What a person changed of a deployment in Prefect's UI: its schedules, its parameters, whether it is paused. A deployment that
is written again keeps these, also where an earlier version gave it another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

_EARLIER = {
    "warm-up-nightly": "nightly",
    "clean-weekly": "weekly",
    "audit-weekly": "weekly",
    "audit-part-nightly": "nightly",
    "reconcile-every-five-minutes": "every-five-minutes",
}
"""What a deployment was called before it was named for what it does; every other one was `on-demand`."""

Stated = dict[str, Any]
"""One deployment, as `prefect.yaml` states it."""


def with_kept(stated: Sequence[Stated], there: Sequence[DeploymentResponse]) -> list[Stated]:
    """Return the deployments as they are to be written: as stated, but for what a person set of those that are there."""
    return [one if (before := _before(one, there)) is None else _merged(one, before) for one in stated]


def of_earlier_names(stated: Sequence[Stated], there: Sequence[DeploymentResponse]) -> list[DeploymentResponse]:
    """Return the deployments that stand for a stated one under its earlier name."""
    names = {one["name"] for one in stated}
    entrypoints = {one["entrypoint"] for one in stated}
    earlier = {*_EARLIER.values(), "on-demand"}
    return [one for one in there if one.entrypoint in entrypoints and one.name in earlier - names]


def _before(stated: Stated, there: Sequence[DeploymentResponse]) -> DeploymentResponse | None:
    for name in (stated["name"], _EARLIER.get(stated["name"], "on-demand")):
        for one in there:
            if (one.entrypoint, one.name) == (stated["entrypoint"], name):
                return one
    return None


def _merged(stated: Stated, before: DeploymentResponse) -> Stated:
    return {
        **stated,
        "schedules": [_as_stated(one, stated.get("schedules", ())) for one in before.schedules],
        "parameters": {**stated.get("parameters", {}), **before.parameters},
        "paused": before.paused,
    }


def _as_stated(schedule: DeploymentSchedule, stated: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schedule in the words of `prefect.yaml`.

    One without parameters takes those of the stated schedule of the same times: it is from before these had any.
    """
    times: dict[str, Any]
    match schedule.schedule:
        case CronSchedule() as when:
            times = {"cron": when.cron, "timezone": when.timezone, "day_or": when.day_or}
        case IntervalSchedule() as when:
            times = {
                "interval": when.interval.total_seconds(),
                "anchor_date": when.anchor_date.isoformat(),
                "timezone": when.timezone,
            }
        case RRuleSchedule() as when:
            times = {"rrule": when.rrule, "timezone": when.timezone}
    twins = (one for one in stated if all(times.get(name) == one.get(name) for name in ("cron", "interval", "rrule")))
    parameters = schedule.parameters or next(twins, {}).get("parameters", {})
    kept = {**times, "active": schedule.active, "parameters": parameters, "slug": schedule.slug}
    return {name: value for name, value in kept.items() if value is not None}
