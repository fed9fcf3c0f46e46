"""The states of what the catalog records, in the words that its columns hold. `catalog.tables` makes its constraints of these."""

from __future__ import annotations

from enum import StrEnum


class VersionState(StrEnum):
    """registered → importing → ready or failed; a failed one can be imported again, and a ready one that is damaged fails."""

    REGISTERED = "registered"
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


class BlobState(StrEnum):
    """In a store: counted on, or marked for deletion."""

    PRESENT = "present"
    DELETING = "deleting"


class ImageState(StrEnum):
    """In a store: whole, or on its way there."""

    COPYING = "copying"
    PRESENT = "present"


class ReplicaDesired(StrEnum):
    """Whether the version should be on the node."""

    PRESENT = "present"
    ABSENT = "absent"


class ReplicaObserved(StrEnum):
    """What was seen of the replica last."""

    PRESENT = "present"
    ABSENT = "absent"
    FILLING = "filling"
    UNKNOWN = "unknown"


class InstanceDesired(StrEnum):
    """Whether the instance should run."""

    RUNNING = "running"
    STOPPED = "stopped"


class InstanceState(StrEnum):
    """starting → ready, or failed; stopped on request."""

    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"
    FAILED = "failed"
