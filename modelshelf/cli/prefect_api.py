"""Prefect's HTTP API, the few calls of it that the command needs. Importing Prefect's own client takes a second."""

from __future__ import annotations

import base64
import getpass
import os
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from modelshelf.cli.deployments import Deployment
from modelshelf.cli.errors import NoSuchRun, NotDeployed, PrefectBusy, PrefectTrouble
from modelshelf.errors import NoAnswer, NotFound, ServerSecretRefused, outcome
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import ASKED_BY
from modelshelf.wire import Answer, Authorization, Url, Wire, json_body

_ABOUT_PREFECT = "That was a request to the Prefect server: `modelshelf status` shows whether it is up."
_BUSY = (429, 503)
"""Its SQLite was locked: nothing was done."""
_PATIENCE_SECONDS = (5, 15, 40)
"""How long each question waits. SQLite under four parallel clients was measured to stall for 53 s."""
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class PrefectApi:
    """One server at `url` (without `/api`)."""

    def __init__(self, url: str, auth_string: str, limits: Limits = DEFAULT) -> None:
        self._base = Url(f"{url.rstrip('/')}/api/")
        encoded = base64.b64encode(auth_string.encode()).decode()
        self._authorization = Authorization(f"Basic {encoded}") if auth_string else None
        self._wire, self._limits = Wire(limits=limits), limits
        self._client = uuid.uuid4().hex
        self._csrf: str | None = None

    def is_healthy(self) -> bool:
        """It answers, and it is the server whose secret we hold: another one's answer counts as none."""
        from modelshelf.errors import Unavailable

        for seconds in _PATIENCE_SECONDS:  # a busy one is not a dead one: what is taken for dead is stopped
            try:
                url = self._base.join("admin/version")
                answer = self._wire.request("GET", url, authorization=self._authorization, seconds=seconds)
            except NoAnswer:
                continue
            except Unavailable:
                return False
            if answer.status not in _BUSY:
                return answer.status == 200
            time.sleep(self._limits.backoff_seconds)
        return False

    @outcome(_ABOUT_PREFECT)
    def require(self) -> None:
        """It answers, and takes our secret. Raises Unreachable, or ServerSecretRefused."""
        answer = self._wire.request("GET", self._base.join("admin/version"), authorization=self._authorization, seconds=5)
        if answer.status in (401, 403):
            raise ServerSecretRefused(server=self._base.place, status=answer.status)
        answer.expect(200, what="its version")

    def create_run(self, deployment: str, parameters: dict[str, Any], idempotency_key: str) -> dict[str, Any]:
        """The run that was made, or the one that this key made before."""
        try:
            found = self._get(f"deployments/name/{deployment}", what=deployment)
        except NotFound as error:
            raise NotDeployed(deployment=deployment) from error
        body = {"parameters": parameters, "idempotency_key": idempotency_key, "enforce_parameter_schema": True}
        body["labels"] = {ASKED_BY: _person()}
        made: dict[str, Any] = self._send("POST", f"deployments/{found['id']}/create_flow_run", body, what=deployment)
        return made

    def run(self, run_id: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._get(f"flow_runs/{uuid.UUID(run_id)}", what=f"run {run_id}")
        except (NotFound, ValueError) as error:
            raise NoSuchRun(run=run_id) from error
        return found

    def find_run(self, start: str) -> dict[str, Any]:
        """The run whose id begins with these digits, or whose id it is."""
        if len(start) == 36:
            return self.run(start)
        matching = [run for run in self.runs(200) if run["id"].startswith(start)]
        if len(matching) != 1:
            raise NoSuchRun(run=start)
        return dict(matching[0])

    def runs(self, limit: int) -> list[dict[str, Any]]:
        """The newest runs of our deployments."""
        ours = {"deployment_id": {"is_null_": False}, "state": {"name": {"not_any_": ["Scheduled"]}}}
        body = {"sort": "EXPECTED_START_TIME_DESC", "limit": limit, "flow_runs": ours}
        return list(self._send("POST", "flow_runs/filter", body, what="runs"))

    def unfinished(self) -> list[dict[str, Any]]:
        """Return the runs that have begun, or are about to, and have not ended."""
        begun = {"state": {"type": {"any_": ["RUNNING", "CANCELLING", "PENDING"]}}}
        return list(self._send("POST", "flow_runs/filter", {"limit": 200, "flow_runs": begun}, what="runs"))

    def deployments(self) -> list[dict[str, Any]]:
        """Return every deployment of our flows."""
        ours = {"name": {"any_": [one.flow for one in Deployment]}}
        return list(self._send("POST", "deployments/filter", {"limit": 200, "flows": ours}, what="deployments"))

    def last_heartbeat(self, pool: str, worker: str) -> str | None:
        """Return when the worker of that name last reported; None if there is no such pool or worker."""
        answer = self._request("POST", f"work_pools/{pool}/workers/filter", {"limit": 200})
        if answer.status == 404:
            return None
        found = answer.expect(200, what="the workers").json()
        return next((str(one["last_heartbeat_time"]) for one in found if one["name"] == worker), None)

    def flow_name(self, flow_id: str) -> str:
        return str(self._get(f"flows/{flow_id}", what="a flow")["name"])

    def logs(self, run_id: str, offset: int) -> list[dict[str, Any]]:
        """What the run has logged, from the line `offset` on."""
        which = {"flow_run_id": {"any_": [run_id]}}
        body = {"logs": which, "sort": "TIMESTAMP_ASC", "offset": offset, "limit": 200}
        return list(self._send("POST", "logs/filter", body, what="logs"))

    def set_state(self, run_id: str, kind: str, message: str) -> None:
        name = {"CANCELLING": "Cancelling", "SCHEDULED": "AwaitingRetry"}.get(kind, kind.title())
        body = {"state": {"type": kind, "name": name, "message": message}, "force": False}
        self._send("POST", f"flow_runs/{run_id}/set_state", body, what=f"run {run_id}")

    def save_block(self, type_slug: str, name: str, data: dict[str, Any], *, same: Mapping[str, Any]) -> None:
        """The block of that name holds this.

        Other fields of an existing one stay only where it holds `same` too: a secret is not taken over to another address.
        """
        kind = self._get(f"block_types/slug/{type_slug}", what=f"block type {type_slug}")
        schemas = self._send("POST", "block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})
        body = {"name": name, "data": data, "block_schema_id": schemas[0]["id"], "block_type_id": kind["id"]}
        path = f"block_types/slug/{type_slug}/block_documents/name/{name}"
        answer = self._request("GET", path)
        if answer.status == 404:
            self._send("POST", "block_documents/", body, what="a block")
            return
        there = answer.expect(200, what="a block").json()
        kept = all(there["data"].get(field) == value for field, value in same.items())
        merge = {"data": data, "merge_existing_data": kept, "block_schema_id": schemas[0]["id"]}
        self._send("PATCH", f"block_documents/{there['id']}", merge, what="a block")

    def blocks(self, type_slugs: Iterable[str]) -> list[dict[str, Any]]:
        """Return the blocks of these kinds, their secrets hidden by the server."""
        asked = {"block_types": {"slug": {"any_": list(type_slugs)}}, "include_secrets": False, "limit": 200}
        found: list[dict[str, Any]] = self._send("POST", "block_documents/filter", asked, what="the blocks")
        return found

    @outcome(_ABOUT_PREFECT)
    def has_block(self, type_slug: str, name: str) -> bool:
        """Return whether there is a block of that name. Its secret stays hidden."""
        answer = self._request("GET", f"block_types/slug/{type_slug}/block_documents/name/{name}")
        return answer.expect(200, 404, what="a block").status == 200

    def delete_block(self, type_slug: str, name: str) -> bool:
        """Delete the block of that name; return whether there was one."""
        answer = self._request("GET", f"block_types/slug/{type_slug}/block_documents/name/{name}")
        if answer.status == 404:
            return False
        found = answer.expect(200, what="a block").json()
        self._request("DELETE", f"block_documents/{found['id']}").expect(204, 404, what="the deletion of a block")
        return True

    @outcome(_ABOUT_PREFECT)
    def _get(self, path: str, *, what: str) -> Any:
        return self._request("GET", path).expect(200, what=what).json()

    @outcome(_ABOUT_PREFECT)
    def _send(self, method: str, path: str, body: dict[str, Any], what: str = "a request") -> Any:
        answer = self._request(method, path, body)
        if answer.status == 403 and self._csrf is not None:  # the token has expired
            self._csrf = None
            answer = self._request(method, path, body)
        if answer.status == 422:
            from modelshelf.errors import UnexpectedAnswer

            raise UnexpectedAnswer(host=self._base.place, what=what, reason=_why_not_taken(answer))
        answer.expect(200, 201, 204, what=what)
        return answer.json() if answer.body else {}

    @outcome(_ABOUT_PREFECT)
    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        headers = {"Content-Type": "application/json"}
        if method != "GET":
            headers |= self._csrf_headers()
        content = json_body(body) if body is not None else None
        url = self._base.join(path)
        return self._patiently(method, url, headers, content)

    def _patiently(self, method: str, url: Url, headers: dict[str, str], content: bytes | None) -> Answer:
        """Ask a busy server again. Each of our requests may come twice: a run is created by its idempotency key."""
        reason, times, unanswered = "", 0, 0
        while times < self._limits.attempts + 2 and unanswered < len(_PATIENCE_SECONDS):
            times += 1
            try:
                answer = self._wire.request(
                    method,
                    url,
                    headers=headers,
                    body=content,
                    authorization=self._authorization,
                    seconds=self._limits.prefect_seconds,
                )
            except NoAnswer as error:
                reason, unanswered = error.sentence.rstrip("."), unanswered + 1
                continue
            if answer.status == 500:
                raise PrefectTrouble(server=self._base.place, status=answer.status, what=url.text.rpartition("/api/")[2])
            if answer.status not in _BUSY:
                return answer
            reason = f"status {answer.status}"
            time.sleep(self._limits.backoff_seconds * 2 ** (times - 1))
        raise PrefectBusy(server=self._base.place, reason=reason, times=times)

    def _csrf_headers(self) -> dict[str, str]:
        """A server with the protection off says so by refusing the question."""
        if self._csrf is None:
            url = self._base.join(f"csrf-token?client={self._client}")
            answer = self._patiently("GET", url, {}, None)
            self._csrf = str(answer.json()["token"]) if answer.status == 200 else ""
        return {"Prefect-Csrf-Token": self._csrf, "Prefect-Csrf-Client": self._client} if self._csrf else {}


def _why_not_taken(answer: Answer) -> str:
    """Which fields Prefect does not take, and why: its answer repeats the request too, which may hold a secret."""
    found = re.findall(r'"loc":\[([^\]]*)\],"msg":"((?:[^"\\]|\\.)*)"', answer.body.decode(errors="replace"))
    told = [f"{where.replace(chr(34), '').replace(',', '.')}: {reason}" for where, reason in found]
    return "; ".join(told)[:500] or "status 422"


def _person() -> str:
    """Return who types the command, by the machine's name for them, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user needs no name
        return f"user {os.getuid()}"
