"""Register a folder of a shared filesystem in place: nothing is copied."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, Patterns, ShortText
from modelshelf.errors import outcome
from modelshelf.names import FilesystemName, ModelName, ProjectName
from modelshelf.sources.uri import FilesystemUri
from tasks import imports, leases, places, sources
from tasks.sources import FilesystemOrigin


@lifecycle("register-filesystem", run_name="register {filesystem}/{folder}")
async def register_filesystem(
    filesystem: ShortText,
    folder: ShortText,
    name: ShortText = "",
    include: Patterns = [],  # noqa: B006 - Prefect shows the default in its form
    exclude: Patterns = [],  # noqa: B006
    project: ShortText = "default",
    category: CategoryOrNone = "",
    hash: bool = False,
    allow_code: bool = False,
    dry_run: bool = False,
) -> str:
    """Registers a folder of a shared filesystem in place. Its region is the filesystem's; engines there read the files directly.

    Headers are read and sizes recorded. If a file changes later, the next launch is refused, and an audit reports it.

    Args:
        filesystem: A filesystem's name in `config.toml`.
        folder: The folder below its mount point; add `:Q4_K_M` to choose one of several GGUF files.
        name: The model's name in the library; by default the folder's name.
        include: Register only files that match one of these patterns.
        exclude: Omit files that match one of these patterns.
        project: The project that owns it.
        category: What the model is used for; by default as its files indicate.
        hash: Read every byte and record digests, so that an audit can compare the content.
        allow_code: Include the publisher's code, and allow a configuration that names code.
        dry_run: Only show what would be registered.
    """
    asking, uri = ProjectName(project), FilesystemUri.parse(f"{FilesystemName(filesystem)}/{folder}")
    called = ModelName(name) if name else uri.model
    origin = FilesystemOrigin(uri, tuple(include), tuple(exclude), allow_code)
    with outcome("Nothing was registered.", again="Register it again."):
        pin = await sources.pin(origin)
        listing = await sources.list_files(origin, pin)
        if dry_run:
            planned = await places.plan_only(origin, asking, called, pin, listing, category, hash=hash)
            return str(planned.ref)

        version = await imports.reserve(origin, asking, called, pin, category)
        async with leases.importing(version) as lease:
            plan = await places.plan(origin, version, listing, hash=hash)
            if plan.ready:
                await imports.follow_tag(asking, version, pin)
            else:
                version = await places.register(
                    origin, asking, version, listing, pin, plan, lease, allow_code=allow_code, category=category
                )
    return str(version.ref)
