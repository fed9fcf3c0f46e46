"""Let Prefect's server have everything that `prefect.yaml` states: `python -m deployments.deploy`, in the project's folder.

Prefect's own `prefect deploy --all` writes the deployments. It gets the file with what a person changed in the UI, so that
there is no moment at which a schedule that was switched off is on. `--shared` is for a server that serves other machines too.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from prefect.cli import app as prefect
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from blocks.engine_key import EngineKey
from blocks.hugging_face_hub import HuggingFaceHub
from blocks.ollama_registry import OllamaRegistry
from deployments import automations, kept
from modelshelf.cli.deployments import POOL, Deployment
from modelshelf.cli.state_file import project_version

FILE = Path(__file__).parent.parent / "prefect.yaml"


def main(*, shared: bool) -> int:
    """Write blocks, pool, deployments and automations; return an exit status."""
    stated = yaml.safe_load(FILE.read_text())
    there = asyncio.run(_prepare(shared=shared))
    version = project_version()
    merged = [{**one, "version": version} for one in kept.with_kept(stated["deployments"], there)]
    status = _deploy({**stated, "deployments": merged})
    if status == 0:
        asyncio.run(_delete(kept.of_earlier_names(stated["deployments"], there)))
    return status


async def _prepare(*, shared: bool) -> list[DeploymentResponse]:
    """Write the kinds of blocks, the work pool and the automations, and return the deployments that are there already."""
    for block in (EngineKey, HuggingFaceHub, OllamaRegistry):
        await block.aregister_type_and_schema()
    async with get_client() as client:
        await _make_pool(client)
        if shared:
            await automations.install(client)
        flows = FlowFilter(name=FlowFilterName(any_=[one.flow for one in Deployment]))
        return await client.read_deployments(flow_filter=flows, limit=200)


async def _make_pool(client: PrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    try:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
    except ObjectAlreadyExists:  # it is a person's to change
        return


def _deploy(stated: dict[str, Any]) -> int:
    """Run `prefect deploy --all` in this process, which has imported Prefect already; return its exit status."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(stated, file, sort_keys=False)
        file.flush()
        sys.argv = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", file.name]
        try:
            prefect()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


async def _delete(earlier: list[DeploymentResponse]) -> None:
    """Delete the deployments of earlier names: what a person set of them is in the new ones."""
    async with get_client() as client:
        for one in earlier:
            await client.delete_deployment(one.id)


if __name__ == "__main__":
    sys.exit(main(shared="--shared" in sys.argv[1:]))
