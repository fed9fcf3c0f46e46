"""What every lifecycle shares as a Prefect flow."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.context import FlowRunContext
from pydantic import Field

from modelshelf.words import plain
from tasks import reports
from tasks.outcomes import settled

P = ParamSpec("P")
R = TypeVar("R")

RunName = str | Callable[[Mapping[str, Any]], str]
"""A template of the flow's parameters, or a function of them."""

_NAME_LENGTH = 200

_TITLES = {
    "at_most": "Most versions in one run",
    "bind": "Listen on",
    "cpus": "Processors",
    "days": "Minimum age in days",
    "dry_run": "Plan only",
    "exclude": "Omit files that match",
    "hash": "Record digests",
    "hub": "Block of the Hub",
    "include": "Include only files that match",
    "keep": "Newest versions to keep",
    "key": "Block with the engine's key",
    "memory": "Memory in bytes",
    "minutes": "Minutes at most",
    "rehash": "Read the store's bytes",
    "to": "Folder to write to",
}


def lifecycle(
    name: str, *, run_name: RunName, **options: Any
) -> Callable[[Callable[P, Awaitable[R]]], Flow[P, Coroutine[Any, Any, R]]]:
    """Make a function the flow of that name; `options` are Prefect's own.

    A run ends Completed, as Refused or Unavailable with one sentence, or as Failed with a traceback if nobody foresaw it.
    """

    def called() -> str:
        context = FlowRunContext.get()
        return name_of_run(run_name, (context.parameters or {}) if context is not None else {})

    def made(function: Callable[P, Awaitable[R]]) -> Flow[P, Coroutine[Any, Any, R]]:
        ended = settled(function, reports.show_library)
        # Prefect would look the names in annotations up where the wrapper was written
        ended.__signature__ = _titled(inspect.signature(function, eval_str=True))  # type: ignore[attr-defined]
        ended.__annotations__ = inspect.get_annotations(function, eval_str=True)
        return flow(name=name, flow_run_name=called, **options)(ended)

    return made


def _titled(signature: inspect.Signature) -> inspect.Signature:
    """Give each parameter the title that its form shows."""
    parameters = [
        one.replace(annotation=Annotated[one.annotation, Field(json_schema_extra={"title": title_of(one.name)})])
        for one in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def title_of(parameter: str) -> str:
    """Return the title of a field: the parameter's name in words, or what says it better."""
    return _TITLES.get(parameter, parameter.replace("_", " ").capitalize())


def name_of_run(run_name: RunName, parameters: Mapping[str, Any]) -> str:
    """Return the name of a run with these parameters: a dry run is called a plan, and what is empty leaves no gap."""
    words = run_name(parameters) if callable(run_name) else run_name.format(**parameters)
    if parameters.get("dry_run"):
        words = f"plan {words}"
    return plain(" ".join(words.split()))[:_NAME_LENGTH]
