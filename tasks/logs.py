"""Which version a run is about, in every line that it logs from the moment that this is known.

A flow run is a process of its own, so that what was named last is what its next lines are about. The runner's log is one
JSON object a line (Prefect's formatter), with the run in `flow_run_id` and this in `version`.
"""

from __future__ import annotations

import logging
from typing import Any

from modelshelf.names import ModelRef

_SUBJECT = {"version": ""}
_make_record = logging.getLogRecordFactory()


def about(*values: object) -> None:
    """The first of these that names a version, else where one comes from, is what follows is about."""
    named = _versions(values) or [value.uri for value in values if hasattr(value, "uri")]
    if named:
        _SUBJECT["version"] = str(named[0])


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
