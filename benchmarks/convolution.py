"""Three ways to convolve a population's images on the CPU, forward and backward: which one `Conv2d` is to take when.

python -m benchmarks.convolution --out benchmarks/results/convolution.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from torch import Tensor

from imitate.core.noise import Stream
from imitate.nets.convolution import Conv2d, grouped, looped, unfolded

# (members, batch, channels, side, outputs, kernel, stride); behind the first layer the input's gradient is needed too.
CASES = [
    *((m, b, c, 10, 16, 3, 1) for m in (1, 4, 8) for b in (8, 32, 128, 256) for c in (4, 10)),
    *((m, 32, *layer) for m in (1, 4) for layer in ((4, 84, 32, 8, 4), (32, 20, 64, 4, 2), (64, 9, 64, 3, 1))),
]
WAYS: dict[str, Callable[..., Tensor]] = {"grouped": grouped, "looped": looped, "unfolded": unfolded}


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        threads: Of torch.
        repeats: The fastest of so many counts.
        out: Where to write.
    """

    threads: int = 1
    repeats: int = 10
    out: Path = Path("benchmarks/results/convolution.json")


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """The fastest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def step(way: Callable[..., Tensor], layer: Conv2d, x: Tensor) -> None:
    """Forward and backward."""
    out = way(x, layer.weight, layer.bias, layer.stride).relu()
    torch.autograd.grad(out.square().sum(), [layer.weight, layer.bias, *([x] if x.requires_grad else [])])


def chosen(layer: Conv2d) -> Callable[..., Tensor]:
    """The way that the layer takes."""
    return lambda x, *rest: layer(x)


def main(options: Options) -> None:
    """Measure, print a line a case, write JSON."""
    torch.set_num_threads(options.threads)
    rows = []
    for members, batch, channels, side, outputs, kernel, stride in CASES:
        layer = Conv2d(members, channels, outputs, kernel, stride, init=Stream(0, "init"))
        x = torch.rand(members, batch, channels, side, side, requires_grad=channels > 10)
        ways = {**WAYS, "chosen": chosen(layer)}
        times = {name: milliseconds(partial(step, way, layer, x), options.repeats) for name, way in ways.items()}
        case = f"{members} x {batch} x {channels}x{side}x{side} -> {outputs}, {kernel}x{kernel}/{stride}"
        print(f"{case:<40}", "  ".join(f"{name} {ms:7.2f}" for name, ms in times.items()), flush=True)
        rows.append({"case": case, **{name: round(ms, 3) for name, ms in times.items()}})
    document = {
        "unit": "ms, forward and backward",
        "threads": options.threads,
        "torch": torch.__version__,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
