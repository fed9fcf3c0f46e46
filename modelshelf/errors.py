"""Every error, worded once: the docstring of its class is its message.

Two families. `Refused`: what we were given is wrong, trying again gives the same answer. `Unavailable`: something
could not be reached or held, trying again may help. A message says what happened, what was expected and found, what
state things are in now, and what to do. A test holds every `raise` to the fields that the class's sentence names.

An error that many callers meet (`OfAnyLayer`: the network, names, files) cannot know what state things are in. The step that
began the work adds that with `outcome`.
"""

from __future__ import annotations

from modelshelf.failures import ModelshelfError, OfAnyLayer, Refused, Unavailable, outcome

__all__ = ["ModelshelfError", "OfAnyLayer", "Refused", "Unavailable", "outcome"]

# --- values -----------------------------------------------------------------------------------------------------


class BadDigest(OfAnyLayer, Refused):
    """{text} is not a digest: expected `sha256:` and 64 lower-case hex digits."""


class BadName(OfAnyLayer, Refused):
    """{text} is not a {kind}: expected {expected}."""


class BadReference(Refused):
    """{text} is not a model reference: expected `model`, `model:tag`, `model:version` or `model@sha256:…`, with `project/`
    in front for another project's model. See `modelshelf list`."""


class TagAndDigestDisagree(Refused):
    """{reference} names a tag and a digest that disagree: the tag is {found}. Omit one of the two; `modelshelf show` prints
    a version's digest."""


class BadSource(Refused):
    """{text} is not a source: {reason}. Expected for example `ollama://qwen3:0.6b`, `hf://org/repo@main` or
    `hf://org/repo:Q4_K_M`."""


class HostileFileName(OfAnyLayer, Refused):
    """The file name {text} is refused: {reason}."""


class CollidingFileNames(OfAnyLayer, Refused):
    """{first} and {second} would be the same file on some systems: their names differ only in case or Unicode form. Omit
    one of them, for example with `--exclude {pattern}`."""


class HostileFileNames(OfAnyLayer, Refused):
    """{what} has files whose names are not allowed on every system: {names}. Omit them: `{example}`."""


class LimitExceeded(OfAnyLayer, Refused):
    """{what} exceeds a limit: found {found}, at most {limit} is accepted."""


class BadSetting(Refused):
    """{where} is not usable: {reason}."""


class BadSecret(Refused):
    """The secret {path} is not usable: {reason}. Nothing was started. {advice}"""


class CatalogUnknown(Refused):
    """Prefect runs on another server ({server}), and no catalog is configured: its flows and this command would use
    different catalogs. Set MODELSHELF_CATALOG_URL, or `catalog_url` in {config}."""


class ServerSecretRefused(Refused):
    """The Prefect server {server} refused our secret (status {status}). Nothing was started. Set PREFECT_API_AUTH_STRING to
    the string that the server was started with, and run `modelshelf up --server URL` again."""


# --- network ----------------------------------------------------------------------------------------------------


class Unreachable(OfAnyLayer, Unavailable):
    """{host} could not be reached{how}: {reason}."""


class Stalled(OfAnyLayer, Unavailable):
    """{host} stopped sending: fewer than {rate} bytes a second for {seconds} s."""


class NoAnswer(OfAnyLayer, Unavailable):
    """{host} did not answer {what} within {seconds} s."""


class ServerTrouble(OfAnyLayer, Unavailable):
    """{host} answered {status} for {what}{detail}."""


class TooBusy(OfAnyLayer, Unavailable):
    """{host} asks us to wait {seconds} s (status {status}); modelshelf waits {limit} s at most."""


class ConnectionCut(OfAnyLayer, Unavailable):
    """The connection to {host} ended early: {found} of {expected} bytes of {what}."""


class CertificateRefused(OfAnyLayer, Refused):
    """The certificate of {host} is not trusted: {reason}. Nothing was sent to it. If this is the right host, set
    SSL_CERT_FILE to the file with its certificate authority."""


