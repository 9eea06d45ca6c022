"""What a thing to be learned looks like to the trainer."""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Task(Protocol):
    """A module and the loss of batch `step`. Optional beside them:

    validate(step) -> dict[str, float]: scores for the log.
    validation_clips(step) -> dict[str, Tensor]: clips (1, 3, T, H, W) in [-1, 1], written as mp4.
    settings: dict of JSON values (batch size, data split, …); a resumed run must have the same.

    Both validation methods run in eval mode, without gradients, in float32, on the averaged weights, and
    whatever they draw at random leaves the training's random state as it was.
    """

    module: nn.Module  # its parameters with requires_grad learn; the rest stays frozen

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss of batch `step` and named numbers for the log.

        Batch and noise must follow from (seed, step) alone, see `objective.step_generator`: the step *is*
        the data position, which makes a resume exact. With precision "bf16" it runs under autocast: wrap
        rendering, warping and metrics in `objective.without_autocast(device)`, bfloat16 pixel coordinates
        are off by whole pixels.
        """
        ...


@runtime_checkable
class GraphedTask(Task, Protocol):
    """A task whose step can be recorded as a CUDA graph (`training.graphs`): the loss in two halves."""

    def inputs(self, step: int) -> dict[str, Tensor]:
        """Whatever batch `step` draws, renders or loads: tensors on the module's device."""
        ...

    def measure(self, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and named numbers of these inputs; draws nothing and reads no number back to Python."""
        ...
