"""The settings of a training run, and the learning rate as a pure function of the step."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from novakit.errors import NovaError

#: Keys that change how a run is watched, not what it computes: a resumed run may change them freely.
FREE_KEYS = (
    "checkpoint_every",
    "checkpoint_seconds",
    "validate_every",
    "log_every",
    "minutes",
    "keep",
    "gradient_checkpointing",
    "keep_attention",
    "background_checkpoints",
    "cuda_graphs",
)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; defaults are the paper's where the paper says (lr, steps, AdamW)."""

    steps: int = 8000  # optimiser updates in the whole run (paper: 8,000)
    lr: float = 1e-4  # peak learning rate (paper: 1e-4)
    warmup: int = 100  # updates over which the learning rate rises linearly from 0
    schedule: str = "cosine"  # after the warm-up: "cosine" falls to lr * lr_end, "constant" stays
    lr_end: float = 0.05  # last learning rate as a fraction of lr, for "cosine"
    optimizer: str = "adamw"  # "adamw" (paper), or "muon" for nets trained from scratch
    weight_decay: float = 0.01  # AdamW decay of matrices; vectors (biases, norms) do not decay
    grad_clip: float = 1.0  # largest gradient norm; 0 switches clipping off
    ema: float = 0.0  # decay of the averaged copy of the weights; 0 keeps none
    precision: str = "bf16"  # "bf16" = autocast of the forward pass (weights stay float32), "fp32" = none
    gradient_checkpointing: bool = False  # recompute activations in the backward pass: less memory, same numbers
    keep_attention: bool = False  # with gradient_checkpointing: all but attention, which costs most to run again
    cuda_graphs: bool = False  # forward and backward recorded once and replayed; for small nets on a GPU
    accumulate: int = 1  # batches whose gradients are averaged in one update
    checkpoint_every: int = 200  # updates between checkpoints
    checkpoint_seconds: float | None = None  # or so long after the last one, if that is sooner; None = never sooner
    validate_every: int = 200  # updates between validations; 0 = never
    log_every: int = 10  # updates averaged into one line of the log
    keep: int = 2  # newest checkpoints kept
    background_checkpoints: bool = False  # write checkpoints in a thread while training goes on
    minutes: float | None = None  # wall-clock limit of one call of fit; None = no limit
    best_metric: str | None = None  # validation metric that chooses best.safetensors; None = no best
    best_direction: str = "max"  # "max" when a larger best_metric is better, "min" when a smaller one is
    seed: int = 0  # seed of the global random state (dropout); tasks seed their batches with it too

    def __post_init__(self) -> None:
        _check_choice("schedule", self.schedule, ("cosine", "constant"))
        _check_choice("optimizer", self.optimizer, ("adamw", "muon"))
        _check_choice("precision", self.precision, ("bf16", "fp32"))
        _check_choice("best_direction", self.best_direction, ("max", "min"))
        for key, least in {**_LEAST, "lr": 0, "ema": 0}.items():
            if isinstance(getattr(self, key), bool) or not isinstance(getattr(self, key), int | float):
                raise NovaError(f"TrainConfig.{key} is {getattr(self, key)!r}; it must be a number.")
            if not getattr(self, key) >= least:
                raise NovaError(f"TrainConfig.{key} is {getattr(self, key)!r}; it must be at least {least}.")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise NovaError(f"TrainConfig.lr is {self.lr!r}; pass a positive number such as 1e-4.")
        if not 0 <= self.ema < 1:
            raise NovaError(f"TrainConfig.ema is {self.ema!r}; pass 0 (off) or a decay such as 0.999.")
        if self.cuda_graphs and (self.accumulate > 1 or self.gradient_checkpointing):
            raise NovaError("cuda_graphs go with accumulate=1 and without gradient_checkpointing; drop one of them.")
        if self.keep_attention and not self.gradient_checkpointing:
            raise NovaError("keep_attention says what gradient_checkpointing keeps; switch that on too, or drop it.")
        for key in ("minutes", "checkpoint_seconds"):
            if getattr(self, key) is not None and not getattr(self, key) > 0:
                raise NovaError(f"TrainConfig.{key} is {getattr(self, key)!r}; pass a number above 0, or None.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Build a config from a mapping; an unknown key fails with a NovaError that lists the known ones."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise NovaError(f"unknown training setting {unknown}; use one of {known}.")
        return cls(**values)


_LEAST = {
    "steps": 1,
    "warmup": 0,
    "lr_end": 0,
    "weight_decay": 0,
    "grad_clip": 0,
    "accumulate": 1,
    "checkpoint_every": 1,
    "validate_every": 0,
    "log_every": 1,
    "keep": 2,
}


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise NovaError(f"TrainConfig.{key} is {value!r}; choose one of {list(allowed)}.")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of update `step`: linear warm-up, then cosine or constant.

    A pure function of the step, so a resumed run needs no scheduler state.
    cosine: lr * (e + (1 - e) * (1 + cos(pi * p)) / 2), p = progress after the warm-up, e = lr_end.

    Args:
        config: the run's settings.
        step: update index, 0 .. steps - 1.

    Returns:
        The learning rate, > 0.
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    progress = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return config.lr * (config.lr_end + (1 - config.lr_end) * 0.5 * (1 + math.cos(math.pi * progress)))


def better_score(config: TrainConfig, scores: dict[str, float], best: float | None) -> float | None:
    """The chosen metric among `scores` when it beats `best` (None = nothing yet), else None.

    Raises:
        NovaError: the chosen metric is not among the scores.
    """
    metric, sign = config.best_metric, 1 if config.best_direction == "max" else -1
    if metric is None:
        return None
    if metric not in scores:
        raise NovaError(f"best_metric {metric!r} is not among the validation metrics {sorted(scores)}.")
    value = float(scores[metric])
    improved = math.isfinite(value) and (best is None or sign * value > sign * best)
    return value if improved else None


def check_same_run(saved: dict[str, Any], config: TrainConfig, accept_changes: tuple[str, ...] = ()) -> None:
    """Refuse to continue a run under settings that change what it computes.

    Args:
        saved: the config stored in the checkpoint.
        config: the config of this call.
        accept_changes: keys that may differ on purpose.

    Raises:
        NovaError: names every key that differs, its stored and its new value.
    """
    allowed = set(FREE_KEYS) | set(accept_changes)
    if config.schedule == "constant":
        allowed.add("steps")  # a longer constant run is the same run, continued
    now = asdict(config)
    changed = [key for key in now if key not in allowed and saved.get(key) != now[key]]
    if changed:
        found = ", ".join(f"{key}: checkpoint has {saved.get(key)!r}, now {now[key]!r}" for key in changed)
        raise NovaError(
            f"cannot resume with other settings ({found}). Use the stored values, another folder, or "
            f"fit(accept_changes={tuple(changed)!r}) (--accept NAME) to continue with the new ones on purpose."
        )


def check_same_settings(saved: dict[str, Any], now: dict[str, Any], accept_changes: tuple[str, ...] = ()) -> None:
    """Refuse to continue a run whose task (batch size, data, frozen weights) is another one.

    Raises:
        NovaError: names the first setting that differs, its stored and its new value.
    """
    for key in sorted({*saved, *now} - set(accept_changes)):
        if saved.get(key) != now.get(key):
            raise NovaError(
                f"cannot resume: the task's {key!r} was {saved.get(key)!r} in the checkpoint and is now "
                f"{now.get(key)!r}. Use the stored value, another folder, or fit(accept_changes=({key!r},)) "
                f"(--accept {key})."
            )
