"""Forward and backward of a training step as a CUDA graph: launched once, whatever the number of kernels.

A net of a few million parameters is launched for longer than it computes (27,000 kernels in a step of the nano VAE,
which the card finishes in a fifth of the time that Python needs to name them). A graph is recorded on the first step
of every shape and replayed on the following ones, with new inputs in the same memory.

Source: PyTorch's CUDA graphs ("whole-network capture"); what is inside and outside of the graph is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.training.task import GraphedTask

WARM_UP = 2  # passes before the recording, in which libraries choose their kernels


@dataclass
class Recording:
    """One graph and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: dict[str, Tensor]
    loss: Tensor
    numbers: dict[str, Tensor]
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the step on other inputs; leaves the gradients in `.grad`."""
        for name, tensor in inputs.items():
            self.inputs[name].copy_(tensor)
        self.graph.replay()
        for weight, gradient in self.gradients:
            weight.grad = gradient
        return self.loss, self.numbers


class StepGraphs:
    """Steps of a task, one graph per shape of its inputs.

    Args:
        task: has `inputs` and `measure` beside `loss`.
        precision: "bf16" or "fp32", as in TrainConfig.

    Raises:
        NovaError: a task whose step cannot be recorded, or one that is not on a CUDA device.
    """

    def __init__(self, task: GraphedTask, precision: str) -> None:
        device = next(task.module.parameters()).device
        if not isinstance(task, GraphedTask) or device.type != "cuda":
            raise NovaError(
                f"{type(task).__name__} on {device} cannot be recorded as a CUDA graph: that needs inputs() and "
                "measure() and a CUDA device. Set cuda_graphs to False."
            )
        self.task, self.half = task, precision == "bf16"
        self.recordings: dict[tuple, Recording] = {}

    def __call__(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of batch `step` in `.grad`; loss and numbers, valid until the next call."""
        inputs = self.task.inputs(step)
        key = tuple((name, *tensor.shape) for name, tensor in inputs.items())
        if key not in self.recordings:
            self.recordings[key] = self._record(inputs)
        return self.recordings[key].replay(inputs)

    def _record(self, inputs: dict[str, Tensor]) -> Recording:
        held = {name: tensor.clone() for name, tensor in inputs.items()}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._pass(held)
        torch.cuda.current_stream().wait_stream(aside)
        self.task.module.zero_grad(set_to_none=True)  # the recorded backward makes gradients of its own
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss, numbers = self._pass(held)
        gradients = [(weight, weight.grad) for weight in self.task.module.parameters() if weight.grad is not None]
        return Recording(graph, held, loss, numbers, gradients)

    def _pass(self, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Autocast begins and ends inside, so that no cast of a weight outlives the graph that made it."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.half):
            loss, numbers = self.task.measure(**inputs)
        loss.backward()
        return loss.detach(), {name: number.detach() for name, number in numbers.items()}
