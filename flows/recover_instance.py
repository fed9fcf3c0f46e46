"""Start an instance again whose engine ended without being stopped."""

from __future__ import annotations

import time

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.catalog.leases import instance_lease
from modelshelf.errors import outcome
from modelshelf.names import InstanceName, ProjectName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


@lifecycle("recover-instance", run_name="recover {instance}")
async def recover_instance(instance: ShortText, project: ShortText = "default") -> bool:
    """Starts an instance that should run and does not, with the same versions, port, names, arguments and key.

    Nothing is done if it runs, was stopped or is gone by now. `reconcile` starts this flow, and waits longer before each next
    try. Returns whether the instance was started.

    Args:
        instance: The instance's name.
        project: The project that owns it.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking, name = ProjectName(project), InstanceName(instance)
    with outcome(f"{name} does not run; it is tried again later.", again=f"Or restart {name} yourself."):
        async with leases.hold(instance_lease(asking, name)):
            return await instances.recover(asking, name, began=began, queued=queued)
