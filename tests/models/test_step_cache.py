"""The step cache: the same input gives the same output, hints and dense terms included; diffusers' does not."""

import pytest
import torch
from nova_tiny import BASE, tiny_inputs, tiny_nova

from novakit.errors import NovaError
from novakit.models.step_cache import StepCache


def forward(model, inputs, cache=None, **changes):
    with torch.no_grad():
        return model(**{**inputs, **changes}, step_cache=cache, return_dict=False)[0]


@pytest.mark.parametrize("options", [{}, {"dense_window": 0}, {"dense_injection": "add"}])
def test_the_same_input_twice_gives_the_same_output_and_skips_the_rest(options, monkeypatch):
    model, inputs, cache = tiny_nova(**options), tiny_inputs(), StepCache(0.05)
    plain = forward(model, inputs)
    assert torch.equal(forward(model, inputs, cache), plain)
    for block in [*model.base.blocks[1:], *model.base.vace_blocks]:
        monkeypatch.setattr(block, "forward", lambda *_: pytest.fail("a block ran"))
    torch.testing.assert_close(forward(model, inputs, cache), plain, atol=1e-5, rtol=1e-5)
    assert (cache.computed, cache.skipped) == (1, 1)


def test_diffusers_own_first_block_cache_adds_hints_twice():
    from diffusers import FirstBlockCacheConfig, WanVACETransformer3DModel

    torch.manual_seed(0)
    base, inputs = WanVACETransformer3DModel(**BASE).eval(), tiny_inputs()
    given = {k: v for k, v in inputs.items() if k != "source_latents"}
    base.enable_cache(FirstBlockCacheConfig(threshold=0.05))
    with torch.no_grad(), base.cache_context("cond"):
        once, again = (base(**given, return_dict=False)[0] for _ in range(2))
    assert (once - again).abs().max() > 0.01 * once.abs().max()


def test_a_skipped_step_follows_its_own_tokens_and_another_input_is_computed():
    model, inputs, cache = tiny_nova(), tiny_inputs(), StepCache(0.2)
    forward(model, inputs, cache)
    near = {**inputs, "hidden_states": inputs["hidden_states"] * 1.01}
    skipped, true = forward(model, near, cache), forward(model, near)
    assert cache.skipped == 1 and not torch.equal(skipped, forward(model, inputs))
    assert (skipped - true).abs().mean() < 0.1 * true.abs().mean()
    far = {**inputs, "hidden_states": -3 * inputs["hidden_states"]}
    assert torch.equal(forward(model, far, cache), forward(model, far)) and cache.computed == 2


def test_threshold_zero_never_skips_and_a_negative_one_is_refused():
    model, inputs, cache = tiny_nova(), tiny_inputs(), StepCache(0.0)
    assert torch.equal(forward(model, inputs, cache), forward(model, inputs, cache))
    assert (cache.computed, cache.skipped) == (2, 0)
    for bad in (-0.1, float("nan")):
        with pytest.raises(NovaError, match="0 .never skip. or more"):
            StepCache(bad)


def test_another_batch_size_starts_anew():
    model, cache = tiny_nova(), StepCache(10.0)
    forward(model, tiny_inputs(batch=2), cache)
    one = tiny_inputs(batch=1)
    assert torch.equal(forward(model, one, cache), forward(model, one)) and cache.skipped == 0