class RedirectRefused(OfAnyLayer, Refused):
    """{host} redirects to {target}, which is refused: {reason}. Nothing was sent there. If you trust that host, name it
    with `--redirect-host` when you log in to the source."""


class NotFound(OfAnyLayer, Refused):
    """{host} has no {what} (status {status}). Check the name and the tag or revision."""


class AccessDenied(OfAnyLayer, Refused):
    """{host} denies access to {what} (status {status}{detail})."""


class LoginNeeded(AccessDenied):
    """{host} denies access to {what} (status {status}{detail}). If it is private or gated, accept its terms on its page and
    store a token: `modelshelf login {login}`."""


class LoginNotUsed(Refused):
    """The login stored as {block} was not used for {host}: {reason}. Nothing was sent. Log in again: `modelshelf login
    ollama {host}`."""


class SpeaksHttp(Refused):
    """{host} answers http, not https. Nothing was sent but that one request. If plain http is intended, as for a registry
    on this machine: `modelshelf login ollama {host} --http --no-secret`, or without `--no-secret` if the registry asks for
    a password."""


class UnexpectedAnswer(OfAnyLayer, Refused):
    """{host} gave an unusable answer for {what}: {reason}."""


class ContentChanged(OfAnyLayer, Unavailable):
    """{what} changed on {host} during the download (ETag {before}, now {after})."""


class SourceChanged(OfAnyLayer, Refused):
    """{path} changed while it was being read ({before} bytes at the start, {after} at the end). Try again when nothing
    writes to it."""


class SourceUnreadable(OfAnyLayer, Refused):
    """{path} cannot be read: {reason}."""


# --- content ----------------------------------------------------------------------------------------------------


class DigestMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected}, received {found} (all {size} bytes). If every attempt
    fails the same way, something between this machine and {whose} alters the file."""


class SizeMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected} bytes, received {found}. If every attempt fails the
    same way, something between this machine and {whose} alters the file."""


class NotWhatItSays(OfAnyLayer, Refused):
    """{file} is not what its name says: {reason}. Nothing in it was executed."""


class FormatRefused(OfAnyLayer, Refused):
    """{what} needs files of kinds that are not accepted: {files}. Ask the publisher for safetensors or GGUF{advice}."""


class LargeFilePointer(OfAnyLayer, Refused):
    """{file} is a Git LFS pointer, not the file itself. Run `git lfs pull` in the clone; if the publisher committed the
    pointer, ask the publisher to upload the file."""


class NotWhole(OfAnyLayer, Refused):
    """{what} lacks files that {whose} lists: {missing}. Fetch the missing files, or ask the publisher for them."""


class NamesCode(OfAnyLayer, Refused):
    """{file} names code of the publisher that an engine may run ({named}){files}. If you trust the publisher, repeat the
    command with `--allow-code`: the code is imported too, and no import runs it."""


class LicenseRefused(Refused):
    """{what} is under the licence {license}; this library accepts {allowed}. No version was made ready. To accept it, add its
    licence to `licenses` in {config}."""


class BadHeader(OfAnyLayer, Refused):
    """{file} has a broken {format} header: {reason}. Ask the publisher for an intact file."""


class BadJson(OfAnyLayer, Refused):
    """{file} is not JSON that we accept: {reason}."""


class BadManifest(OfAnyLayer, Refused):
    """The manifest of {what} is refused: {reason}."""


class NothingToImport(OfAnyLayer, Refused):
    """{what} has no files to import{detail}."""


class SeveralModels(OfAnyLayer, Refused):
    """{what} holds several models, and one was expected: {choices}. Choose one: `{example}`."""


class NoModelAmong(OfAnyLayer, Refused):
    """{what} holds no model that can be served on its own: {found}. An adapter or a projector belongs to a base model:
    import the base model together with that file."""


