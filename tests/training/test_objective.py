"""Equation 4: the velocity objective is the epsilon objective up to a weight; its pieces are inverses."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.training.objective import (
    add_noise,
    epsilon_from_velocity,
    epsilon_loss_weight,
    flow_matching_loss,
    latents_from_velocity,
    sample_sigmas,
    shift_sigmas,
    step_generator,
    velocity_target,
    without_autocast,
)


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    latents, noise, prediction = torch.randn(3, 5, 4, 3, 2, 6, generator=generator)
    return latents, noise, prediction, torch.rand(5, generator=generator)


def test_true_velocity_gives_back_noise_and_latents(drawn):
    latents, noise, _, sigmas = drawn
    noisy, velocity = add_noise(latents, noise, sigmas), velocity_target(latents, noise)
    torch.testing.assert_close(latents_from_velocity(noisy, velocity, sigmas), latents)
    torch.testing.assert_close(epsilon_from_velocity(noisy, velocity, sigmas), noise)
    assert flow_matching_loss(velocity, noise, latents, sigmas) == 0


def test_path_ends_at_data_and_noise(drawn):
    latents, noise, _, _ = drawn
    assert torch.equal(add_noise(latents, noise, torch.zeros(5)), latents)
    assert torch.equal(add_noise(latents, noise, torch.ones(5)), noise)


def test_epsilon_objective_is_the_weighted_velocity_objective(drawn):
    """Any prediction, not only the true one: ||eps' - eps||^2 = (1 - sigma)^2 ||v' - v||^2."""
    latents, noise, prediction, sigmas = drawn
    noisy = add_noise(latents, noise, sigmas)
    epsilon_loss = (epsilon_from_velocity(noisy, prediction, sigmas) - noise).square().mean()
    weighted = flow_matching_loss(prediction, noise, latents, sigmas, epsilon_loss_weight(sigmas))
    torch.testing.assert_close(weighted, epsilon_loss)
    latent_loss = (latents_from_velocity(noisy, prediction, sigmas) - latents).square().mean()
    weighted = flow_matching_loss(prediction, noise, latents, sigmas, sigmas.square())
    torch.testing.assert_close(weighted, latent_loss)
    assert not torch.isclose(flow_matching_loss(prediction, noise, latents, sigmas), epsilon_loss)


def test_shift_formula_and_diffusers():
    sigmas = torch.linspace(0, 1, 11)
    assert torch.equal(shift_sigmas(sigmas, 1.0), sigmas)
    shifted = shift_sigmas(sigmas, 3.0)
    assert shifted[0] == 0 and shifted[-1] == 1 and shifted[5] == pytest.approx(0.75)
    torch.testing.assert_close(shift_sigmas(shifted, 1 / 3.0), sigmas)  # the inverse
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    plain = FlowMatchEulerDiscreteScheduler(shift=1.0)
    torch.testing.assert_close(shift_sigmas(plain.sigmas, 3.0), scheduler.sigmas)
    with pytest.raises(NovaError, match="timestep shift is 0"):
        shift_sigmas(sigmas, 0)


def test_sampled_levels_follow_their_law():
    uniform = sample_sigmas(20_000, step_generator(0, 0))
    assert uniform.mean() == pytest.approx(0.5, abs=0.01) and uniform.std() == pytest.approx(12**-0.5, abs=0.01)
    logit = torch.logit(sample_sigmas(20_000, step_generator(0, 0), scheme="logit_normal"))
    assert logit.mean() == pytest.approx(0, abs=0.03) and logit.std() == pytest.approx(1, abs=0.03)
    assert torch.equal(
        sample_sigmas(9, step_generator(0, 0), 3.0), shift_sigmas(sample_sigmas(9, step_generator(0, 0)), 3.0)
    )
    with pytest.raises(NovaError, match="'cosmap' is unknown; choose 'uniform' or 'logit_normal'"):
        sample_sigmas(2, scheme="cosmap")


def test_step_generator_depends_on_all_three():
    def draw(*key):
        return torch.rand(4, generator=step_generator(*key)).tolist()

    assert draw(1, 2) == draw(1, 2)
    draws = [draw(1, 2), draw(2, 1), draw(1, 3), draw(12, 0), draw(1, 20), draw(1, 2, "clips")]
    assert len({tuple(numbers) for numbers in draws}) == len(draws)


def test_shapes_are_checked(drawn):
    latents, noise, prediction, sigmas = drawn
    with pytest.raises(NovaError, match="shapes differ"):
        flow_matching_loss(prediction[:, :1], noise, latents, sigmas)  # would broadcast silently
    with pytest.raises(NovaError, match="shapes differ"):
        flow_matching_loss(prediction, noise, latents, sigmas[:1])


def test_without_autocast_keeps_float32():
    weight = torch.randn(4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert (weight @ weight).dtype == torch.bfloat16
        with without_autocast("cpu"):
            assert (weight @ weight).dtype == torch.float32
