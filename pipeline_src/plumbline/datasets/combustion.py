r"""Reacting and equilibrated methane/air mixtures, from Cantera with the GRI-Mech 3.0 mechanism.

One mole of fresh mixture with a random equivalence ratio and pressure is brought to a random temperature. A
fraction of the samples is at chemical equilibrium at this temperature and pressure. The others react
adiabatically at constant pressure for a log-uniform random time. A sample consists of the moles of the major
species per mole of fresh mixture. It satisfies the element balance

    A x = k,    A[element, species] = number of atoms of the element in the species,

where k, the moles of C, H, O and N atoms in these species, differs between samples. Models are conditioned on
k, which is computed from the stored moles, so the balance holds up to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import did_you_mean, key

if TYPE_CHECKING:
    import cantera
    import xarray as xr

ELEMENTS = ("C", "H", "O", "N")
SPECIES = ("CH4", "O2", "N2", "H2O", "CO2", "CO", "H2", "OH", "H", "O", "NO", "CH3")


# Kelvin: range of validity of the thermodynamic data in Cantera's version of the mechanism.
THERMODYNAMICS = (300.0, 3000.0)
# Ranges that GRI-Mech 3.0 was optimised for (Smith et al., http://combustion.berkeley.edu/gri-mech/):
# temperature in K, pressure in Pa (10 Torr to 10 atm) and equivalence ratio.
KINETICS = (1000.0, 2500.0)
PRESSURES = (1333.0, 1.01325e6)
RATIOS = (0.1, 5.0)


class CombustionSpec(DatasetSpec):
    """Moles of the major species of methane/air mixtures, in equilibrium and partly reacted."""

    kind: Literal["combustion"] = "combustion"
    equivalence_ratio: tuple[float, float] = (0.5, 1.8)
    """Range of the equivalence ratio, the fuel-to-air ratio over the stoichiometric one, within 0.1 to 5."""
    temperature: tuple[float, float] = key("K", default=(1500.0, 2400.0))
    """Range of the temperature at equilibrium or at the start of the reaction, within 1000 to 2500, or within
    300 to 3000 if all samples are in equilibrium."""
    pressure: tuple[float, float] = key("Pa", default=(5e4, 1e6))
    """Range of the log-uniform pressure, within 1333 to 1.01325e6 (10 Torr to 10 atm)."""
    reaction_time: tuple[float, float] = key("s", default=(1e-6, 1e-2))
    """Range of the log-uniform reaction time."""
    equilibrium_fraction: float = key(ge=0, le=1, default=0.4)
    """Fraction of the samples that are in equilibrium."""
    species: tuple[str, ...] = SPECIES
    """Species of a sample, by their names in GRI-Mech 3.0."""

    @model_validator(mode="after")
    def _ranges(self) -> CombustionSpec:
        for name in ("equivalence_ratio", "temperature", "pressure", "reaction_time"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"`{name}` must be two positive numbers, the smaller first, found {low}, {high}"
                )
        for name, (low, high), unit in (
            ("temperature", THERMODYNAMICS if self.equilibrium_fraction == 1 else KINETICS, " K"),
            ("pressure", PRESSURES, " Pa"),
            ("equivalence_ratio", RATIOS, ""),
        ):
            found = getattr(self, name)
            if found[0] < low or found[1] > high:
                reacting = " where mixtures react" if name == "temperature" and low == KINETICS[0] else ""
                raise ValueError(
                    f"`{name}` must lie between {low:g} and {high:g}{unit}{reacting}, the range of GRI-Mech "
                    f"3.0, found {found[0]:g} to {found[1]:g}"
                )
        return self

    @model_validator(mode="after")
    def _known_species(self) -> CombustionSpec:
        if len(set(self.species)) != len(self.species) or not self.species:
            raise ValueError("`species` must list species, each once")
        if set(self.species) <= set(SPECIES):
            return self
        import cantera

        gas = cantera.Solution("gri30.yaml")
        for name in self.species:
            if name not in gas.species_names:
                hint = did_you_mean(name, gas.species_names) or did_you_mean(name.upper(), gas.species_names)
                raise ValueError(f"`species`: {name!r} is not in GRI-Mech 3.0{hint}")
            if not any(gas.n_atoms(name, element) for element in ELEMENTS):
                raise ValueError(
                    f"`species`: {name!r} contains none of the balanced elements {', '.join(ELEMENTS)}"
                )
        return self

    def has_condition(self) -> bool:
        return True

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import cantera
        import xarray as xr

        from plumbline.datasets._random import uniforms

        gas = cantera.Solution("gri30.yaml")
        columns = [gas.species_index(name) for name in self.species]
        atoms = np.array([[gas.n_atoms(s, e) for s in self.species] for e in ELEMENTS], dtype=float)
        draws = uniforms(self.seed, indices, 5)
        # Samples are integrated one by one, because Cantera has no batched reactor.
        moles = np.empty((len(draws), len(columns)), np.float32)
        for i, draw in enumerate(draws):
            try:
                moles[i] = self._moles(gas, draw)[columns]
            except cantera.CanteraError as error:
                raise ValueError(
                    f"Cantera finds no state for sample {indices[i]}: narrow `temperature`, `pressure`, "
                    "`equivalence_ratio` or `reaction_time` "
                    f"({' '.join(str(error).replace('*', '').split())[:200]})."
                ) from error
        inventory = moles.astype(np.float64) @ atoms.T
        unit = {"units": "mol"}
        return xr.Dataset(
            {
                "state": (("sample", "species"), moles, {"long_name": "mole number", **unit}),
                "condition": (("sample", "element"), inventory, {"long_name": "element inventory", **unit}),
                "element_matrix": (("element", "species"), atoms, {"long_name": "atoms in a molecule"}),
            },
            coords={
                "species": ("species", list(self.species), {"long_name": "species"}),
                "element": ("element", list(ELEMENTS), {"long_name": "element"}),
            },
            attrs={
                "title": "methane/air mixtures",
                "basis": "one mole of fresh mixture",
                "mechanism": "GRI-Mech 3.0, as bundled with Cantera",
            },
        )

    def _moles(self, gas: cantera.Solution, draw: np.ndarray) -> np.ndarray:
        """Moles of all species (species,) from one mole of fresh mixture, for five uniform numbers."""
        import cantera

        ratio = _between(self.equivalence_ratio, draw[0])
        temperature = _between(self.temperature, draw[1])
        pressure = np.exp(_between(np.log(self.pressure), draw[2]))
        gas.TP = temperature, pressure
        gas.set_equivalence_ratio(ratio, "CH4", "O2:1, N2:3.76")
        fresh_weight = gas.mean_molecular_weight
        if draw[4] < self.equilibrium_fraction:
            gas.equilibrate("TP")
        else:
            reactor = cantera.IdealGasConstPressureReactor(gas, clone=False)
            network = cantera.ReactorNet([reactor])
            network.advance(np.exp(_between(np.log(self.reaction_time), draw[3])))
        # Mass is conserved, so the moles follow from the mean molecular weight. Integration errors can leave
        # small negative fractions, which are set to zero.
        return np.clip(gas.X, 0.0, None) * fresh_weight / gas.mean_molecular_weight


def _between(bounds: tuple[float, float] | np.ndarray, fraction: float) -> float:
    return float(bounds[0] + (bounds[1] - bounds[0]) * fraction)
