"""Which extra of the package installs what: for the message when something is missing."""

from __future__ import annotations

EXTRAS: dict[str, str] = {
    "PIL": "images", "lmdb": "images",
    "cantera": "chemistry",
    "skfolio": "finance",
    "torch_geometric": "graphs",
    "dask": "files", "fsspec": "files", "h5netcdf": "files", "h5py": "files", "pyarrow": "files",
    "jinja2": "workflow", "lightning_fabric": "workflow", "matplotlib": "workflow",
    "pandas": "workflow", "pooch": "workflow", "shtab": "workflow", "sklearn": "workflow",
    "snakemake": "workflow", "tensorboard": "workflow",
}  # fmt: skip
"""The extra of each package that the library imports and its core does without."""


def remedy(error: ModuleNotFoundError) -> str | None:
    """What to install for an import that failed; None where no extra of this library has it."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    return extra and f"the package {package} is not installed: run `pip install 'plumbline[{extra}]'`."
