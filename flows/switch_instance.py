"""Let an instance serve another version, and return to the one it served if that fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flows.lifecycle import lifecycle
from flows.parameters import Count, ShortText
from modelshelf.catalog.leases import instance_lease
from modelshelf.errors import outcome
from modelshelf.names import InstanceName, ModelRef, ProjectName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


def _called(given: Mapping[str, Any]) -> str:
    if given["back"]:
        return f"switch {given['instance']} back"
    return (
        f"switch {given['instance']} to {given['model']}" if given["model"] else f"release former versions of {given['instance']}"
    )


@lifecycle("switch-instance", run_name=_called)
async def switch_instance(
    instance: ShortText,
    model: ShortText = "",
    back: bool = False,
    forget: bool = False,
    project: ShortText = "default",
    dry_run: bool = False,
    revision: Count = 0,
) -> str:
    """Switches an instance to another version, with the same name, address and settings.

    The new version's files are on the node before the engine stops. If the engine does not start with the new version, the
    instance serves the former one again, and the run fails with the reason.

    Args:
        instance: The instance's name.
        model: `model`, `model:tag` or `model:version`; of several served models, the one with the same name is replaced.
        back: Return to the version before the last switch; leave `model` empty.
        forget: Release the versions that it served before: they can then be deleted, and there is no way back to them.
        project: The project that owns it.
        dry_run: Only show what would be done.
        revision: With back, the revision of the instance to return to; 0 means the one before the last switch.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking, name = ProjectName(project), InstanceName(instance)
    target = ModelRef.parse(model) if model else None
    with outcome(f"`modelshelf instances` shows what {name} serves now.", again="Switch it again."):
        if dry_run:
            await instances.plan_switch(asking, name, target, back=back, forget=forget, revision=revision)
            return str(name)
        async with leases.hold(instance_lease(asking, name)):  # until this ends, nobody changes what it serves
            plan = await instances.plan_switch(asking, name, target, back=back, forget=forget, revision=revision)
            if not plan.same:
                await instances.switch(asking, plan, began=began, queued=queued)
            if forget:
                await instances.forget_past(asking, name)
    return str(name)
