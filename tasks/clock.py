"""How long a run waited before its first line."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect.runtime import flow_run


def seconds_in_queue() -> float:
    """From the moment that the run was due to now; 0 for a run that nobody scheduled."""
    due = flow_run.scheduled_start_time
    return max(0.0, (datetime.now(UTC) - due).total_seconds()) if due is not None else 0.0
