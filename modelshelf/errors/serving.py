"""Nodes, engines, templates and instances."""

from __future__ import annotations

from modelshelf.failures import Refused, Unavailable


class NoSuchNode(Refused):
    """There is no node {node}. Known nodes: {known}."""


class NoSuchRegion(Refused):
    """There is no store in the region {region} that this machine can reach. Regions that it can reach: {known}. Nothing was
    changed."""


class OtherNode(Refused):
    """{node} is another machine; this one is the node {here}. Nothing was changed. Run the command on that machine."""


class NoReplica(Refused):
    """{what} is not cached on this node. Nothing was changed. `modelshelf cache {what}` puts it here."""


class ReplicaGone(Refused):
    """The files of {what} on this node are missing or have changed. Nothing was started. Try again: a start lays them out
    first."""


class NodeFull(Refused):
    """{node} has {free} of free disk space, and {what} needs {needed}. Nothing was copied."""


class TypeMismatch(Refused):
    """{engine} serves {accepted}: {found}. Nothing was started. Choose another version (`modelshelf list`) or another
    engine (`--engine`)."""


class CategoryMismatch(Refused):
    """{engine} serves the categories {accepted}: {found}. Nothing was started. {others}"""


class TooManyModels(Refused):
    """{engine} serves at most {most} model in an instance, and {found} were named. Nothing was started. Launch an instance
    for each, or choose another engine (`--engine ollama`)."""


class NothingToServe(Refused):
    """{what} holds no file that {engine} can serve: {reason}. Nothing was started."""


class NoSuchEngine(Refused):
    """There is no engine {engine!r}. Choose one of: {known}."""


class EngineMissing(Refused):
    """The engine {engine} is not installed: {reason}. Nothing was started. {advice}"""


class EngineDied(Refused):
    """{engine} exited (exit status {status}) before it answered. Nothing is running. The whole log: `modelshelf logs
    {instance}`.{log}"""


class EngineTooSlow(Refused):
    """{engine} did not {stage} within {seconds} s and was stopped. The whole log: `modelshelf logs {instance}`.{log}"""


class EngineOutOfMemory(Refused):
    """{engine} was killed: {reason}. Nothing is running. The whole log: `modelshelf logs {instance}`."""


class EngineListsOther(Refused):
    """{engine} lists {found}, expected {expected}."""


class EngineNotReady(Refused):
    """{engine} started, but did not become ready: {reason}. The engine was stopped. The whole log: `modelshelf logs
    {instance}`.{log}"""


class KeyIgnored(Refused):
    """{engine} answers requests for {model} that carry no key, although {instance} was launched with one."""


class NoMemoryLimit(Refused):
    """This machine cannot enforce a memory limit: {reason}. Nothing was started. Launch without `--memory`, or set `cgroup`
    in config.toml to a cgroup v2 folder that this user may write to."""


class ProcessesRemain(Unavailable):
    """Processes of the instance {instance} still exist {seconds} s after SIGKILL: {pids}. They end when the kernel releases
    them; then try again."""


class PortTaken(Refused):
    """Port {port} on {bind} is taken{by}. Nothing was started. Choose another with `--port`, or omit `--port`: a free port
    is chosen."""


class Unprotected(Refused):
    """An engine that listens on {bind} is open to the network: {reason}. Nothing was started. {advice}"""


class NoWords(Refused):
    """{what} is in the category {category}: it answers with numbers, not with words. {how}"""


class NoSuchInstance(Refused):
    """There is no instance {instance} in project {project}. See `modelshelf instances`."""


class NoSuchTemplate(Refused):
    """There is no template {template} in project {project}. See `modelshelf template list`."""


class NothingToSwitch(Refused):
    """{instance} cannot be switched: {reason}. Nothing was changed. `modelshelf instances` shows what it serves."""


class SwitchFailed(Refused):
    """{instance} did not come up with {after}. {now} The reason: {reason}"""


class CategoryInUse(Refused):
    """{model} is served by {holders}, with its present category. Nothing was changed. Stop them (`modelshelf stop
    {instance}`), then run `modelshelf category {model} {category}`."""


class InstanceRuns(Refused):
    """{instance} is {state} with {found}; this command asks for {wanted}. Nothing was changed. Stop it first (`modelshelf
    stop {instance}`), or launch under another name (`--as`)."""
