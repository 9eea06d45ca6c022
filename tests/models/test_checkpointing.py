"""Gradient checkpointing that keeps what attention gave: the same gradients, and attention runs once."""

from collections import Counter
from functools import partial

import pytest
import torch
from nova_tiny import BASE
from torch.utils._python_dispatch import TorchDispatchMode

from novakit.errors import NovaError
from novakit.models import NovaTransformer3DModel, freeze_base
from novakit.models.checkpointing import KERNELS, all_but_attention, checkpoint_gradients


class Kernels(TorchDispatchMode):
    """Counts fused attention by its number of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[int] = Counter()

    def __torch_dispatch__(self, operation, types, inputs=(), options=None):
        if operation in KERNELS:
            self.calls[inputs[1].shape[-2]] += 1
        return operation(*inputs, **(options or {}))


def gradients(how, device="cpu") -> tuple[dict[str, torch.Tensor], Counter]:
    """Gradients of one step and the calls of attention, forward and backward; `how` = None: no checkpointing."""
    torch.manual_seed(0)
    model = NovaTransformer3DModel(BASE, dense_window=None).train()
    freeze_base(model)
    for linear in model.dense_branch.output_projections():
        torch.nn.init.normal_(linear.weight, std=0.1)
    model.to(device)
    if how:
        model.enable_gradient_checkpointing(how)
    shapes = (BASE["in_channels"], 3, 4, 6), (BASE["in_channels"], 3, 4, 6), (BASE["vace_in_channels"], 3, 4, 6)
    latents, source, control = (torch.randn(1, *shape).to(device) for shape in shapes)
    when, text = torch.tensor([500.0], device=device), torch.zeros(1, 5, BASE["text_dim"], device=device)
    with Kernels() as kernels:
        found = model(latents, when, text, control, source_latents=source, return_dict=False)[0]
        found.square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kernels.calls


def plain(function, *inputs):
    return torch.utils.checkpoint.checkpoint(function, *inputs, use_reentrant=False)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_gradients_are_the_same_and_attention_runs_once(device):
    """Bit for bit on a CPU; kernels on a GPU add in an order that changes from run to run."""
    never, once = gradients(None, device)
    again, twice = gradients(plain, device)
    kept, fewer = gradients(partial(all_but_attention, least=72), device)
    assert never.keys() == again.keys() == kept.keys() and never
    tolerance = {"rtol": 0, "atol": 0} if device == "cpu" else {}
    for name, gradient in never.items():
        torch.testing.assert_close(kept[name], gradient, **tolerance)
        torch.testing.assert_close(again[name], gradient, **tolerance)
    tokens, prompt = 3 * 4 * 6, 5
    assert twice[tokens] > once[tokens] == fewer[tokens], "attention to the clip is not run again"
    assert fewer[prompt] == twice[prompt] > once[prompt], "attention to the short prompt is"


def test_attention_to_few_keys_runs_again():
    assert gradients(all_but_attention)[1] == gradients(plain)[1], "a tiny clip has fewer keys than pay"


@pytest.mark.parametrize("kept", [False, True])
def test_a_model_is_told_how(kept):
    model = NovaTransformer3DModel(BASE)
    checkpoint_gradients(model, kept)
    assert model.is_gradient_checkpointing and (model._gradient_checkpointing_func is all_but_attention) == kept


def test_a_module_that_cannot():
    with pytest.raises(NovaError, match="Linear cannot checkpoint gradients"):
        checkpoint_gradients(torch.nn.Linear(2, 2))
