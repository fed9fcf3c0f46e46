"""An instance that needed more memory than its limit: the reason, and the command that gives it more."""

from __future__ import annotations

from modelshelf.catalog.instances import Instance
from modelshelf.engines.table import engine_called
from modelshelf.library.launching.request import LaunchSettings
from modelshelf.library.opening import Library
from modelshelf.words import of_project, said_bytes


def killed_for_memory(library: Library, which: Instance) -> str | None:
    """Return the reason, with what to do, if the kernel killed the instance's engine at its limit; else None."""
    limit = LaunchSettings.of(which).memory
    if not limit or not library.node.exceeded_memory(which.label):
        return None
    smaller = engine_called(which.engine).smaller
    needed = f"it needed more than the {said_bytes(limit)} that `--memory` allows"
    return f"{needed}; give it more (`{launch_with_more(which)}`) or a smaller context (`{smaller}`)"


def launch_with_more(which: Instance) -> str:
    """Return the command that launches the instance again with twice its limit of memory."""
    settings = LaunchSettings.of(which)
    template = settings.template.partition("@")[0]
    what = f"--template {template}" if template and len(which.serves) > 1 else which.serves[0].ref
    more = said_bytes(2 * settings.memory).replace(" ", "")
    return f"modelshelf launch {what} --as {which.name} --memory {more}{of_project(which.project)}"
