"""Ids of rows. Each kind is a type of its own, so that the type checker refuses one in another's place."""

from __future__ import annotations

from typing import NewType

ModelId = NewType("ModelId", int)
VersionId = NewType("VersionId", int)
StoreId = NewType("StoreId", int)
NodeId = NewType("NodeId", int)
InstanceId = NewType("InstanceId", int)
RevisionId = NewType("RevisionId", int)
"""Of one revision of a template."""
