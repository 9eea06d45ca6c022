"""The suites of `novakit eval`: Table 1, Table 2, robustness, and the ten claims of the paper. Source: ours."""

from novakit.evaluation.suites.command import evaluate
from novakit.evaluation.suites.compare import check_against
from novakit.evaluation.suites.definitions import SUITES

__all__ = ["SUITES", "check_against", "evaluate"]
