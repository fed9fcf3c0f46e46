"""What the command prints when a run is started and not waited for, and how it ends when the run does not end well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from modelshelf.cli import ending, follow
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.errors import RunCancelled, RunFailed, RunUnavailable
from modelshelf.cli.state_file import Running
from modelshelf.settings import Settings, default_catalog

RUN = "1a2b3c4d-0000-4000-8000-000000000000"


def ended(state_type: str, state_name: str, message: str) -> dict[str, Any]:
    state = {"message": message}
    return {"id": RUN, "name": "import tiny:1b", "state_type": state_type, "state_name": state_name, "state": state}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, default_catalog(tmp_path))


def status_of(error: Exception, *arguments: str) -> int:
    @click.command()
    @click.option("--json", is_flag=True)
    def fails(json: bool) -> None:
        raise error

    return ending.run(fails, arguments)


@pytest.mark.parametrize(
    ("state_type", "state_name", "message", "words"),
    [
        ("FAILED", "Failed", "Flow run encountered an exception: KeyError: 'x'", "failed unexpectedly: Flow run encountered"),
        ("CRASHED", "Crashed", "Process exited with status -9.", "crashed unexpectedly: Process exited with status -9."),
        (
            "CRASHED",
            "Crashed",
            "The run's process is gone: it was killed. Finished steps are kept: `modelshelf retry 1a2b3c4d` resumes from there.",
            "crashed unexpectedly: The run's process is gone: it was killed.",
        ),
    ],
)
def test_a_run_that_ends_in_a_way_that_nobody_foresaw_is_a_fault_and_names_its_log(
    settings: Settings, capsys: pytest.CaptureFixture[str], state_type: str, state_name: str, message: str, words: str
) -> None:
    error = follow.why_not_completed(settings, ended(state_type, state_name, message))
    assert status_of(error) == 70
    printed = capsys.readouterr().err
    assert words in printed
    assert f"`grep {RUN} {settings.run / 'worker.log'}`" in printed
    assert printed.count("`modelshelf retry 1a2b3c4d`") == 1
    assert status_of(error, "--json") == 70
    assert json.loads(capsys.readouterr().out)["exit_status"] == 70


def test_on_a_server_of_many_machines_the_log_is_on_the_page_of_the_run(settings: Settings) -> None:
    Running("http://prefect.example:4200", None, None).write(settings)
    error = follow.why_not_completed(settings, ended("CRASHED", "Crashed", "gone"))
    assert f"http://prefect.example:4200/runs/flow-run/{RUN}" in str(error)


@pytest.mark.parametrize(
    ("state_type", "state_name", "kind", "status"),
    [
        ("FAILED", "Refused", RunFailed, 1),
        ("FAILED", "Unavailable", RunUnavailable, 3),
        ("CANCELLED", "Cancelled", RunCancelled, 1),
    ],
)
def test_a_run_that_was_refused_unavailable_or_cancelled_is_no_fault(
    settings: Settings, state_type: str, state_name: str, kind: type[Exception], status: int
) -> None:
    error = follow.why_not_completed(settings, ended(state_type, state_name, "It is so. Do this."))
    assert type(error) is kind
    assert "It is so." in str(error)
    assert status_of(error) == status


def test_a_run_that_is_not_waited_for_is_named_by_its_flow_with_the_two_commands(capsys: pytest.CaptureFixture[str]) -> None:
    follow.say_started(Deployment.IMPORT_OLLAMA, RUN, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "Started import-ollama as the run 1a2b3c4d.",
        "Follow it: modelshelf follow 1a2b3c4d",
        "Cancel it: modelshelf cancel 1a2b3c4d",
    ]
    follow.say_started(Deployment.IMPORT_OLLAMA, RUN, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"run": RUN, "flow": "import-ollama"}
