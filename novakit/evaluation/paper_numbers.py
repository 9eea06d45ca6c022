"""What the paper reports: Tables 1 and 2. Never our results, always marked as the paper's.

832x480, 81 frames. A number that the paper does not give is missing here.

Source: paper, Tables 1 and 2 and its text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """One row as printed."""

    title: str
    numbers: dict[str, float]  # metric -> number; keys as in `novakit.evaluation.metrics.METRICS`
    parameters: str = "–"
    note: str = ""
    per_video_tuning: bool = False


def _table1(sr: float, tc: float, fc: float, background: float, smooth: float, bc: float) -> dict[str, float]:
    return {"SR": sr, "TC": tc, "FC": fc, "BG-SSIM": background, "MS": smooth, "BC": bc}


def _table2(tc: float, fc: float, background: float) -> dict[str, float]:
    return {"TC": tc, "FC": fc, "BG-SSIM": background}


_VACE = PaperRow("VACE (multi-frame)", _table1(0.90, 0.928, 0.840, 0.913, 0.989, 0.940), "1.3B")

#: name of our row -> the paper's row. The paper has one VACE row and does not say which of our two it is.
TABLE1: dict[str, PaperRow] = {
    "nova": PaperRow("NOVA", _table1(0.93, 0.935, 0.882, 0.917, 0.993, 0.946), "1.3B"),
    "vace_grey": _VACE,
    "vace_source": _VACE,
    "anyv2v": PaperRow("AnyV2V", _table1(0.75, 0.918, 0.840, 0.858, 0.973, 0.939), "1.3B"),
    "i2vedit": PaperRow(
        "I2VEdit", _table1(0.83, 0.931, 0.846, 0.900, 0.991, 0.941), "1.3B", "per-video tuning", per_video_tuning=True
    ),
    "lora_edit": PaperRow(
        "LoRA-Edit", {"SR": 0.80}, note="per-video tuning; success rate quoted in the text", per_video_tuning=True
    ),
    "senorita": PaperRow("Senorita-2M", _table1(0.86, 0.919, 0.853, 0.921, 0.989, 0.953), "5B", "paired data"),
}

_FULL = PaperRow("Full NOVA", _table2(0.935, 0.882, 0.917))
_WITHOUT = PaperRow("w/o consistency-aware keyframes", _table2(0.92, 0.85, 0.88), note="keyframes edited independently")

#: name of our row -> the paper's row.
TABLE2: dict[str, PaperRow] = {
    "nova": _FULL,
    "no_dense": PaperRow("w/o dense branch", _table2(0.920, 0.841, 0.807), note="background hallucinated"),
    "edited_consistent": _FULL,  # the paper's keyframes are always edited ones
    "edited_independent": _WITHOUT,
    "blurred_dense": PaperRow("blurred dense input", _table2(0.933, 0.878, 0.910), note="still recovers detail"),
}

PAPER: dict[str, dict[str, PaperRow]] = {"table1": TABLE1, "table2": TABLE2}


def paper_effect(better: str, worse: str, metric: str) -> float | None:
    """Difference between two of the paper's rows in one metric, or None where the paper lacks a number.

    Args:
        better, worse: names of our rows; both must be in one of the tables.
        metric: one of METRICS.
    """
    for table in PAPER.values():
        if better in table and worse in table:
            pair = (table[better].numbers.get(metric), table[worse].numbers.get(metric))
            if None not in pair:
                return round(pair[0] - pair[1], 4)
    return None
