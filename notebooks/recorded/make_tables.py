"""The README's tables and verdicts, from the recorded files: `python notebooks/recorded/make_tables.py`."""

from collections.abc import Mapping

from novakit.evaluation.suites.recorded import Report, read_recorded, where_from
from novakit.evaluation.suites.writing import metrics_markdown
from novakit.files import atomic_write_text
from novakit.paths import recorded

BEGIN, END = "<!-- from the recorded files, by make_tables.py -->", "<!-- end -->"
TITLES = {
    "table1": "Table 1: NOVA and the baselines, all on the nano base",
    "table2": "Table 2: what the branches and the keyframes are for",
}


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


def with_tables(readme: str) -> str:
    """The README with its tables brought up to date."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    path = recorded().parents[1] / "README.md"
    atomic_write_text(path, with_tables(path.read_text(encoding="utf-8")))
