"""NOVA training as the paper does it: the base is frozen, only the dense cross-attention learns (eq. 4)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models.build import learn_only
from novakit.training.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    draw_noise,
    epsilon_loss_weight,
    flow_matching_loss,
    sample_sigmas,
    step_generator,
    without_autocast,
)


@dataclass(frozen=True)
class NovaBatch:
    """Inputs of one training step; all share the batch size B and the latent grid (t, h, w)."""

    target_latents: Tensor  # (B, Z, t, h, w) clean target clip x, normalised latents
    source_latents: Tensor | None  # (B, Z, t, h, w) pseudo source, eq. 3; None = dense branch off
    control: Tensor | None  # (B, 2Z + s*s, t, h, w) VACE context of the control sequence, eq. 2; None = off

    def to(self, device: torch.device) -> "NovaBatch":
        """The same batch on another device."""
        parts = (self.target_latents, self.source_latents, self.control)
        return NovaBatch(*(None if part is None else part.to(device) for part in parts))


@dataclass(frozen=True)
class NovaTaskConfig:
    """How noise levels are drawn and weighted."""

    seed: int = 0  # seed of noise and noise levels; the batch function has its own
    shift: float = 3.0  # timestep shift s (Wan 2.1 uses 3 at 480p)
    scheme: str = "uniform"  # noise levels: "uniform" or "logit_normal"
    weighting: str = "velocity"  # "velocity" = plain flow matching; "epsilon" = the paper's eq. 4, (1-sigma)^2
    validation_sigmas: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)  # noise levels at which validation measures

    def __post_init__(self) -> None:
        if self.weighting not in ("velocity", "epsilon"):
            raise NovaError(f"weighting is {self.weighting!r}; choose 'velocity' or 'epsilon'.")
        sample_sigmas(1, shift=self.shift, scheme=self.scheme, generator=step_generator(0, 0))  # checks both


class NovaTask:
    """The task of `Trainer` for NOVA: recover the target from noise, pseudo source and control sequence.

    Args:
        model: NovaTransformer3DModel; everything but `learn` is frozen here.
        batch_fn: `batch_fn(step) -> NovaBatch`, a pure function of the step (called outside autocast).
        config: noise levels and weighting.
        validation: held-out batches; their loss at fixed noise levels and fixed noise is the score.
        settings: JSON values that a resumed run must share (batch size, data split, preset, …).
        learn: "dense" for NOVA; "main" and "sparse" are the stages of the base (`novakit.models.learn_only`).
        preview: `preview() -> {name: clip (1, 3, T, H, W)}`, samples of the model as it is now; written as mp4 at
            every validation. `novakit.training.preview` makes one.
    """

    def __init__(
        self,
        model: nn.Module,
        batch_fn: Callable[[int], NovaBatch],
        config: NovaTaskConfig | None = None,
        validation: Sequence[NovaBatch] = (),
        settings: dict[str, Any] | None = None,
        learn: str = "dense",
        preview: Callable[[], dict[str, Tensor]] | None = None,
    ) -> None:
        learn_only(model, learn)
        self.module, self.preview = model, preview
        self.batch_fn, self.validation = batch_fn, validation
        self.config = config or NovaTaskConfig()
        self.settings = {**asdict(self.config), "learn": learn, **(settings or {})}
        self.device = next(model.parameters()).device

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Eq. 4 on batch `step`; noise level and noise follow from (seed, step).

        Returns:
            Scalar loss, and the mean noise level for the log.
        """
        loss, numbers = self.measure(**self.inputs(step))
        return loss, {name: number.item() for name, number in numbers.items()}

    def inputs(self, step: int) -> dict[str, Tensor]:
        """Batch `step` with its noise and noise levels, on the model's device."""
        with without_autocast(self.device), torch.no_grad():
            batch = self.batch_fn(step).to(self.device)
        generator = step_generator(self.config.seed, step)
        sigmas = sample_sigmas(len(batch.target_latents), generator, self.config.shift, self.config.scheme)  # (B,)
        given = {"sigmas": sigmas.to(self.device), "noise": draw_noise(batch.target_latents, generator)}
        parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return given | {name: part for name, part in parts.items() if part is not None}

    def measure(self, sigmas: Tensor, noise: Tensor, **parts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of given noise levels (B,), noise and the parts of a NovaBatch."""
        batch = NovaBatch(**{"source_latents": None, "control": None, **parts})
        weight = epsilon_loss_weight(sigmas) if self.config.weighting == "epsilon" else None
        return self._loss(batch, sigmas, noise, weight), {"sigma": sigmas.mean()}

    def _loss(self, batch: NovaBatch, sigmas: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
        """Flow-matching loss of the model's velocity at given noise levels (B,) and noise (B, Z, t, h, w)."""
        latents = batch.target_latents.float()
        model, text_dim = self.module, self.module.base.config.text_dim
        prediction = model(
            hidden_states=add_noise(latents, noise, sigmas),
            timestep=(NUM_TRAIN_TIMESTEPS * sigmas).to(self.device),
            encoder_hidden_states=latents.new_zeros(len(latents), 1, text_dim),  # the null token
            control_hidden_states=batch.control,
            source_latents=batch.source_latents,
            return_dict=False,
        )[0]
        return flow_matching_loss(prediction, noise, latents, sigmas, weight)

    @property
    def _half_precision_base(self) -> bool:
        return self.module.base.patch_embedding.weight.dtype != torch.float32

    def validation_clips(self, step: int) -> dict[str, Tensor]:
        """What `preview` makes of the averaged weights at this step."""
        return self.preview() if self.preview else {}

    def validate(self, step: int) -> dict[str, float]:
        """Mean loss of the held-out batches, over all and per noise level; the same noise every time."""
        levels = self.config.validation_sigmas
        losses = {level: [] for level in levels}
        for index, batch in enumerate(self.validation):
            batch = batch.to(self.device)
            generator = step_generator(self.config.seed, index, "validation")
            noise = draw_noise(batch.target_latents, generator)
            for level in levels:
                sigmas = torch.full(batch.target_latents.shape[:1], level)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half_precision_base):
                    losses[level].append(self._loss(batch, sigmas, noise).item())
        if not self.validation:
            return {}
        means = {f"loss_at_{level:g}": sum(values) / len(values) for level, values in losses.items()}
        return {"loss": sum(means.values()) / len(means), **means}
