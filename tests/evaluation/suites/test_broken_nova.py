"""A broken NOVA must not keep its claims: the shipped weights with the dense branch on zeros, or deaf to keyframes."""

import pytest

from novakit.editing.pipeline import NovaEditPipeline
from novakit.evaluation.encoders import get_encoder
from novakit.evaluation.metrics import measure_clips, metric_labels
from novakit.evaluation.suites.claims import C1, C7, C8, C9, CLAIMS, it_edits
from novakit.evaluation.suites.definitions import get_suite
from novakit.evaluation.suites.rules import FAILS, Claim, decide
from novakit.evaluation.suites.running import Bench, Plan, work
from novakit.evaluation.suites.scores import Judge
from novakit.evaluation.suites.store import Store

SCENES, STEPS = 2, 2
ROWS = ("nova", "no_dense", "source")


class Rewired:
    """The shipped pipeline with one option forced on every call."""

    def __init__(self, pipe, **forced):
        self.pipe, self.forced = pipe, forced

    def __call__(self, *given, **options):
        return self.pipe(*given, **options | self.forced)

    def __getattr__(self, name):
        return getattr(self.pipe, name)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of ROWS by the whole NOVA and two broken ones."""
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    eye = get_encoder("embedded")
    networks = {"whole": pipe, "blind": Rewired(pipe, dense_scale=0.0), "deaf": Rewired(pipe, sparse_scale=0.0)}
    found = {}
    for name, network in networks.items():
        bench = Bench(network, Judge(measure_clips, eye, metric_labels(eye)), STEPS, None)
        store = Store(tmp_path_factory.mktemp(name), {"network": name})
        work(
            [Plan(plan.row, SCENES, 1) for plan in get_suite("table2", {}).plans if plan.row.name in ROWS],
            store,
            bench,
            progress=False,
        )
        found[name] = {row: store.select(row, SCENES, 1) for row in ROWS}
    return found


def outcome(claim, records):
    return decide(claim, records, frozenset({"source"}), least=SCENES)


def test_a_dense_branch_wired_to_zeros_fails_c1(records):
    background = Claim("C1", "", "", "", tuple(rule for rule in C1.rules if rule.metric == "BG-SSIM"))
    assert outcome(background, records["whole"])["verdict"] != FAILS
    broken = outcome(background, records["blind"])
    assert broken["verdict"] == FAILS and broken["rules"][0]["effect"]["mean"] == 0
    assert outcome(C1, records["blind"])["verdict"] == FAILS


def test_ignored_keyframes_fail_every_claim_about_edits(records):
    edits = Claim("edits", "", "", "", (it_edits(),))
    assert outcome(edits, records["deaf"])["rules"][0]["effect"]["mean"] == 0
    assert outcome(edits, records["deaf"])["verdict"] == FAILS
    assert outcome(edits, records["whole"])["rules"][0]["effect"]["mean"] > 0
    for claim in (C1, C7, C9):
        assert outcome(claim, records["deaf"])["verdict"] == FAILS
    copies = dict.fromkeys(C8.rows, records["deaf"]["nova"])  # no better than any other that ignores them
    assert outcome(C8, copies)["verdict"] == FAILS


def test_claims_about_nova_ask_whether_it_edits_at_all():
    asked = [name for name, claim in CLAIMS.items() if any(rule.other == "source" for rule in claim.rules)]
    assert asked == ["C1", "C2", "C3", "C4", "C5", "C7", "C9"]
    assert get_suite("claims", {}).plans
