"""The command's own errors: about the server, the worker and runs. Worded as those of `modelshelf.errors`."""

from __future__ import annotations

from modelshelf.errors import Refused, Unavailable


class ServerDown(Unavailable):
    """No modelshelf server answers for {home}: {reason}. Start it with `modelshelf up`; its log is {log}."""


class NoServer(Unavailable):
    """No Prefect server is up for {home}, so no run is known. Start it with `modelshelf up --detach`."""


class PrefectBusy(Unavailable):
    """The Prefect server {server} is busy: {reason}, asked {times} times. Runs go on. Try again in a moment; a server on
    PostgreSQL handles more requests at once than one on SQLite."""


class PrefectTrouble(Unavailable):
    """A request to the Prefect server {server} failed for a reason of its own: it answered {status} when asked for {what}.
    A full disk is the usual reason: `modelshelf status` shows the free space. The server's log is `run/server.log` in the
    home folder."""


class BadStateFile(Refused):
    """The state file {path} is not usable: {reason}. Nothing was started or stopped. Remove it, end a Prefect server that
    still runs for this home (`ps -ef | grep prefect`), then run `modelshelf up`."""


class FileUnusable(Refused):
    """{path} cannot be used: {reason}. Steps that were finished are kept. {advice}"""


class OutputFailed(Refused):
    """The output could not be written: {reason}. The command did its work; only its output is lost."""


class FaultInModelshelf(Refused):
    """This is a fault in modelshelf ({kind}), not in the command that you gave. Steps that were finished are kept;
    `modelshelf status` shows what runs. Please report it, with the trace in {trace}."""


class NoSuchRun(Refused):
    """There is no run {run}. See `modelshelf runs`."""


class RunFailed(Refused):
    """{message}"""


class RunUnavailable(Unavailable):
    """{message}"""


class RunCancelled(Refused):
    """The run {run} was cancelled: {reason}. Finished steps are kept."""


class RunFaulted(FaultInModelshelf):
    """The run {run} {state} unexpectedly: {reason}. Finished steps are kept: `modelshelf retry {short}` continues from there. If
    this happens again, please report it with the run's log and trace: {log}."""


class RunAbandoned(Unavailable):
    """The run {run} has no process any more: {reason}. Finished steps are kept. Repeat the command, or run `modelshelf up
    --detach` and `modelshelf retry {short}`: the run goes on from there."""


class ProgramMoved(Refused):
    """The server and the worker of {home} no longer match this program: {reason}. Their runs would crash. Nothing was
    started. Restart them: `modelshelf down`, then `modelshelf up --detach`."""


class NotDeployed(Refused):
    """The server does not know the deployment {deployment}. Nothing was started. Write the deployments again: `modelshelf
    deploy`."""


class NoSuchLogin(Refused):
    """There is no login for {kind} {name}. Nothing was deleted. See `modelshelf logins`."""


class NoSuchBlockType(Refused):
    """{kind} is not a kind of login: expected {known}."""
