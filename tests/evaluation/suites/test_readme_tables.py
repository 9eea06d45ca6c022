"""The README's tables are those of the recorded files, to the letter."""

import importlib.util

from novakit.paths import recorded


def make_tables():
    spec = importlib.util.spec_from_file_location("make_tables", recorded() / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_was_recorded():
    readme = (recorded().parents[1] / "README.md").read_text(encoding="utf-8")
    script = make_tables()
    for name in script.BLOCKS:
        assert readme.count(script.BLOCK.format(name)) == 1
    assert script.with_tables(readme) == readme, "run: python notebooks/recorded/make_tables.py"
    for claim in range(1, 11):
        assert f"| C{claim} |" in readme


def test_a_failing_rule_is_shown_before_all_others_and_told_ones_never():
    told = {"decides": False, "outcome": "fails"}
    passes, fails = ({"decides": True, "outcome": outcome} for outcome in ("passes", "fails"))
    deciding = make_tables().deciding
    assert deciding([told, passes, fails, passes]) is fails
    assert deciding([passes, told]) is passes
