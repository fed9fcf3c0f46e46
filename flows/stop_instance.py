"""Stop an instance; its settings are kept unless it is deleted."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.catalog.leases import instance_lease
from modelshelf.names import InstanceName, ProjectName
from tasks import instances, leases


@lifecycle("stop-instance", run_name=lambda given: f"{'delete' if given['delete'] else 'stop'} {given['instance']}")
async def stop_instance(instance: ShortText, project: ShortText = "default", delete: bool = False) -> str:
    """Stops an instance.

    Args:
        instance: The instance's name.
        project: The project that owns it.
        delete: Remove the instance afterwards, with its log and its files.
    """
    asking, name = ProjectName(project), InstanceName(instance)
    async with leases.hold(instance_lease(asking, name)):
        if delete:
            await instances.delete(asking, name)
        else:
            await instances.stop(asking, name)
    return str(name)
