r"""Random frameworks whose partial charges follow from electronegativity equalisation.

Atoms of six elements are joined by a random tree and some further bonds. The charges q minimise

    sum_i [chi_i q_i + 1/2 eta_i q_i^2] + c sum_{bonds} q_i q_j    subject to sum_i q_i = 0

(Rappe and Goddard 1991, https://doi.org/10.1021/j100161a070, with the Coulomb term restricted to bonds). The
electronegativity chi and the hardness eta depend on the element, and chi has a small random shift per atom
that no model can predict. This is a small substitute for the real frameworks of `mof_charges`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._graphs import Framework

ELEMENTS = ("H", "C", "N", "O", "Zn", "Cu")
ELECTRONEGATIVITY = np.array([4.5, 5.3, 6.9, 8.7, 3.0, 3.6])  # eV
HARDNESS = np.array([13.9, 10.1, 11.8, 13.4, 9.0, 8.4])  # eV
SHARES = np.array([0.3, 0.4, 0.1, 0.15, 0.03, 0.02])
COUPLING = 2.0  # eV


class RandomFrameworksSpec(DatasetSpec):
    """Random frameworks with equalised charges."""

    kind: Literal["random_frameworks"] = "random_frameworks"
    atoms: tuple[int, int] = (6, 40)
    """Range of the number of atoms in a framework."""
    further_bonds: float = key(ge=0, le=1, default=0.2)
    """Number of bonds drawn beyond those of the tree, as a fraction of the number of atoms."""
    disorder: float = key("eV", ge=0, default=0.1)
    """Standard deviation of the electronegativity about the value of the element."""

    @model_validator(mode="after")
    def _range(self) -> RandomFrameworksSpec:
        if not 2 <= self.atoms[0] <= self.atoms[1]:
            raise ValueError(
                f"`atoms` must be two integers of at least 2, the smaller first, found {self.atoms}"
            )
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._graphs import padded

        most = self.atoms[1]
        # Frameworks differ in size, so each is drawn on its own from its own random stream.
        drawn = [self.framework(np.random.default_rng([self.seed, int(i)])) for i in indices]
        dataset = padded(drawn, most, most - 1 + int(self.further_bonds * most), ELEMENTS)
        return dataset.assign_attrs(title="random frameworks with equalised charges")

    def framework(self, random: np.random.Generator) -> Framework:
        """Draws one framework.

        Args:
            random: the random generator of this sample.
        """
        from plumbline.datasets._graphs import Framework

        n = int(random.integers(self.atoms[0], self.atoms[1] + 1))
        species = random.choice(len(ELEMENTS), size=n, p=SHARES)
        tree = [(int(random.integers(0, i)), i) for i in range(1, n)]
        further = [
            tuple(sorted(random.choice(n, 2, replace=False))) for _ in range(int(self.further_bonds * n))
        ]
        bonds = np.array(sorted({*tree, *further}), dtype=int).reshape(-1, 2)
        hessian = np.diag(HARDNESS[species])
        hessian[bonds[:, 0], bonds[:, 1]] = hessian[bonds[:, 1], bonds[:, 0]] = COUPLING
        chi = ELECTRONEGATIVITY[species] + self.disorder * random.standard_normal(n)
        system = np.block([[hessian, np.ones((n, 1))], [np.ones((1, n)), np.zeros((1, 1))]])
        charges = np.linalg.solve(system, np.append(-chi, 0.0))[:n]
        lengths = random.uniform(1.0, 2.2, len(bonds))
        return Framework(charges, species, bonds, lengths)
