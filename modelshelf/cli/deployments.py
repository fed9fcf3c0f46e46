"""The deployments of `prefect.yaml`, each as Prefect's API names it: `flow/deployment`. Commands refer to them by this table.

In Prefect's UI the second part is the large word, so it says what is done, and when, if there is a schedule.
"""

from __future__ import annotations

from enum import StrEnum

POOL = "modelshelf"
"""The work pool of every deployment."""

TAG = "modelshelf"
"""The tag of every deployment, and so of each run and of each event of a run: an event names no work pool."""

QUEUE = "default"
"""The queue of what may run on any machine: on one machine, everything."""


class Deployment(StrEnum):
    """A deployment; a fast test compares these with `prefect.yaml`."""

    IMPORT_OLLAMA = "import-ollama/import-ollama"
    IMPORT_HUGGINGFACE = "import-huggingface/import-huggingface"
    IMPORT_FOLDER = "import-folder/import-folder"
    REGISTER_FILESYSTEM = "register-filesystem/register-filesystem"
    SAVE_FROM_INSTANCE = "save-from-instance/save-from-instance"
    CACHE_VERSION = "cache-version/cache-version"
    EVICT_REPLICA = "evict-replica/evict-replica"
    LAUNCH_INSTANCE = "launch-instance/launch-instance"
    STOP_INSTANCE = "stop-instance/stop-instance"
    RESTART_INSTANCE = "restart-instance/restart-instance"
    SWITCH_INSTANCE = "switch-instance/switch-instance"
    RECOVER_INSTANCE = "recover-instance/recover-instance"
    REFILL_REPLICA = "refill-replica/refill-replica"
    DEFINE_TEMPLATE = "define-template/define-template"
    DELETE_TEMPLATE = "delete-template/delete-template"
    CHANGE_VERSION = "change-version/change-version"
    DELETE_VERSION = "delete-version/delete-version"
    BUILD_IMAGE = "build-image/build-image"
    WARM_UP = "warm-up/warm-up-nightly"
    CLEAN = "clean-stale-versions/clean-weekly"
    AUDIT = "audit-library/audit-weekly"
    AUDIT_PART = "audit-library/audit-part-nightly"
    RECONCILE = "reconcile/reconcile-every-five-minutes"

    @property
    def flow(self) -> str:
        """The name of the flow."""
        return self.partition("/")[0]

    @property
    def label(self) -> str:
        """The name of the deployment alone."""
        return self.partition("/")[2]