class ShardsMissing(OfAnyLayer, Refused):
    """{what} is incomplete: {file} belongs to a set of {expected} files, and {found} of them are present. Import the folder
    or repository that has all of them."""


class ChooseQuantization(OfAnyLayer, Refused):
    """{what} holds several quantisations: {choices}. Choose one, for example: `{example}`."""


class UnknownQuantization(OfAnyLayer, Refused):
    """{what} has no {wanted}: it has {choices}. Choose one of these, for example: `{example}`."""


class ChooseModel(OfAnyLayer, Refused):
    """{what} holds several models: {choices}. Choose one: {commands}."""


# --- store ------------------------------------------------------------------------------------------------------


class BlobMissing(Refused):
    """The store {store} does not hold {digest}. Nothing was changed. Import its source again (`modelshelf import`): that
    fetches it."""


class BlobDamaged(Refused):
    """{file} of {what} is damaged in the store ({digest}): {reason}. Nothing was changed. `modelshelf import {source}`
    fetches it again and replaces it."""


class StoreDamaged(Refused):
    """{path} in the store is not as modelshelf left it: {reason}. Nothing in it was used. Move a file, folder or link that
    does not belong there away, and import the model again; `modelshelf audit` reports what else is damaged."""


class DiskFull(Refused):
    """{path} needs {needed} and has {free} free, of which {kept} must stay free. Nothing was stored. Free some space, or
    move the library (`MODELSHELF_HOME`)."""


class WriteFailed(Refused):
    """Writing {what} to {path} failed: {reason}. Nothing of it is visible, and the temporary file was removed. Free some
    space or repair the disk, then try again."""


# --- catalog ----------------------------------------------------------------------------------------------------


class NoSuchModel(Refused):
    """Project {project} can see no {what}. List models with `modelshelf list`, or import one with `modelshelf import`."""


class WhichVersion(Refused):
    """{model} has several versions, and none is called `latest`: {choices}. Name one of them."""


class NotReady(Refused):
    """{what} is not ready: it is {state}{reason}. Nothing was changed. {advice}"""


class NameTaken(Refused):
    """{what} already names other content: {found}; this import is {wanted}. A version never changes. Nothing was changed.
    Import under another name (`--name`)."""


class OtherPublisher(Refused):
    """{what} is published by {found}, and this import is from {wanted}: an import never gives a name to another publisher's
    weights. Nothing was changed. Import under a name of its own (`--name {example}`)."""


class Disabled(Refused):
    """{what} is disabled. Nothing was changed. `modelshelf enable {what}` makes it selectable again; instances that serve
    it go on, and can be restarted."""


class NoSuchAlias(Refused):
    """{model} has no alias {alias}{detail}. Nothing was changed. List its aliases: `modelshelf alias {model}`."""


class StillInUse(Refused):
    """{what} is in use: {holders}. Nothing was deleted. Release these first, then delete again: `modelshelf stop` an
    instance, `modelshelf template delete` a template, `modelshelf alias MODEL ALIAS --remove`, `modelshelf unpin` a
    replica."""


class Unreadable(Refused):
    """{what} is not reliable: {reason}. Nothing was deleted. `modelshelf audit` reports what is wrong, and `modelshelf
    audit --repair` repairs it."""


class LeaseLost(OfAnyLayer, Unavailable):
    """The lease on {what} expired before the work was done, and another run may have taken it: this result was not
    recorded."""


class BlobBeingDeleted(Unavailable):
    """{digest} is being removed, replaced or checked by {holder}. Nothing was changed. Try again in a moment."""


class CatalogUnreachable(Unavailable):
    """The catalog {url} could not be used: {reason}. Nothing was changed."""


class CatalogUrlRefused(Refused):
    """The catalog's address is not usable: {reason}. Nothing was read or changed. Expected
    `postgresql://user:password@host/name` or `sqlite:////folder/catalog.db`, in `catalog_url` of config.toml or in
    MODELSHELF_CATALOG_URL."""


