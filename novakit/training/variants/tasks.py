"""The tasks of the two variants that are no plain NOVA: what learns, and how the network is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from novakit.models.shallow_replica import ShallowReplicaTransformer
from novakit.models.token_concat import TokenConcatTransformer, latent_place
from novakit.training.nova_task import NovaBatch, NovaTask, NovaTaskConfig
from novakit.training.objective import NUM_TRAIN_TIMESTEPS, add_noise, flow_matching_loss
from novakit.training.variants.examples import INTERVAL


class ShallowTask(NovaTask):
    """NOVA's task in which the copied blocks of the replica learn too."""

    def __init__(self, model: ShallowReplicaTransformer, *given: Any, **named: Any) -> None:
        super().__init__(model, *given, **named)
        model.learn()


class ConcatTask(NovaTask):
    """NOVA's objective for token concatenation: loss on the target part only, one noise level per clip.

    Args as NovaTask; `control` of a batch holds cues 8 frames apart (`variants.examples.concat_batch`).
    """

    def __init__(
        self,
        model: TokenConcatTransformer,
        batch_fn: Callable[[int], NovaBatch],
        config: NovaTaskConfig | None = None,
        validation: Sequence[NovaBatch] = (),
        settings: dict[str, Any] | None = None,
    ) -> None:
        model.learn()
        self.module, self.preview = model, None
        self.batch_fn, self.validation = batch_fn, validation
        self.config = config or NovaTaskConfig()
        self.settings = {**asdict(self.config), "learn": "self-attention", **(settings or {})}
        self.device = model.device

    def _loss(self, batch: NovaBatch, sigmas: Tensor, noise: Tensor, weight: Tensor | None = None) -> Tensor:
        latents = batch.target_latents.float()
        text = latents.new_zeros(len(latents), 1, self.module.base.config.text_dim)  # the null token
        prediction = self.module(
            add_noise(latents, noise, sigmas),
            (NUM_TRAIN_TIMESTEPS * sigmas).to(self.device),
            text,
            batch.source_latents,
            batch.control,
            [latent_place(INTERVAL * i) for i in range(batch.control.shape[2])],
        )
        return flow_matching_loss(prediction, noise, latents, sigmas, weight)
