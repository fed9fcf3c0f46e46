"""Prefect events: each change of state is told, so that other runs and people's automations can follow it.

An event can be lost; what depends on one is repaired by its schedule. The catalog's own history is the record.
"""

from __future__ import annotations

from prefect.events import emit_event

from tasks.library import in_run


def tell(what: str, subject: str) -> None:
    """Emit `modelshelf.<what>` about `<project>/<name>`; nothing without a flow run."""
    if not in_run():
        return
    kind = what.partition(".")[0]
    resource = {"prefect.resource.id": f"modelshelf.{kind}.{subject}", "prefect.resource.name": subject}
    emit_event(event=f"modelshelf.{what}", resource=resource)
