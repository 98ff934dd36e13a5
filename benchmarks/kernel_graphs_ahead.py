"""Forecasts of one to five steps with graphs by kernel alignment: the table and the figure of the error.

The error of each method against the number of steps ahead comes from the comparisons of the studies of
`config/studies/kernel_graphs_ahead`, which must have run:

    snakemake --cores all --config studies=kernel_graphs_ahead scale=laptop
    python benchmarks/kernel_graphs_ahead.py results --figure docs/figures/kernel_graphs_ahead.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import xarray as xr

from plumbline.results import open_results

FAMILIES = {"symmetric": "symmetric systems", "sparse": "sparse systems"}
AHEAD = (1, 2, 3, 4, 5)
GRAPHS = {
    "cross": "cross-covariance",
    "covariance": "covariance",
    "shuffled": "shuffled pairs",
    "identity": "none",
}
NETWORKS = {"filter": "one filter", "layers": "two layers"}
MARKERS = ("o", "s", "^", "D")


def main() -> None:
    """Prints the tables, and draws the figure where `--figure` says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of results")
    parser.add_argument("--figure", type=Path, help="SVG file to write")
    options = parser.parse_args()
    found = {family: errors(options.results, family) for family in FAMILIES}
    for family, one in found.items():
        print(f"\n{FAMILIES[family]}\n\n{table(one)}")
    if options.figure:
        draw(found, options.figure)


def errors(results: Path, family: str) -> xr.Dataset:
    """Mean and half-width of the interval over systems of each method, along `ahead`."""
    names = ["normalised_error", "normalised_error_interval"]
    each = [open_results(results / f"{family}_{n}").comparison[names].isel(seed=0) for n in AHEAD]
    return xr.concat(each, "ahead", join="inner").assign_coords(ahead=list(AHEAD))


def table(found: xr.Dataset) -> str:
    """The table as Markdown, a row for each network and graph."""
    lines = ["| network, graph | " + " | ".join(map(str, AHEAD)) + " |", "|---" + "|---:" * len(AHEAD) + "|"]
    for network, graph in ((network, graph) for network in NETWORKS for graph in GRAPHS):
        one = found.sel(methods=f"{network}_{graph}")
        pairs = zip(one["normalised_error"].values, one["normalised_error_interval"].values, strict=True)
        cells = " | ".join(f"{mean:.3f} ± {half:.3f}" for mean, half in pairs)
        lines.append(f"| {NETWORKS[network]}, {GRAPHS[graph]} | {cells} |")
    return "\n".join(lines)


def draw(found: dict[str, xr.Dataset], path: Path) -> None:
    """Draws the error against the steps ahead: a column for each family, a row for each network."""
    figure, axes = plt.subplots(2, len(FAMILIES), figsize=(8, 6), sharex=True, sharey=True)
    for column, (family, data) in enumerate(found.items()):
        for row, network in enumerate(NETWORKS):
            axis = axes[row, column]
            for (graph, label), marker in zip(GRAPHS.items(), MARKERS, strict=True):
                one = data.sel(methods=f"{network}_{graph}")
                axis.errorbar(
                    one["ahead"], one["normalised_error"], one["normalised_error_interval"],
                    label=label, marker=marker, markersize=4, linewidth=1.2, capsize=2,
                )  # fmt: skip
            axis.set_title(f"{FAMILIES[family]}, {NETWORKS[network]}", fontsize=10)
            axis.grid(alpha=0.3)
            if row:
                axis.set_xlabel("steps ahead")
                axis.set_xticks(AHEAD)
            if not column:
                axis.set_ylabel("normalised test error")
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
