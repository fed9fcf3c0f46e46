"""What `prefect.yaml` states is what loads, what Prefect deploys, and what the commands ask for."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import get_args

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, RawScheduleConfig, WorkPoolConfig
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

from flows import change_version
from modelshelf.cli.deployments import POOL, QUEUE, Deployment
from modelshelf.library.naming import Change

ROOT = Path(__file__).parent.parent.parent
FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())
STATED = FILE["deployments"]


def test_the_commands_table_is_what_the_file_states() -> None:
    flows = [load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False).name for one in STATED]
    assert {f"{flow}/{one['name']}" for flow, one in zip(flows, STATED, strict=True)} == set(Deployment)
    assert {(one["work_pool"]["name"], one["work_pool"]["work_queue_name"]) for one in STATED} == {(POOL, QUEUE)}


def test_no_two_deployments_have_one_name() -> None:
    """In the UI's list the deployment's name is the large word."""
    names = [one["name"] for one in STATED]
    assert len(set(names)) == len(names)


def test_each_key_of_the_file_is_one_that_prefect_reads() -> None:
    """Prefect leaves out what it does not know, without a word."""
    assert FILE.keys() - {"prefect-version", "definitions"} <= PrefectYamlModel.model_fields.keys()
    for one in STATED:
        assert one.keys() <= DeploymentConfig.model_fields.keys(), one["name"]
        assert one["work_pool"].keys() <= WorkPoolConfig.model_fields.keys(), one["name"]
        for schedule in one.get("schedules", []):
            RawScheduleConfig.model_validate(schedule)
    assert len(PrefectYamlModel.model_validate(FILE).deployments) == len(STATED)


@pytest.mark.parametrize("entrypoint", [one["entrypoint"] for one in STATED])
def test_each_entrypoint_loads_without_a_placeholder(entrypoint: str) -> None:
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    assert inspect.iscoroutinefunction(flow.fn), "an empty sync flow costs a second"


@pytest.mark.parametrize("entrypoint", [one["entrypoint"] for one in STATED])
def test_each_parameter_is_described_for_the_form_and_none_is_a_secret(entrypoint: str) -> None:
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    for name, shown in flow.parameters.properties.items():
        assert shown.get("description"), f"{flow.name}: {name} has no words in the form"
        assert not {"token", "secret", "password"} & set(name.split("_"))
        assert shown["title"][0].isupper(), f"{flow.name}: {name} has no title"
        assert "anyOf" not in shown, f"{flow.name}: {name} is a union"


@pytest.mark.parametrize("entrypoint", [one["entrypoint"] for one in STATED])
def test_a_run_checks_its_parameters_again(entrypoint: str) -> None:
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    for name, shown in flow.parameters.properties.items():
        given = dict.fromkeys(flow.parameters.required, ["x"] if entrypoint.endswith("define_template") else "x")
        if shown.get("type") == "string" and "default" in shown and "enum" not in shown:
            with pytest.raises(ParameterTypeError):
                flow.validate_parameters({**given, name: "x" * 100_000})


def test_the_parameters_that_the_file_and_its_schedules_set_are_the_flows() -> None:
    for one in STATED:
        flow = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
        for parameters in (one.get("parameters", {}), *(schedule.get("parameters", {}) for schedule in one.get("schedules", []))):
            assert parameters.keys() <= flow.parameters.properties.keys(), one["name"]


def test_each_deployment_is_described() -> None:
    for one in STATED:
        assert one["description"]
        assert one["tags"]


def test_a_flow_reads_like_prose() -> None:
    """No try, no client, no bytes in `flows/`."""
    for file in (ROOT / "flows").glob("*.py"):
        tree = ast.parse(file.read_text())
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Try)], file.name
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert imported <= {"inspect", "time"}, file.name


def test_no_file_is_longer_than_500_lines_and_no_archive_is_ever_extracted() -> None:
    for folder in ("modelshelf", "flows", "tasks", "blocks", "deployments", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text()
            assert text.count("\n") <= 500, file
            if folder != "tests":
                assert "extractall" not in text, file
                assert "import pickle" not in text, file


def test_the_form_offers_the_changes_that_the_library_knows() -> None:
    assert get_args(change_version.Change) == tuple(Change)
