"""A rerun of the small subset: half a percent is forgiven, more is named."""

import json

import pytest

from novakit.errors import NovaError
from novakit.evaluation.suites.compare import check_against


def write(path, suite="table2", **numbers):
    path.write_text(json.dumps({"suite": suite, "subset": {"nova": {"seconds": 1.0, "SR": None} | numbers}}))
    return path


def test_half_a_percent_is_forgiven_and_times_are_not_compared(tmp_path):
    old = write(tmp_path / "old.json", TC=0.9, psnr=28.0, ghost=0.0001)
    new = write(tmp_path / "new.json", TC=0.9044, psnr=27.87, ghost=0.0009, seconds=50.0)
    assert check_against(old, new) == 3


@pytest.mark.parametrize("numbers", [{"TC": 0.906}, {"TC": None}, {"TC": 0.894}])
def test_more_is_named_with_both_numbers(tmp_path, numbers):
    with pytest.raises(NovaError, match="nova TC: 0.9 -> "):
        check_against(write(tmp_path / "old.json", TC=0.9), write(tmp_path / "new.json", **numbers))


def test_a_missing_row_is_a_difference(tmp_path):
    new = write(tmp_path / "new.json")
    new.write_text(json.dumps({"suite": "table2", "subset": {}}))
    with pytest.raises(NovaError, match="-> None"):
        check_against(write(tmp_path / "old.json", TC=0.9), new)


def test_what_cannot_be_compared_is_refused(tmp_path):
    old = write(tmp_path / "old.json", TC=0.9)
    with pytest.raises(NovaError, match="suite table2.*table1"):
        check_against(old, write(tmp_path / "new.json", suite="table1", TC=0.9))
    with pytest.raises(NovaError, match="no result of `novakit eval`"):
        check_against(old, tmp_path / "absent.json")
    with pytest.raises(NovaError, match="holds no subset"):
        check_against(write(tmp_path / "empty.json"), old)
