"""Records on disk: what is there is found again, and a folder that was made otherwise is refused."""

import pytest
from toy_bench import config

from novakit.errors import NovaError
from novakit.evaluation.suites.store import Store


def record(scene, seed=0, row="nova", **more):
    return {"row": row, "scene": scene, "seed": seed, "SR": 1.0, **more}


def test_records_are_found_again(tmp_path):
    store = Store(tmp_path, config())
    store.add([record(0), record(1)])
    store.add([record(0, seed=1)])
    again = Store(tmp_path, config())
    assert again.has("nova", 1, 0) and again.has("nova", 0, 1) and not again.has("nova", 1, 1)
    assert not again.has("other", 0, 0)
    assert [(r["scene"], r["seed"]) for r in again.select("nova", 2, 2)] == [(0, 0), (1, 0), (0, 1)]
    assert [r["scene"] for r in again.select("nova", 1, 1)] == [0]


@pytest.mark.parametrize("key", ["version", "weights", "encoder", "steps"])
def test_a_folder_of_another_making_is_refused_and_the_difference_named(tmp_path, key):
    Store(tmp_path, config()).add([record(0)])
    with pytest.raises(NovaError, match=f"{key}: {config()[key]} there, other here"):
        Store(tmp_path, config() | {key: "other"})


def test_a_setting_that_one_of_both_lacks_is_a_difference(tmp_path):
    Store(tmp_path, config())
    with pytest.raises(NovaError, match="precision: None there"):
        Store(tmp_path, config() | {"precision": "float32"})


def test_records_that_nobody_signed_are_refused(tmp_path):
    Store(tmp_path, config()).add([record(0)])
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(NovaError, match="no manifest.json"):
        Store(tmp_path, config())


def test_a_failure_is_kept_tried_again_and_replaced(tmp_path):
    store = Store(tmp_path, config())
    store.add([{"row": "nova", "scene": 0, "seed": 0, "error": "it broke"}])
    assert not store.has("nova", 0, 0)
    assert Store(tmp_path, config()).select("nova", 1, 1)[0]["error"] == "it broke"
    store.add([record(0), record(1)])
    assert Store(tmp_path, config()).has("nova", 0, 0)


def test_other_weights_of_a_variant_are_refused(tmp_path):
    Store(tmp_path, config()).require_variant("add", "1111")
    Store(tmp_path, config()).require_variant("add", "1111")
    with pytest.raises(NovaError, match="'add'.*1111.*2222"):
        Store(tmp_path, config()).require_variant("add", "2222")


def test_a_damaged_file_is_named(tmp_path):
    Store(tmp_path, config()).add([record(0)])
    file = next((tmp_path / "records" / "nova").glob("*.json"))
    file.write_text("[{", encoding="utf-8")
    with pytest.raises(NovaError, match=file.name):
        Store(tmp_path, config())
