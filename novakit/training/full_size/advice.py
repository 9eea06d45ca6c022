"""What to switch when a training does not fit into a GPU's memory: every set of switches is tried, by the count.

Source: ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from novakit.models.cost import step_cost
from novakit.training.full_size.gpus import GPUS

if TYPE_CHECKING:
    from novakit.training.full_size.plan import Plan


def advice_for(made: Plan) -> str:
    """The switches that make it fit and cost least, or the GPU that would do; for a plan that does not fit."""
    sets = [group for count in range(1, len(_SWITCHES) + 1) for group in combinations(_SWITCHES, count)]
    for group in sorted(sets, key=lambda group: sum(switch.slows for switch in group)):
        changed = _after(made, group)
        if changed and changed.fits:
            names = " and ".join(switch.name.format(changed) for switch in group)
            return f"It fits with {names}: {changed.memory / 1e9:.1f} GB.{_on_the_host(changed)}"
    big = [name for name, gpu in GPUS.items() if made.memory <= 1e9 * gpu.memory]
    smallest = min(big, key=lambda name: GPUS[name].memory, default=None)
    if smallest:
        return f"No switch is enough; as it is, it fits on {smallest} ({GPUS[smallest].memory:g} GB)."
    return "No switch is enough and no GPU of the table holds it: pass fewer frames or a smaller size."


def _after(made: Plan, group: tuple[_Switch, ...]) -> Plan | None:
    """The plan with all switches of a group; None when one of them changes nothing."""
    for switch in group:
        before, made = made, switch.change(made)
        if made == before:
            return None
    return made


def _on_the_host(made: Plan) -> str:
    """What offloading asks of the CPU's memory."""
    if not made.work.offload:
        return ""
    kept = step_cost(replace(made.work, offload=False)).memory.parts["kept for the backward pass"]
    return f" Each GPU then wants {kept / 1e9:.1f} GB of CPU memory."


def _changed(made: Plan, accumulate: int | None = None, sharding: str | None = None, **switches) -> Plan:
    work = replace(made.work, **switches)
    accumulate, sharding = accumulate or made.accumulate, sharding or made.sharding
    return replace(made, work=work, accumulate=accumulate, sharding=sharding, cost=step_cost(work))


def _split(made: Plan) -> Plan:
    return _changed(made, sharding="fsdp", shards=made.gpus) if made.gpus > 1 else made


def _single(made: Plan) -> Plan:
    return _changed(made, batch=1, accumulate=made.accumulate * made.work.batch)


def _offloaded(made: Plan) -> Plan:
    return made if made.work.keep_attention else _changed(made, offload=True)


@dataclass(frozen=True)
class _Switch:
    """Something to change when memory is short."""

    name: str  # in Python and on the command line; {0} is the plan with it
    slows: int  # how much it slows down, to choose the cheapest set
    change: Callable[[Plan], Plan]


_SWITCHES = (
    _Switch("keep_attention=False (no --keep-attention)", 0, lambda made: _changed(made, keep_attention=False)),
    _Switch("checkpointing=True (--gradient-checkpointing)", 1, lambda made: _changed(made, checkpointing=True)),
    _Switch("batch=1, accumulate={0.accumulate} (--accumulation {0.accumulate})", 2, _single),
    _Switch("sharding='fsdp' (--fsdp)", 3, _split),
    _Switch("offload=True (--activation-offload)", 8, _offloaded),
)
