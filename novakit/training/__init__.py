"""Training: the objective (eq. 4), the loop with exact resume, and the tasks.

`Trainer(task, TrainConfig(steps=1000), "build/run").fit()` trains; the same call again continues.
"""

from novakit.training.config import TrainConfig, learning_rate
from novakit.training.nova_task import NovaBatch, NovaTask, NovaTaskConfig
from novakit.training.objective import flow_matching_loss, sample_sigmas, step_generator, without_autocast
from novakit.training.state import load_trained
from novakit.training.task import Task
from novakit.training.trainer import Trainer

__all__ = [
    "NovaBatch",
    "NovaTask",
    "NovaTaskConfig",
    "Task",
    "TrainConfig",
    "Trainer",
    "flow_matching_loss",
    "learning_rate",
    "load_trained",
    "sample_sigmas",
    "step_generator",
    "without_autocast",
]
