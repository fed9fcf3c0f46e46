"""What a person changed of a deployment in the UI survives when it is written again, also under another name."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.cli.deploy._schedules import _schedule_config_to_deployment_schedule
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule, RRuleSchedule

from deployments import kept
from tests.project.test_deployments import STATED

CLEAN = next(one for one in STATED if one["name"] == "clean-weekly")


def there(stated: dict[str, Any], *schedules: DeploymentSchedule, name: str = "", **more: Any) -> DeploymentResponse:
    """The deployment as a server has it."""
    return DeploymentResponse(
        id=uuid.uuid4(), flow_id=uuid.uuid4(), name=name or stated["name"], entrypoint=stated["entrypoint"],
        schedules=list(schedules), **more,
    )  # fmt: skip


def scheduled(schedule: SCHEDULE_TYPES, *, active: bool = True, **parameters: Any) -> DeploymentSchedule:
    return DeploymentSchedule(deployment_id=uuid.uuid4(), schedule=schedule, active=active, parameters=parameters)


def test_a_deployment_that_the_server_has_not_is_as_stated() -> None:
    assert kept.with_kept(STATED, []) == STATED


def test_each_kind_of_schedule_comes_back_as_it_was() -> None:
    """As Prefect's own deploy reads what we write for it."""
    anchor = datetime(2024, 2, 3, 4, 5, tzinfo=UTC)
    set_by_a_person: list[SCHEDULE_TYPES] = [
        CronSchedule(cron="1 2 * * 1", timezone="Europe/Berlin", day_or=False),
        IntervalSchedule(interval=timedelta(minutes=7), anchor_date=anchor, timezone="Asia/Tokyo"),
        RRuleSchedule(rrule="FREQ=DAILY;INTERVAL=3", timezone="UTC"),
    ]
    before = there(CLEAN, *(scheduled(one, active=False, keep=9) for one in set_by_a_person))
    (merged,) = kept.with_kept([CLEAN], [before])
    written = [_schedule_config_to_deployment_schedule(one) for one in merged["schedules"]]
    assert [one["schedule"] for one in written] == set_by_a_person
    assert {(one["active"], one["parameters"]["keep"]) for one in written} == {(False, 9)}


def test_parameters_and_paused_stay_and_new_ones_are_added() -> None:
    before = there(CLEAN, parameters={"days": 3.0}, paused=True)
    (merged,) = kept.with_kept([CLEAN], [before])
    assert (merged["parameters"], merged["paused"], merged["schedules"]) == ({"dry_run": True, "days": 3.0}, True, [])


def test_a_schedule_of_before_these_had_parameters_takes_the_stated_ones() -> None:
    weekly = CronSchedule(cron=CLEAN["schedules"][0]["cron"], timezone="UTC")
    (merged,) = kept.with_kept([CLEAN], [there(CLEAN, scheduled(weekly))])
    assert merged["schedules"][0]["parameters"] == {"dry_run": False}


def test_what_was_set_under_an_earlier_name_is_carried_over_once() -> None:
    nightly = CronSchedule(cron="9 9 * * *")
    earlier = [
        there(CLEAN, scheduled(nightly, active=False), name="weekly", parameters={"keep": 7}),
        *(there(one, name="on-demand") for one in STATED if one["name"] == "import-ollama"),
        there({"name": "weekly", "entrypoint": "somebody.elses.flow"}, scheduled(nightly)),
    ]
    merged = {one["name"]: one for one in kept.with_kept(STATED, earlier)}
    schedule = merged["clean-weekly"]["schedules"][0]
    assert (schedule["cron"], schedule["active"]) == ("9 9 * * *", False)
    assert merged["clean-weekly"]["parameters"] == {"dry_run": True, "keep": 7}
    assert merged["audit-weekly"]["schedules"][0]["cron"] == "0 6 * * 0"
    assert kept.of_earlier_names(STATED, earlier) == earlier[:2]
    now = there(CLEAN, scheduled(CronSchedule(cron="8 8 * * *")))
    (merged_now,) = kept.with_kept([CLEAN], [*earlier, now])
    assert [one["cron"] for one in merged_now["schedules"]] == ["8 8 * * *"], "the new name's own settings win"


def test_both_audits_have_their_own_earlier_name() -> None:
    audits = [one for one in STATED if one["entrypoint"].endswith("audit_library")]
    earlier = [there(audits[0], name=name, parameters={"was": name}) for name in ("weekly", "nightly")]
    merged = {one["name"]: one["parameters"]["was"] for one in kept.with_kept(audits, earlier)}
    assert merged == {"audit-weekly": "weekly", "audit-part-nightly": "nightly"}
