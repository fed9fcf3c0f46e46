"""Stop an instance and start it again with the very digests it ran."""

from __future__ import annotations

import time

from prefect import flow

from flows.parameters import ShortText
from modelshelf.errors import outcome
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.names import InstanceName, ProjectName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


@flow(name="restart-instance", flow_run_name="restart {instance}")
async def restart_instance(instance: ShortText, project: ShortText = "default") -> str:
    """Starts an instance again with what it was started with: versions, port, names, arguments, key.

    Args:
        instance: The instance's name.
        project: The project that owns it.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking, name = ProjectName(project), InstanceName(instance)
    with outcome(f"`modelshelf instances` shows whether {name} runs.", again="Restart it again."):
        async with leases.hold(f"instance {asking}/{name}"):
            _, serves, request = await instances.asked_for(asking, None, None, None, name, LaunchRequest())
            await instances.stop(asking, name)
            await instances.launch(asking, name, serves, request, began=began, queued=queued)
    return str(name)
