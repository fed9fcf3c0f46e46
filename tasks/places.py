"""The steps of registering a folder where it lies."""

from __future__ import annotations

from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.library import registering
from modelshelf.library.registering import RegisterPlan
from modelshelf.names import ModelName, ProjectName
from modelshelf.sources.contract import Listing, Pin
from tasks import logs
from tasks.events import tell
from tasks.library import library, recorded, who
from tasks.progress import shown
from tasks.retries import step
from tasks.sources import FilesystemOrigin
from tasks.threads import in_thread


@step
async def plan_only(
    origin: FilesystemOrigin, project: ProjectName, name: ModelName, pin: Pin, listing: Listing, category: str, *, hash: bool
) -> RegisterPlan:
    """What a registration would list, recorded for the command to show; nothing else is changed."""
    return await in_thread(
        lambda _stop: recorded(
            registering.plan_dry(library(), project, name, origin.uri, pin, listing, category=category, hash=hash)
        )
    )


@step
async def plan(origin: FilesystemOrigin, version: Version, listing: Listing, *, hash: bool) -> RegisterPlan:
    """What this run lists, recorded before it acts."""
    return await in_thread(lambda _stop: recorded(registering.plan(library(), version, origin.uri, listing, hash=hash)))


@step
async def register(
    origin: FilesystemOrigin, project: ProjectName, version: Version, listing: Listing, pin: Pin, plan: RegisterPlan,
    lease: Lease, *, allow_code: bool, category: str,
) -> Version:  # fmt: skip
    """The version is ready, its files where they were."""
    ready = await shown(
        "hashing",
        str(version.ref),
        plan.to_hash,
        lambda stop, meter: registering.register(
            library(), project, version, origin.uri, listing, pin, lease=lease, stop=stop, who=who(), hash=plan.to_hash > 0,
            allow_code=allow_code, category=category, on_bytes=meter.add,
        ),
    )  # fmt: skip
    logs.say(f"Registered {ready.ref} in place.")
    tell("version.ready", f"{project}/{ready.ref}")
    return ready
