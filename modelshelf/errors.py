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
    """{text} is not a model reference: expected `model`, `model:tag`, `model:version` or `model@sha256:…`, with
    `project/` before it if it is another project's. See `modelshelf list`."""


class TagAndDigestDisagree(Refused):
    """{reference} names a tag and a digest that disagree: the tag is {found}. Omit one of the two, or look with
    `modelshelf show`."""


class BadSource(Refused):
    """{text} is not a source: {reason}. Expected for example `ollama://qwen3:0.6b`, `hf://org/repo@main` or
    `hf://org/repo:Q4_K_M`."""


class HostileFileName(OfAnyLayer, Refused):
    """The file name {text} is refused: {reason}."""


class CollidingFileNames(OfAnyLayer, Refused):
    """{first} and {second} would be one file on some systems: their names differ only by case or Unicode form. Omit
    one of them, for example with `--exclude {pattern}`."""


class HostileFileNames(OfAnyLayer, Refused):
    """{what} has files whose names cannot be laid out on every system: {names}. Omit them: `{example}`."""


class LimitExceeded(OfAnyLayer, Refused):
    """{what} is over a limit: {found}, at most {limit} is accepted."""


class BadSetting(Refused):
    """{where} is not usable: {reason}."""


class BadSecret(Refused):
    """The secret {path} is not usable: {reason}. Nothing was started. {advice}"""


class CatalogUnknown(Refused):
    """Prefect runs elsewhere ({server}), but no catalog was named: its flows and this command would each see a catalog
    of their own. Set MODELSHELF_CATALOG_URL, or `catalog_url` in {config}."""


class ServerSecretRefused(Refused):
    """The Prefect server {server} does not take our secret (status {status}). Nothing was started. Set
    PREFECT_API_AUTH_STRING to what it was started with, and run `modelshelf up --server URL` again."""


# --- network ----------------------------------------------------------------------------------------------------


class Unreachable(OfAnyLayer, Unavailable):
    """{host} could not be reached{how}: {reason}."""


class Stalled(OfAnyLayer, Unavailable):
    """{host} stopped sending: less than {rate} bytes a second for {seconds} s."""


class NoAnswer(OfAnyLayer, Unavailable):
    """{host} did not answer {what} within {seconds} s."""


class ServerTrouble(OfAnyLayer, Unavailable):
    """{host} answered {status} for {what}{detail}."""


class TooBusy(OfAnyLayer, Unavailable):
    """{host} asks us to wait (status {status}, {seconds} s), longer than the {limit} s we wait by ourselves."""


class ConnectionCut(OfAnyLayer, Unavailable):
    """The connection to {host} ended early: {found} of {expected} bytes of {what}."""


class CertificateRefused(OfAnyLayer, Refused):
    """The certificate of {host} is not trusted: {reason}. Nothing was sent to it. If the host is right, name its
    authority's file with SSL_CERT_FILE."""


class RedirectRefused(OfAnyLayer, Refused):
    """{host} sends us to {target}, which is refused: {reason}. Nothing was sent there. If this is meant, name the host with
    `--redirect-host` when you log in to the source."""


class NotFound(OfAnyLayer, Refused):
    """{host} has no {what} (status {status}). Check the name and the tag or revision."""


class AccessDenied(OfAnyLayer, Refused):
    """{host} does not give us {what} (status {status}{detail})."""


class LoginNeeded(AccessDenied):
    """{host} does not give us {what} (status {status}{detail}). If it is private or gated, accept its terms there and store a
    token: `modelshelf login {login}`."""


class LoginNotUsed(Refused):
    """The login stored as {block} was not used for {host}: {reason}. Nothing was sent. Repeat it: `modelshelf login ollama
    {host}`."""


class SpeaksHttp(Refused):
    """{host} answers http and not https. Nothing was sent but that question. If this is meant, as for a registry on this
    machine: `modelshelf login ollama {host} --http --no-secret`, or without `--no-secret` where it asks for a password."""


class UnexpectedAnswer(OfAnyLayer, Refused):
    """{host} gave an answer for {what} that we cannot use: {reason}."""


class ContentChanged(OfAnyLayer, Unavailable):
    """{what} changed on {host} while it was being received (ETag {before}, now {after})."""


