"""bring: a source model that was trained elsewhere, by its torchvision name or from a checkpoint file."""

from typing import Any

import torch
from pydantic import TypeAdapter

from robust_transfer.errors import UserError
from robust_transfer.models import files
from robust_transfer.models.torchvision_nets import from_torchvision, weights_of
from robust_transfer.plan.specs import AnyNetwork
from robust_transfer.stages.job import Job


def run(job: Job) -> dict[str, Any]:
    """Write the model in our form; returns where its weights came from."""
    network = TypeAdapter(AnyNetwork).validate_python(job.spec["network"])
    state, origin = weights_of(network.name, job.spec["weights"], job.data_root / "weights")
    classes = next(reversed(state.values())).shape[0]
    model = files.build(network, 3, classes)
    try:
        model.load_state_dict(from_torchvision(network.name, state))
    except RuntimeError as error:
        raise UserError(f"{origin} does not hold the weights of {network.name}: {error}") from None
    if not all(tensor.isfinite().all() for tensor in model.state_dict().values() if torch.is_floating_point(tensor)):
        raise UserError(f"{origin} holds weights that are not finite; fetch it again")
    files.save(job.output, model, network, 3, classes)
    return {"origin": origin, "classes": classes}
