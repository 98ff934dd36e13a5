"""Generates the key tables of config/README.md from the specs."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from plumbline.attributes import AttributeSpec
from plumbline.constraints import ConstraintSpec
from plumbline.datasets import DatasetSpec, SplitSizes
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.distributions.objectives import ObjectiveSpec
from plumbline.machine import MachineSpec, ResourcesSpec
from plumbline.method import MethodSpec, SampleCounts
from plumbline.metrics import MetricSpec
from plumbline.models import ModelSpec
from plumbline.models._label_specs import (
    AttributeLabelsSpec,
    ClassLabelsSpec,
    LevelSpec,
    LevelsSpec,
    ListedLabelsSpec,
)
from plumbline.models.diffusion._residual_specs import ConflictFreeSpec, VirtualObservationsSpec
from plumbline.models.diffusion.diffusion import (
    CosineScheduleSpec,
    EDMScheduleSpec,
    GaussianFieldSpec,
    RectifiedScheduleSpec,
    VPScheduleSpec,
    VPSDEScheduleSpec,
)
from plumbline.models.distributional._multiplier_specs import (
    DualAscentSpec,
    EqualMultipliersSpec,
    FixedMultipliersSpec,
    ProportionalIntegralSpec,
    SimplexAscentSpec,
)
from plumbline.models.distributional._set_specs import ConstraintSetSpec, DrawnSetSpec
from plumbline.models.distributional.alignment import RewardSpec
from plumbline.models.distributional.dual_diffusion import DisjointMultipliersSpec
from plumbline.models.mirror.analytic_mirror import BallSpec, BoxSpec, PolytopeSpec, SimplexSpec
from plumbline.networks import DecoderSpec, EncoderSpec, GraphNetworkSpec, NetworkSpec, RegressorSpec
from plumbline.observations import ObservationSpec
from plumbline.samplers import SamplerSpec
from plumbline.spec import Kind, Spec, kinds
from plumbline.study import Configuration, Study
from plumbline.training import TrainingSpec
from plumbline.tuning import TuningSpec

BEGIN = "<!-- The tables below are made by `make keys`. -->"
END = "<!-- End of the tables. -->"

ROOMS: dict[str, tuple[type[Kind], str]] = {
    "datasets": (DatasetSpec, "`dataset`"),
    "constraints": (ConstraintSpec, "`constraints.<name>`"),
    "models": (ModelSpec, "`models.<name>`"),
    "networks": (NetworkSpec, "`models.<name>.network` of diffusion models"),
    "regressors": (
        RegressorSpec,
        "`models.<name>.network` of regressions, portfolios, latent critics and actors, "
        "and both networks of ladder autoencoders",
    ),
    "encoders": (EncoderSpec, "`models.<name>.encoder` of autoencoders"),
    "decoders": (DecoderSpec, "`models.<name>.decoder` of autoencoders"),
    "graph networks": (GraphNetworkSpec, "`models.<name>.network` of node regressions"),
    "likelihoods": (LikelihoodSpec, "`models.<name>.likelihood`"),
    "objectives": (ObjectiveSpec, "`models.<name>.objective`"),
    "estimators": (EstimatorSpec, "`estimator`, of models and of the objective `sampled`"),
    "samplers": (SamplerSpec, "`methods.<name>.sampler`, and `base` within"),
    "observations": (ObservationSpec, "`observation`"),
    "attributes": (AttributeSpec, "`models.<name>.rewards.<name>.attribute`"),
    "metrics": (MetricSpec, "`metrics.<name>`"),
}
WITHIN_MODELS: dict[str, tuple[type[Spec], ...]] = {
    "`models.<name>.schedule`: kinds of noise schedules": (
        EDMScheduleSpec,
        VPScheduleSpec,
        VPSDEScheduleSpec,
        CosineScheduleSpec,
        RectifiedScheduleSpec,
    ),
    "`models.<name>.noise` of diffusion models: kinds of noise": (GaussianFieldSpec,),
    "`models.<name>.residual` of diffusion models: training with a residual": (
        VirtualObservationsSpec,
        ConflictFreeSpec,
    ),
    "`models.<name>.set` of analytic mirror maps: kinds of sets": (
        SimplexSpec,
        BallSpec,
        BoxSpec,
        PolytopeSpec,
    ),
    "`models.<name>.multipliers`, and `weights` of products: kinds of multipliers": (
        DualAscentSpec,
        ProportionalIntegralSpec,
        FixedMultipliersSpec,
        DisjointMultipliersSpec,
        SimplexAscentSpec,
        EqualMultipliersSpec,
    ),
    "`models.<name>.wanted` of latent critics and actors, and of models conditioned on labels: "
    "kinds of requested labels": (
        ClassLabelsSpec,
        ListedLabelsSpec,
        AttributeLabelsSpec,
        LevelsSpec,
    ),
}
ENTRIES_OF_MODELS: dict[str, type[Spec]] = {
    "`models.<name>.sets.<name>` of dual diffusion": ConstraintSetSpec,
    "`models.<name>.sets.<name>.drawn` of dual diffusion": DrawnSetSpec,
    "`models.<name>.rewards.<name>` of alignment": RewardSpec,
    "`models.<name>.wanted.levels.<name>` of latent critics and actors": LevelSpec,
}


def update_keys(path: Path, *, check: bool) -> int:
    """Writes the tables between the marker lines of the file.

    Args:
        path: the file.
        check: only checks whether the tables are up to date, and writes nothing.

    Returns:
        The exit status: 1 if a check finds the tables out of date, else 0.

    Raises:
        ValueError: the file lacks the marker lines.
    """
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} lacks the lines {BEGIN!r} and {END!r}.")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    fresh = f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"
    if check:
        if fresh != text:
            print(f"{path} is out of date: run `make keys`.", file=sys.stderr)
        return int(fresh != text)
    path.write_text(fresh)
    return 0


def tables() -> str:
    """All tables, as Markdown."""
    fixed: dict[str, type[Spec]] = {
        "config.yaml": Configuration,
        "`resources` of config.yaml": ResourcesSpec,
        "`resources.core` and `resources.gpu`": MachineSpec,
        "A study": Study,
        "`dataset.splits`": SplitSizes,
        "`models.<name>.training`": TrainingSpec,
        "`methods.<name>`": MethodSpec,
        "`samples`": SampleCounts,
        "`tuning`": TuningSpec,
    }
    parts = [_table(title, spec, "##") for title, spec in fixed.items()]
    for room, (base, place) in ROOMS.items():
        parts.append(f"## {place}: kinds of {room}\n")
        parts += [_table(f"`{name}`", spec, "###") for name, spec in kinds(base).items()]
        if room == "models":
            parts += [_table(title, spec, "##") for title, spec in ENTRIES_OF_MODELS.items()]
            for title, specs in WITHIN_MODELS.items():
                parts.append(f"## {title}\n")
                parts += [_table(f"`{s.model_fields['kind'].default}`", s, "###") for s in specs]
    return "\n".join(parts)


def _table(title: str, spec: type[Spec], level: str) -> str:
    lines = [
        f"{level} {title}\n",
        f"{summary(spec)}\n",
        "| key | type | default | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, *others in key_rows(spec):
        cells = (f"`{name}`", *others)
        lines.append("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def key_rows(spec: type[Spec]) -> list[tuple[str, str, str, str, str]]:
    """Name, type, default, unit and meaning of each key of a spec."""
    meanings = _meanings(spec)
    rows = []
    for name, info in spec.model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        unit = str(extra.get("unit") or "")
        rows.append((name, _type(info), _default(info), unit, meanings.get(name, "")))
    return rows


def _meanings(spec: type[Spec]) -> dict[str, str]:
    """The docstrings below the fields of a spec and its base classes, by field.

    Pydantic could store them with the fields (`use_attribute_docstrings`), but that would take half of the
    time in which all specs load, and they are needed only here.
    """
    found: dict[str, str] = {}
    for base in reversed([c for c in spec.__mro__ if issubclass(c, Spec)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in pairwise(body.body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found


def summary(spec: type[Spec]) -> str:
    """The docstring of a spec, in one line."""
    return " ".join((spec.__doc__ or "").split())


def _type(info: FieldInfo) -> str:
    bounds = []
    for mark in info.metadata:
        for kind, sign in ((Ge, "≥"), (Gt, ">"), (Le, "≤"), (Lt, "<")):
            if isinstance(mark, kind):
                bounds.append(f"{sign} {getattr(mark, kind.__name__.lower()):g}")
        if isinstance(mark, MinLen):
            bounds.append("not empty")
    return ", ".join([_name(info.annotation), *bounds])


def _name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(a) for a in get_args(annotation)))
    if origin is tuple:
        inner = get_args(annotation)
        return (
            f"list of {_name(inner[0])}"
            if len(inner) == 2 and inner[1] is ...
            else f"{len(inner)} times {_name(inner[0])}"
        )
    if origin is list:
        return f"list of {_name(get_args(annotation)[0])}"
    if origin is dict:
        return f"mapping of names to {_name(get_args(annotation)[1])}"
    if hasattr(annotation, "__origin__"):
        return _name(annotation.__origin__)
    if annotation is JsonValue:
        return "any value"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return "see below" if issubclass(annotation, Kind) else "mapping"
    return {"int": "integer", "float": "number", "str": "text", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), str(annotation)
    )


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined or isinstance(value, Spec):
        return "as below"
    if value is None:
        return "null"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(v) for v in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
