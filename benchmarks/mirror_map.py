"""Time of one training step of a mirror map (g, f) at the published sizes: the library's and variants of it.

The networks are those of Feng, Baptista and Bouman (ICLR 2025). A batch has four images, the part of the
published batch that one of their four devices takes. Single precision, one thread:

- `ours`: the library's step: one pass of f over clean and noisy images together, one backward pass through f
  and the gradient of the potential for both maps, one fused optimiser;
- `plain`: a direct implementation of the loss: separate passes of f for clean and for noisy images, and one
  optimiser per map;
- `channels last`: ours with the weights of f in the channels-last memory format;
- `compiled f`: ours with f compiled by `torch.compile`, which does not support second-order gradients and
  therefore cannot compile g;
- `g frozen`: ours without gradients for g; its difference from `ours` is the cost of the double backward
  pass.

In each round all variants are timed in turn; a ratio is the median over rounds of the ratio within a round.
Operations are counted by torch, including products with padding. Counted by XLA without these, a forward pass
of the authors' f takes 3.98 GFLOP, and their g 0.50.

    python benchmarks/mirror_map.py            # a few minutes
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from plumbline.constraints.sum import SumSpec
from plumbline.models import BuildContext
from plumbline.models.mirror._mirror_map import LearnedMirrorMap
from plumbline.models.mirror.mirror_map import MirrorMapSpec

ROUNDS = 5
PUBLISHED = {
    "constraint": "total",
    "constraint_unit": "distance",
    "constraint_weight": 0.01,
    "forward": {"kind": "input_convex", "padding": "circular", "potential": "published"},
    "inverse": {
        "kind": "resnet", "norm": "instance", "padding": "zeros", "doubling": "transposed", "dropout": 0.5,
        "embedding": 0,
    },
    "scaling": "none",
    "noise_unit": "space",
    "noisy_target": "image",
    "activation": "softplus",
}  # fmt: skip


def built(points: int) -> LearnedMirrorMap:
    torch.manual_seed(0)
    example = xr.Dataset({"state": (("sample", "x", "y"), torch.rand(1, points, points).numpy())})
    constraint = SumSpec(total=120.0).build(example)
    return MirrorMapSpec.model_validate(PUBLISHED).build(BuildContext(example, {"total": constraint}))


def adam(*modules: torch.nn.Module, fused: bool) -> torch.optim.Optimizer:
    parameters = [p for module in modules for p in module.parameters()]
    return torch.optim.AdamW(parameters, lr=2e-4, betas=(0.5, 0.999), weight_decay=0.0, fused=fused)


def ours(model: LearnedMirrorMap, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    optimiser = adam(model, fused=True)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss, terms = model.loss(batch)
        loss.backward()
        optimiser.step()
        model.after_step(terms)

    return step


def plain(model: LearnedMirrorMap, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    g, f = model.forward_network, model.inverse_network
    optimisers = [adam(network, fused=False) for network in (g, f)]
    a, x = model.strong_convexity, batch["state"]

    def restored(y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(y + f(y))

    def step() -> None:
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        gradient = g(x)
        y = (1 - a) * gradient + a * x
        sigma = model.sigma_max * torch.rand(len(x), 1, 1)
        noisy = y + sigma * torch.randn_like(y)
        clean, back = restored(y), restored(noisy)
        again = (1 - a) * g(back) + a * back
        loss = 0.5 * (clean - x).abs().mean() + 0.5 * (again - noisy).abs().mean()
        loss = loss + model.constraint_weight * model.constraint.distance(back).mean()
        (loss + model.regularisation_weight * gradient.abs().mean()).backward()
        for optimiser in optimisers:
            optimiser.step()
        for weight in (*g.convex.parameters(), *g.last.parameters()):
            weight.data.clamp_(min=0)

    return step


def variants(points: int, batch: dict[str, torch.Tensor]) -> dict[str, Callable[[], None]]:
    channels_last, compiled, frozen = (built(points) for _ in range(3))
    channels_last.inverse_network.to(memory_format=torch.channels_last)
    compiled.inverse_network = torch.compile(compiled.inverse_network)
    frozen.forward_network.requires_grad_(False)
    return {
        "ours": ours(built(points), batch),
        "plain": plain(built(points), batch),
        "channels last": ours(channels_last, batch),
        "compiled f": ours(compiled, batch),
        "g frozen": ours(frozen, batch),
    }


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def operations(points: int) -> None:
    model = built(points)
    image = torch.rand(1, points, points)
    with FlopCounterMode(display=False) as forwards, torch.no_grad():
        model.restored(image, torch.zeros(1))
    with FlopCounterMode(display=False) as gradient:
        model.network_output(image)
    with FlopCounterMode(display=False) as whole:
        model.loss({"state": image})[0].backward()
    print(
        f"GFLOP for an image of {points} x {points}: "
        f"f, one forward pass {forwards.get_total_flops() / 1e9:.2f}, "
        f"g {gradient.get_total_flops() / 1e9:.2f}, a training step {whole.get_total_flops() / 1e9:.1f}.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=64, help="side of the images")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    operations(options.points)
    batch = {"state": torch.rand(options.batch, options.points, options.points)}
    steps = variants(options.points, batch)
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(seconds(step))
    print("| variant | images per second | time relative to `ours` |\n|---|---:|---:|")
    for name, taken in times.items():
        ratio = statistics.median(t / own for t, own in zip(taken, times["ours"], strict=True))
        print(f"| {name} | {options.batch / statistics.median(taken):.2f} | {ratio:.3f} |")
    fraction = 1 - statistics.median(t / own for t, own in zip(times["g frozen"], times["ours"], strict=True))
    print(f"\nFraction of time in the backward pass through the gradient of the potential: {fraction:.0%}")


if __name__ == "__main__":
    main()
