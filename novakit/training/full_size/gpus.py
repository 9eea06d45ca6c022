"""GPUs as their makers sell them: rate and memory. Source: data sheets and white papers, said at each line."""

from dataclasses import dataclass

from novakit.errors import NovaError


@dataclass(frozen=True)
class Gpu:
    """A device as its maker sells it."""

    name: str
    tflops: float  # dense bfloat16 matrix products with float32 sums, 10^12 FLOP/s
    memory: float  # GB (10^9 bytes)


# Makers' data sheets and architecture white papers. Where a sheet states the rate "with sparsity", half of it is here.
GPUS = {
    "h200": Gpu("H200 SXM", 989.4, 141),  # NVIDIA H200 data sheet: 1,979 with sparsity, 141 GB
    "h100": Gpu("H100 SXM", 989.4, 80),  # NVIDIA H100 data sheet: 1,979 with sparsity, 80 GB
    "h100-pcie": Gpu("H100 PCIe", 756, 80),  # the same: 1,513 with sparsity
    "b200": Gpu("B200", 2250, 180),  # NVIDIA HGX B200 data sheet: 36 PFLOP/s with sparsity and 1,440 GB for 8
    "a100": Gpu("A100 80 GB", 312, 80),  # NVIDIA A100 data sheet
    "a100-40": Gpu("A100 40 GB", 312, 40),
    "l40s": Gpu("L40S", 362, 48),  # NVIDIA L40S data sheet: 733 with sparsity, rounded there
    "a6000": Gpu("RTX A6000", 154.8, 48),  # NVIDIA RTX A6000 data sheet: 309.7 with sparsity
    "rtx5090": Gpu("RTX 5090", 209.5, 32),  # NVIDIA RTX Blackwell white paper, float32 sums
    "rtx4090": Gpu("RTX 4090", 165.2, 24),  # NVIDIA Ada white paper, float32 sums
    "rtx3090": Gpu("RTX 3090", 71, 24),  # NVIDIA GA102 white paper, float32 sums
    "mi300x": Gpu("MI300X", 1307.4, 192),  # AMD Instinct MI300X data sheet
}


def gpu_of_the_table(name: str) -> Gpu:
    """A device of the table.

    Raises:
        NovaError: it is not there.
    """
    if name not in GPUS:
        raise NovaError(f"GPU {name!r} is not in the table; pass one of {', '.join(GPUS)}, or the closest one.")
    return GPUS[name]