class CatalogDamaged(Refused):
    """The catalog {url} is damaged: {reason}. Nothing was changed. Run `modelshelf down`, and restore the file from a
    backup: `catalog.before-*.db` beside it is the copy that the last upgrade made."""


class CatalogDiskFull(Refused):
    """The catalog {url} cannot be written because its disk is full: {reason}{free}. Nothing was changed. Free some space
    there, then try again."""


class CatalogNotPermitted(Refused):
    """The catalog {url} cannot be used by this user: {reason}. Nothing was changed. Run the command as the owner, give this
    user access, or name another folder with MODELSHELF_HOME."""


class OtherHome(Refused):
    """The {kind} of the catalog {url} is not the one in {home}: {reason}. Nothing was changed. {ways}: `modelshelf up
    --take-over`."""


class BadMarker(Refused):
    """{path} does not state whose folder this is: {reason}. Nothing was changed. Restore the file from a backup, or remove
    it and run `modelshelf up --take-over`."""


class CatalogNewer(Refused):
    """The catalog {url} is at revision {found}, which this modelshelf does not know (it knows {known}). Nothing was
    changed. Use the newer modelshelf."""


class CatalogOlder(Refused):
    """The catalog {url} is at revision {found}, and this modelshelf needs {known}. Nothing was changed. Run `modelshelf
    down`, then `modelshelf up`: that upgrades the catalog, and first copies it if it is a SQLite file."""


class CatalogNotMade(Refused):
    """There is no catalog at {url} yet. Run `modelshelf up`, or any command that changes something."""


class NoSuchFilesystem(Refused):
    """There is no filesystem {filesystem}: {known}. Nothing was changed. Add `[filesystems.{filesystem}]` with `path` and
    `region` to {config}."""


class PlaceChanged(Refused):
    """{what} is not what was registered: {reason}. Nothing was started. Restore it, or register it again: that makes a new
    version."""


class OtherRegion(Refused):
    """{what} is on the filesystem {filesystem} in the region {region}; this machine is in {found}. Nothing was started.
    Launch it there, or import a copy: `modelshelf import file://…`."""


class InPlace(Refused):
    """{what} is in place on the filesystem {filesystem}: {reason}. Nothing was changed. Engines read it there; `modelshelf
    import file://…` makes a copy."""


class NotAnEmptyFolder(Refused):
    """{path} is not the absolute path of a new or empty folder. Nothing was written. Name another."""


# --- nodes and engines ------------------------------------------------------------------------------------------


class NoSuchNode(Refused):
    """There is no node {node}. Known nodes: {known}."""


class OtherNode(Refused):
    """{node} is another machine; this one is the node {here}. Nothing was copied. Run the command on that machine."""


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


class EngineMissing(Refused):
    """The engine {engine} is not installed: {reason}. Nothing was started. {advice}"""


class EngineDied(Refused):
    """{engine} exited (exit status {status}) before it answered. Nothing is running. Its log: {tail} — the whole log:
    `modelshelf logs {instance}`."""


class EngineTooSlow(Refused):
    """{engine} did not {stage} within {seconds} s and was stopped. Its log: {tail} — the whole log: `modelshelf logs
    {instance}`."""


class EngineListsOther(Refused):
    """{engine} lists {found}, expected {expected}."""


class EngineNotReady(Refused):
    """{engine} started, but did not become ready: {reason}{log}. The engine was stopped. The whole log: `modelshelf logs
    {instance}`."""


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
    """{instance} did not come up with {after}: {reason} {now}"""


class CategoryInUse(Refused):
    """{model} is served by {holders}, with its present category. Nothing was changed. Stop them (`modelshelf stop
    {instance}`), then run `modelshelf category {model} {category}`."""


class InstanceRuns(Refused):
    """{instance} is {state} with {found}; this command asks for {wanted}. Nothing was changed. Stop it first (`modelshelf
    stop {instance}`), or launch under another name (`--as`)."""
