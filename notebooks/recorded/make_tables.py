"""The README's tables and verdicts, from the recorded files: `python notebooks/recorded/make_tables.py`."""

import json
from collections.abc import Mapping

from novakit.evaluation.score_targets import targets_markdown
from novakit.evaluation.scoring import ROWS
from novakit.evaluation.suites.recorded import Report, read_recorded, where_from
from novakit.evaluation.suites.writing import metrics_markdown
from novakit.files import atomic_write_text
from novakit.paths import recorded

BLOCK = "<!-- from the recorded files, by make_tables.py: {} -->"
END = "<!-- end -->"
TITLES = {
    "table1": "Table 1: NOVA and the baselines, all on the nano base",
    "table2": "Table 2: what the branches and the keyframes are for",
}
COLUMNS = (  # of the score: heading, table, key
    ("outside the mask, all scenes (pooled)", "table", "outside_pooled"),
    ("outside, camera moves (mean)", "moving_camera", "outside_psnr"),
    ("outside, all scenes (mean)", "table", "outside_psnr"),
    ("inside the mask (mean)", "table", "inside_psnr"),
    ("inside, moving objects, between keyframes (mean)", "moving_object", "between_psnr"),
    ("the same (pooled)", "moving_object", "between_pooled"),
)


def nano_score() -> Mapping:
    """The recorded report of `novakit score`."""
    return json.loads((recorded() / "nano_score.json").read_text(encoding="utf-8"))


def score() -> str:
    """The nano weights beside the simplest baselines, as Markdown."""
    report = nano_score()
    lines = ["| | " + " | ".join(heading for heading, _, _ in COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in ("nova", "interpolation", "vace_grey", "vace_source", "round_trip"):
        lines.append(f"| {ROWS[row]} | " + " | ".join(f"{report[t][row][key]:.2f} dB" for _, t, key in COLUMNS) + " |")
    return "\n".join(lines)


def targets() -> str:
    """What was wanted of the nano weights and what they do, as Markdown."""
    return targets_markdown(nano_score())


def tables() -> str:
    """Both tables and the verdicts, as Markdown."""
    parts = [_table(read_recorded(suite), title) for suite, title in TITLES.items()]
    return "\n\n".join([*parts, _verdicts(read_recorded("claims"))])


def _table(report: Report, title: str) -> str:
    names = ", ".join(f"`{label}`" for label in report["labels"].values())
    about = f"{where_from(report)}. Metrics: {names}.".replace("\n", "; ")
    return f"**{title}**\n\n{metrics_markdown({**report, 'labels': {}})}\n\n{about}"


def _verdicts(report: Report) -> str:
    lines = ["| claim | | verdict | what decided | effect (95 % interval) | wanted |", "|---|---|---|---|---|---|"]
    for verdict in report["verdicts"]:
        rule = deciding(verdict["rules"])
        effect = rule["effect"]
        size = "–" if effect is None else f"{effect['mean']:+.3f} ({effect['low']:+.3f} to {effect['high']:+.3f})"
        wanted = f"above -{rule['margin']:.3g}" if rule["kind"] == "not_worse" else f"at least {rule['margin']:.3g}"
        cells = [verdict["claim"], verdict["title"], f"**{verdict['verdict']}**", rule["rule"], size, wanted]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(["**The ten claims**", "", *lines, "", f"{where_from(report)}.".replace("\n", "; ")])


def deciding(rules: list[Mapping]) -> Mapping:
    """The rule to show: the first that fails or could not be tested, or else the last one that decides."""
    rules = [rule for rule in rules if rule["decides"]]
    outcomes = ("fails", "untested")
    return next((rule for outcome in outcomes for rule in rules if rule["outcome"] == outcome), rules[-1])


BLOCKS = {"score": score, "targets": targets, "tables": tables}


def with_tables(readme: str) -> str:
    """The README with its blocks brought up to date."""
    for name, block in BLOCKS.items():
        before, begin, rest = readme.partition(BLOCK.format(name))
        _, end, after = rest.partition(END)
        readme = f"{before}{begin}\n\n{block()}\n\n{end}{after}"
    return readme


if __name__ == "__main__":
    path = recorded().parents[1] / "README.md"
    atomic_write_text(path, with_tables(path.read_text(encoding="utf-8")))
