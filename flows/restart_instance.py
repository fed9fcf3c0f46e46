"""Stop an instance and start it again with the very digests it ran."""

from __future__ import annotations

import time

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.catalog.leases import instance_lease
from modelshelf.errors import outcome
from modelshelf.names import InstanceName, ProjectName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


@lifecycle("restart-instance", run_name="restart {instance}")
async def restart_instance(instance: ShortText, project: ShortText = "default") -> str:
    """Restarts an instance with the same versions, port, names, arguments and key.

    Everything that can be checked is checked before the instance is stopped; if a check fails, the instance keeps running.

    Args:
        instance: The instance's name.
        project: The project that owns it.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking, name = ProjectName(project), InstanceName(instance)
    with outcome(f"`modelshelf instances` shows whether {name} runs.", again="Restart it again."):
        async with leases.hold(instance_lease(asking, name)):
            await instances.restart(asking, name, began=began, queued=queued)
    return str(name)
