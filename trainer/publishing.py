"""Publishing what a run has trained: the averaged network, in the form in which it is served."""

from torch import Tensor

from model_store import Draft, Manifest, NetworkSpec, TransformNetwork, open_store
from trainer.config import TrainConfig
from trainer.errors import RunError, TrainerError
from trainer.run_folder import State, png, same_inputs
from trainer.task import Task
from trainer.task_parts import served_spec


def require_store(config: TrainConfig) -> None:
    """Raise TrainerError, or StoreError, where the network could not be published at the end. Leaves no trace."""
    try:
        open_store(config.store).require_writable(config.name)
    except OSError as error:
        why = f"{error.strerror}: {error.filename}"
        raise TrainerError(
            f"--store {config.store} cannot be written, where the network is published: {why}"
        ) from error


def publish(task: Task, config: TrainConfig, state: State, *, once: bool = False) -> Manifest:
    """Publish the averaged network of a saved state into `config.store`, in its `served_form`; returns its manifest.

    With `once`, not again where the newest version is this network: of a process that was killed before it said so.
    Raises RunError where the manifest would name other inputs than those of the training.
    """
    _require_same_inputs(task, config, state)
    served = served_form(task.network.spec, state["average"])
    draft = _with_origin(task.draft(served, state["step"], state["losses"]), state.get("warm_start", ""))
    store = open_store(config.store)
    return (store.publish_once if once else store.publish)(served, draft, preview=png(task.preview(served)))


def served_form(spec: NetworkSpec, weights: dict[str, Tensor]) -> TransformNetwork:
    """The network that is served, in evaluation mode: see `served_spec`."""
    network = TransformNetwork(served_spec(spec))
    network.load_state_dict(weights)
    return network.eval()


def _with_origin(draft: Draft, origin: str) -> Draft:
    """With the version that the run began with, where that is known, instead of the option as it was typed."""
    if not origin:
        return draft
    recipe = draft.provenance.recipe | {"warm_start": origin}
    return draft.model_copy(update={"provenance": draft.provenance.model_copy(update={"recipe": recipe})})


def _require_same_inputs(task: Task, config: TrainConfig, state: State) -> None:
    if not same_inputs(state["fingerprint"], task.fingerprint):
        raise RunError(
            f"{config.name} was trained with other photographs, another painting, loss network or teacher than there "
            "are now; the manifest would name the wrong ones: put back what the run was begun with"
        )