class SourceChanged(OfAnyLayer, Refused):
    """{path} changed while it was being read ({before} bytes at first, {after} at the end). Try again when nobody writes
    to it."""


class SourceUnreadable(OfAnyLayer, Refused):
    """{path} cannot be read: {reason}."""


# --- content ----------------------------------------------------------------------------------------------------


class DigestMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected}, received {found} (all {size} bytes). If it is always
    the same, something between us and {whose} alters the file."""


class SizeMismatch(OfAnyLayer, Refused):
    """{what} is not the file that {whose} lists: expected {expected} bytes, received {found}. If it is always the same,
    something between us and {whose} alters the file."""


class NotWhatItSays(OfAnyLayer, Refused):
    """{file} is not what its name says: {reason}. Nothing in it was executed."""


class FormatRefused(OfAnyLayer, Refused):
    """{what} needs files of kinds that are not taken: {files}. Ask the publisher for safetensors or GGUF{advice}."""


class LargeFilePointer(OfAnyLayer, Refused):
    """{file} is a Git LFS pointer, not the file that it stands for. Run `git lfs pull` where it was cloned; a publisher who
    committed the pointer itself has to upload the file."""


class NotWhole(OfAnyLayer, Refused):
    """{what} lacks files that {whose} names: {missing}. Fetch the missing files, or ask the publisher for them."""


class NamesCode(OfAnyLayer, Refused):
    """{file} names code of the publisher that an engine may run ({named}){files}. If you trust it, repeat the command with
    `--allow-code`: the code comes along, and no import runs it."""


class LicenseRefused(Refused):
    """{what} is under the licence {license}; this library takes {allowed}. Nothing of it is listed. If it is meant to be
    taken, add its licence to `licenses` in {config}."""


class BadHeader(OfAnyLayer, Refused):
    """{file} has a broken {format} header: {reason}. Ask the publisher for a whole file."""


class BadJson(OfAnyLayer, Refused):
    """{file} is not JSON that we accept: {reason}."""


class BadManifest(OfAnyLayer, Refused):
    """The manifest of {what} is refused: {reason}."""


class NothingToImport(OfAnyLayer, Refused):
    """{what} has no file to import{detail}."""


class SeveralModels(OfAnyLayer, Refused):
    """{what} holds several models and one is expected: {choices}. Choose: `{example}`."""


class NoModelAmong(OfAnyLayer, Refused):
    """{what} holds no model that could be served by itself: {found}. An adapter or a projector belongs to a base model: import
    the base, with the file beside it."""


class ShardsMissing(OfAnyLayer, Refused):
    """{what} is incomplete: {file} belongs to a set of {expected} files, {found} of them are here. Import the folder or
    repository that has all of them."""


class ChooseQuantization(OfAnyLayer, Refused):
    """{what} holds several quantisations: {choices}. Choose one, for example with `{example}`."""


class UnknownQuantization(OfAnyLayer, Refused):
    """{what} has nothing called {wanted}: it has {choices}. Choose one of these, for example with `{example}`."""


class ChooseModel(OfAnyLayer, Refused):
    """{what} holds several models: {choices}. Choose one: {commands}."""


# --- store ------------------------------------------------------------------------------------------------------


class BlobMissing(Refused):
    """The store {store} does not hold {digest}. Nothing was changed. `modelshelf import` of its source brings it back."""


class BlobDamaged(Refused):
    """{file} of {what} is damaged in the store ({digest}): {reason}. Nothing was changed. `modelshelf import {source}` fetches it
    again and puts it in its place."""


class StoreDamaged(Refused):
    """{path} in the store is not what we left there: {reason}. It was not used. Remove it, or run the import again."""


class DiskFull(Refused):
    """{path} needs {needed} and has {free} free ({kept} of it stays free). Nothing was stored. Make room, or move
    the library (`MODELSHELF_HOME`)."""


class WriteFailed(Refused):
    """Writing {what} to {path} failed: {reason}. Nothing of it is visible, and the temporary file is gone. Make room or
    repair the disk, then run it again."""


# --- catalog ----------------------------------------------------------------------------------------------------


class NoSuchModel(Refused):
    """There is no {what} that project {project} may see. Look with `modelshelf list`, or bring it in with `modelshelf
    import`."""


class WhichVersion(Refused):
    """{model} has several versions and none is called `latest`: {choices}. Name one of them."""


class NotReady(Refused):
    """{what} is not ready: it is {state}{reason}. Nothing was changed. {advice}"""


class NameTaken(Refused):
    """{what} is taken by other content: it is {found}, this would be {wanted}. A version never changes, so nothing was
    changed. Import under another name (`--name`)."""


class OtherPublisher(Refused):
    """{what} is published by {found}, and this import is of {wanted}: an import never gives a name to another publisher's
    weights. Nothing was changed. Import under a name of its own (`--name {example}`)."""


class Disabled(Refused):
    """{what} is disabled. Nothing was changed. `modelshelf enable {what}` makes it selectable again; what runs it
    already goes on, and may be restarted."""


class NoSuchAlias(Refused):
    """{model} has no alias {alias}{detail}. Nothing was changed. See `modelshelf alias {model}`."""


class StillInUse(Refused):
    """{what} is in use: {holders}. Nothing was deleted. Release these first, then try again: `modelshelf stop` an instance,
    `modelshelf template delete` a template, `modelshelf alias MODEL ALIAS --remove`, `modelshelf unpin` a replica."""


class Unreadable(Refused):
    """{what} cannot be relied on: {reason}. Nothing was deleted. `modelshelf audit` says what is wrong, and `modelshelf
    audit --repair` mends it."""


class LeaseLost(OfAnyLayer, Unavailable):
    """The lease on {what} lapsed before the work was done, and another run may have taken it: this result was not recorded."""


class BlobBeingDeleted(Unavailable):
    """{digest} is just being removed, replaced or counted on by {holder}. Nothing was changed; run it again in a moment."""


class CatalogUnreachable(Unavailable):
    """The catalog {url} could not be used: {reason}. Nothing was changed."""


class CatalogUrlRefused(Refused):
    """The catalog's address is not usable: {reason}. Nothing was read or changed. Expected `postgresql://user:password@host/name`
    or `sqlite:////folder/catalog.db`, in `catalog_url` of config.toml or in MODELSHELF_CATALOG_URL."""


class CatalogDamaged(Refused):
    """The catalog {url} is damaged: {reason}. Nothing was changed. Run `modelshelf down`, and restore the file from a backup:
    `catalog.before-*.db` beside it is the copy that the last update made."""


class CatalogDiskFull(Refused):
    """The catalog {url} cannot be written, its disk is full: {reason}{free}. Nothing was changed. Make room there, then run it
    again."""


class CatalogNotPermitted(Refused):
    """The catalog {url} cannot be used by this user: {reason}. Nothing was changed. Run it as the owner, give this user the
    rights, or name another folder with MODELSHELF_HOME."""


class OtherHome(Refused):
    """The {kind} of the catalog {url} is not the one in {home}: {reason}. Nothing was changed. {ways}: `modelshelf up
    --take-over`."""


class BadMarker(Refused):
    """{path} does not tell whose folder this is: {reason}. Nothing was changed. Restore the file from a backup, or remove it
    and run `modelshelf up --take-over`."""


class CatalogNewer(Refused):
    """The catalog {url} is at revision {found}, which this modelshelf ({known}) does not know. Nothing was changed. Use
    the newer modelshelf."""


class CatalogOlder(Refused):
    """The catalog {url} is at revision {found}, and this modelshelf needs {known}. Nothing was changed. `modelshelf down`
    and `modelshelf up` bring it up to date, and copy a SQLite file aside first."""


class CatalogNotMade(Refused):
    """There is no catalog at {url} yet. Run `modelshelf up`, or any command that changes something."""


class NoSuchFilesystem(Refused):
    """There is no filesystem {filesystem}: {known}. Nothing was changed. Write `[filesystems.{filesystem}]` with `path` and
    `region` into {config}."""


class PlaceChanged(Refused):
    """{what} is not what was registered: {reason}. Nothing was started. Bring it back as it was, or register it again: that
    makes a new version."""


class OtherRegion(Refused):
    """{what} lies on the filesystem {filesystem} in the region {region}; this machine is in {found}. Nothing was started.
    Launch it there, or import a copy: `modelshelf import file://…`."""


class InPlace(Refused):
    """{what} lies in place on the filesystem {filesystem}: {reason}. Nothing was changed. Engines read it there; a copy is
    made by `modelshelf import file://…`."""


class NotAnEmptyFolder(Refused):
    """{path} is not an absolute path of a new or empty folder. Nothing was written. Name another."""


# --- nodes and engines ------------------------------------------------------------------------------------------


class NoSuchNode(Refused):
    """There is no node {node}. Known are: {known}."""


class OtherNode(Refused):
    """{node} is another machine than this one, which is the node {here}. Nothing was copied. Run it on that machine."""


class NoReplica(Refused):
    """{what} is not cached on this node. Nothing was changed. `modelshelf cache {what}` brings it here."""


class ReplicaGone(Refused):
    """The files of {what} on this node are missing or are not what was laid out. Nothing was started. Start it again: that
    lays them out first."""


class NodeFull(Refused):
    """{node} has {free} free of its disk and {what} needs {needed}. Nothing was copied."""


class TypeMismatch(Refused):
    """{engine} serves {accepted}: {found}. Nothing was started. Choose another version (`modelshelf list`) or another
    engine (`--engine`)."""


class CategoryMismatch(Refused):
    """{engine} serves the categories {accepted}: {found}. Nothing was started. {others}"""


class TooManyModels(Refused):
    """{engine} serves at most {most} model in an instance, and {found} were named. Nothing was started. Launch one
    instance each, or choose another engine (`--engine ollama`)."""


class NothingToServe(Refused):
    """{what} holds no file that {engine} can serve: {reason}. Nothing was started."""


class EngineMissing(Refused):
    """The engine {engine} is not there: {reason}. Nothing was started. {advice}"""


class EngineDied(Refused):
    """{engine} ended by itself (exit status {status}) before it answered. Nothing is running. Its log: {tail} —
    the whole log: `modelshelf logs {instance}`."""


class EngineTooSlow(Refused):
    """{engine} did not {stage} within {seconds} s and was stopped. Its log: {tail} — the whole log: `modelshelf logs
    {instance}`."""


class EngineListsOther(Refused):
    """{engine} lists {found} and not {expected}."""


class EngineNotReady(Refused):
    """{engine} started, but did not get ready: {reason}{log}. The engine was stopped. The whole log: `modelshelf logs
    {instance}`."""


class KeyIgnored(Refused):
    """{engine} answers requests for {model} that carry no key, although {instance} was launched with one."""


class NoMemoryLimit(Refused):
    """A limit of memory cannot be kept on this machine: {reason}. Nothing was started. Launch without `--memory`, or set
    `cgroup` in config.toml to a cgroup v2 folder that this user may write in."""


class ProcessesRemain(Unavailable):
    """Processes of the instance {instance} are still there {seconds} s after SIGKILL: {pids}. They end when the kernel lets
    go of them; then run it again."""


class PortTaken(Refused):
    """Port {port} on {bind} is taken{by}. Nothing was started. Choose another with `--port`, or omit it: a free one
    is taken."""


class Unprotected(Refused):
    """An engine that listens on {bind} is open to the network: {reason}. Nothing was started. {advice}"""


class NoWords(Refused):
    """{what} is of the category {category}: it answers with numbers, not with words. {how}"""


class NoSuchInstance(Refused):
    """There is no instance {instance} in project {project}. See `modelshelf instances`."""


class NoSuchTemplate(Refused):
    """There is no template {template} in project {project}. See `modelshelf template list`."""


class NothingToSwitch(Refused):
    """{instance} cannot be switched so: {reason}. Nothing was changed. `modelshelf instances` shows what it serves."""


class SwitchFailed(Refused):
    """{instance} does not come up with {after}: {reason} {now}"""


class CategoryInUse(Refused):
    """{model} is served by {holders}, started as what it is listed for now. Nothing was changed. Stop these (`modelshelf stop
    {instance}`), then `modelshelf category {model} {category}` changes it."""


class InstanceRuns(Refused):
    """{instance} is {state} with {found}; this asks for {wanted}. Nothing was changed. Stop it first (`modelshelf stop
    {instance}`), or launch under another name (`--as`)."""
