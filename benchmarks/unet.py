"""Time of a training step of the U-Net: ours, in the channels-last memory format, and azula's, unmodified.

The networks are those of the mirror studies at `laptop` scale (329,000 parameters), in single precision on
one thread. In each round all variants are timed in turn; a ratio is the median over rounds of the ratio
within a round.

- `ours`: channels-last layout, torch's kernel for the normalisation, padding that preserves the layout;
- `ours, bfloat16`: the same with `precision: bf16-mixed`, for processors with bfloat16 arithmetic;
- `azula`: azula's network of the same sizes, unmodified.

    python benchmarks/unet.py            # a minute
"""

from __future__ import annotations

import statistics
import time

import torch
from azula.nn.unet import UNet
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import LevelEmbedding
from plumbline.networks.unet import UNetSpec

ROUNDS, STEPS = 7, 6
SPEC = UNetSpec(channels=(16, 32, 64), blocks=(1, 1, 1), embedding=64)
CASES = [((1, 16, 16), True, 32), ((1, 32, 32), False, 16), ((8, 32, 32), True, 16)]


class AsItComes(nn.Module):
    """azula's unmodified U-Net with the sizes of `SPEC`."""

    def __init__(self, sample: SampleShape) -> None:
        super().__init__()
        channels = sample.shape[0]
        self.embedding = LevelEmbedding(SPEC.embedding, 0)
        self.unet = UNet(
            channels,
            channels,
            hid_channels=SPEC.channels,
            hid_blocks=SPEC.blocks,
            mod_features=SPEC.embedding,
            periodic=all(sample.periodic),
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.unet(x, self.embedding(level, None))


class Step:
    """Training steps of a network that learns to reproduce its input."""

    def __init__(self, network: nn.Module, x: Tensor, half: bool) -> None:
        self.network, self.x, self.half = network, x, half
        self.level = torch.rand(len(x))
        self.optimiser = torch.optim.AdamW(network.parameters(), fused=True)

    def seconds(self) -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            self.optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                loss = (self.network(self.x, self.level) - self.x).square().mean()
            loss.backward()
            self.optimiser.step()
        return (time.perf_counter() - start) / STEPS


def main() -> None:
    torch.set_num_threads(1)
    print("| samples | periodic | variant | milliseconds per step | time relative to `ours` |")
    print("|---|---|---|---:|---:|")
    for shape, periodic, batch in CASES:
        sample, x = SampleShape(shape, (periodic, periodic)), torch.randn(batch, *shape)
        steps = {
            "ours": Step(SPEC.build(sample), x, half=False),
            "ours, bfloat16": Step(SPEC.build(sample), x, half=True),
            "azula": Step(AsItComes(sample), x, half=False),
        }
        times: dict[str, list[float]] = {name: [step.seconds()] for name, step in steps.items()}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                times[name].append(step.seconds())
        for name, taken in times.items():
            ratio = statistics.median(t / own for t, own in zip(taken[1:], times["ours"][1:], strict=True))
            size = "x".join(str(n) for n in (batch, *shape))
            print(
                f"| {size} | {periodic} | {name} | {1e3 * statistics.median(taken[1:]):.1f} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main()
