"""Exercise checks: the right answer passes, a wrong one does not, an empty one is not an error."""

import numpy
import pytest
import torch

from novakit.course.checks import NotSolved, at_least, at_most, between, check


def unfinished():
    raise NotSolved


def stub():
    pass


@pytest.mark.parametrize("obtained", [None, ..., stub, unfinished, lambda: ...])
def test_an_unsolved_stub_says_so_and_does_not_raise(obtained, capsys):
    result = check("exercise 1", obtained, 3)
    assert not result.solved and result.status == "not solved yet"
    assert capsys.readouterr().out == "exercise 1: not solved yet\n"


@pytest.mark.parametrize(
    ("obtained", "expected", "wrong"),
    [
        (3, 3, 4),
        (0.1 + 0.2, 0.3, 0.31),
        (True, True, False),
        (" Query ", "query", "add"),
        ((1, 3, 33, 64, 96), torch.Size([1, 3, 33, 64, 96]), (1, 3, 33, 64)),
        (torch.Size([2, 3]), (2, 3), (2, 4)),
        (torch.ones(2, 3, dtype=torch.bfloat16), numpy.ones((2, 3)), torch.zeros(2, 3)),
        (torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 2)),
        ([0, 8, 16], [0, 8, 16], [0, 8, 17]),
        ({"a", "b"}, {"b", "a"}, {"a"}),
        (25.2, between(24, 26), 26.5),
        (torch.tensor(2.0), at_least(1), 0.5),
        (1, at_most(1), 2),
        (lambda: 5, 5, lambda: 6),
        (0.0, 0, float("nan")),
        (1.0, 1.0, "one"),
        ("one", "one", 1.0),
        ([], [], [1]),
        (7, 7, [7]),
        (numpy.bool_(True), True, torch.tensor(False)),
        (torch.tensor(True), True, torch.ones(3)),
        (float("inf"), float("inf"), 1e9),
    ],
)
def test_right_passes_and_wrong_does_not(obtained, expected, wrong, capsys):
    assert check("e", obtained, expected).solved
    result = check("e", wrong, expected, hint="look at the mask")
    assert result.status == "not right yet"
    printed = capsys.readouterr().out
    assert "expected" in printed and "obtained" in printed and "Hint: look at the mask" in printed


def test_tolerance_decides():
    assert check("e", 1.04, 1.0, tolerance=0.05).solved
    assert not check("e", 1.06, 1.0, tolerance=0.05).solved


def test_messages_help(capsys):
    check("e", torch.zeros(2, 3), torch.zeros(3, 2))
    check("e", lambda: 1 / 0, 1)
    check("e", torch.arange(12.0), torch.arange(12.0) + 1)
    shapes, raised, arrays = capsys.readouterr().out.splitlines()
    assert "(2, 3) came, (3, 2) was wanted" in shapes
    assert "your code raised ZeroDivisionError: division by zero" in raised
    assert "obtained shape (12,), mean 5.5, range 0 to 11" in arrays and "largest difference 1" in arrays
