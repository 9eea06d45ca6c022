"""Baselines: the idea of each published method on the kit's own base, one small file each.

Every file says what was kept of its paper and what was left out. A row gets an `EditTask` and returns clips; nothing
is post-processed.
"""

from novakit.evaluation.baselines.anyv2v import ANYV2V
from novakit.evaluation.baselines.i2vedit import I2VEDIT
from novakit.evaluation.baselines.lora_edit import LORA_EDIT
from novakit.evaluation.baselines.senorita import SENORITA
from novakit.evaluation.baselines.task import Baseline, EditTask
from novakit.evaluation.baselines.token_concat import TOKEN_CONCAT
from novakit.evaluation.baselines.vace_multiframe import VACE_GREY, VACE_SOURCE, vace_multiframe

__all__ = ["BASELINES", "Baseline", "EditTask", "vace_multiframe"]

#: Every row of Table 1 besides NOVA, unedited source and interpolated keyframes, in the order of the table.
BASELINES: dict[str, Baseline] = {
    row.name: row for row in (VACE_GREY, VACE_SOURCE, ANYV2V, I2VEDIT, LORA_EDIT, SENORITA, TOKEN_CONCAT)
}
