"""Which version a run is about, in every line that it logs from the moment that this is known.

A flow run is a process of its own, so that what was named last is what its next lines are about. The runner's log is one
JSON object a line (Prefect's formatter), with the run in `flow_run_id` and this in `version`.
"""

from __future__ import annotations

import logging
from typing import Any

from prefect.logging import get_run_logger

from modelshelf.names import ModelRef
from tasks.library import in_run

_SUBJECT = {"version": ""}
_make_record = logging.getLogRecordFactory()


def about(*values: object) -> None:
    """The first of these that names a version, else where one comes from, is what follows is about."""
    named = _versions(values) or [value.uri for value in values if hasattr(value, "uri")]
    if named:
        _SUBJECT["version"] = str(named[0])


def logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return the logger of this run, which the UI and `modelshelf follow` show; an ordinary one without a flow run."""
    return get_run_logger() if in_run() else logging.getLogger("modelshelf")


def _versions(value: object) -> list[ModelRef]:
    """The versions that it names: a reference, what has one, what serves some, or several of these."""
    if isinstance(value, tuple | list):
        return [ref for one in value for ref in _versions(one)]
    found = getattr(value, "ref", value)
    return [found] if isinstance(found, ModelRef) else _versions(getattr(value, "serves", ()))


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = _make_record(*args, **kwargs)
    record.version = _SUBJECT["version"]
    return record


logging.setLogRecordFactory(_record)
