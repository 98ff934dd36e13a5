r"""Forecasts by graph filters, for several systems side by side.

Each system has its own standardisation, graph and weights, and its loss the mean square over its pairs in standard deviations: a
forecast that knows nothing has an error of one. What the tangent kernel at the start says of each system (`tangent_kernel`) is kept,
and told with the forecasts.

Graph shift operators from pairs of signals.

With the signals x_i that are known and y_i that are asked for, as columns of X and Y,

    C_XX = X X^T / M,    C_XY = (X Y^T + Y X^T) / (2 M).

The cross-covariance is that of the tangent kernel's best alignment (arXiv:2310.10791, theorem 1); it is made of the training pairs alone.
That of shuffled pairs has the same marginals, and nothing of what they have to do with each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plumbline.models.predictive._tangent_kernel import TangentKernel, jacobian, tangent_kernel
from plumbline.networks import SampleShape

Samples = dict[str, Tensor]


class GraphFilter(nn.Module):
    """The state (B, n) of each system given its condition (B, n).

    Args:
        sample: the shape of states and conditions.
        network: makes the filters of so many systems.
        systems: R.
        graph: the shift operator, one of those of `shift_operator`, or `learned`.
        descent_steps: steps of gradient descent that the tangent kernel is asked about.

    Attributes:
        means, scales: of condition and state of each system (R, 2, n).
        shift: the shift operators (R, n, n), whose symmetric part counts; weights where the graph is learned.
        deviations: of the forecasts' errors, of each system (R, n), in standard deviations.
        alignment, spectrum, descent: what the tangent kernel says of each system (R, ...).

    Raises:
        ValueError: conditions and states differ in their number.
    """

    means: Tensor
    scales: Tensor
    stds: Tensor
    shift: Tensor
    alignment: Tensor
    spectrum: Tensor
    descent: Tensor

    def __init__(
        self,
        sample: SampleShape,
        *,
        network: Callable[[int], nn.Module],
        systems: int = 10,
        graph: str = "cross_covariance",
        descent_steps: int = 100,
    ) -> None:
        super().__init__()
        self.build_network, self.systems, self.graph = network, systems, graph
        self.descent_steps = descent_steps
        (nodes,) = sample.shape if len(sample.shape) == 1 else (0,)
        if sample.condition != nodes:
            raise ValueError(
                "a graph filter tells a state from one of as many numbers, such as the pairs of `vector_autoregressions`; "
                f"found a state {sample.shape} and {sample.condition} numbers of `condition`."
            )
        self.network: Any = network(systems)
        shift = torch.zeros(systems, nodes, nodes)
        if graph == "learned":
            self.shift = nn.Parameter(shift)
        else:
            self.register_buffer("shift", shift)
        self.register_buffer("means", torch.zeros(systems, 2, nodes))
        self.register_buffer("scales", torch.ones(systems, 2, nodes))
        self.register_buffer("stds", torch.ones(systems, nodes))
        weights = sum(p[0].numel() for p in self.parameters())
        self.register_buffer("alignment", torch.zeros(systems))
        self.register_buffer("spectrum", torch.zeros(systems, weights))
        self.register_buffer("descent", torch.zeros(systems, descent_steps + 1))

    def prepare(self, data: Samples) -> None:
        """Fits standardisations and graphs, and asks the tangent kernel of each system.

        Raises:
            ValueError: the dataset has no `system`, or not as many as the model.
        """
        found = sorted(set(data["system"].tolist())) if "system" in data else []
        if found != list(range(self.systems)):
            raise ValueError(
                f"`systems` is {self.systems}, and the training data has {len(found)}: give the dataset's number."
            )
        for r in range(self.systems):
            own = data["system"] == r
            pair = torch.stack([data["condition"][own], data["state"][own]]).double()
            scale, mean = torch.std_mean(pair, dim=1)
            scale = scale.clamp(min=1e-30)
            self.means[r], self.scales[r] = mean, scale
            x, y = (pair - mean[:, None]) / scale[:, None]
            with torch.no_grad():
                self.shift[r] = shift_operator(self.graph, x, y)
            known = self._kernel(r, x.float(), y.float())
            self.alignment[r], self.spectrum[r], self.descent[r] = (
                known.alignment,
                known.spectrum,
                known.descent,
            )

    def loss(self, batch: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean square of the errors, in standard deviations of each system."""
        error = self._error(batch)
        # Of this batch alone: the moving average of the weights takes its average with them.
        if self.training:
            self._learn_stds(error.detach(), batch["system"])
        loss = error.square().mean()
        return loss, {"squared_error": loss.detach()}

    def predict(self, batch: Samples) -> dict[str, Tensor]:
        """Mean and deviation of each state, a draw, and what the kernel of its system said before the training."""
        system = batch["system"]
        mean = self.means[system, 1] + self.scales[system, 1] * self._forecast(batch)
        std = self.scales[system, 1] * self.stds[system]
        return {
            "state": mean + std * torch.randn_like(mean),
            "predicted_mean": mean,
            "predicted_std": std,
            "kernel_alignment": self.alignment[system],
            "kernel_spectrum": self.spectrum[system],
            "kernel_descent": self.descent[system],
        }

    def _forecast(self, batch: Samples) -> Float[Tensor, "B n"]:
        """The forecasts in standard deviations."""
        system = batch["system"]
        x = (batch["condition"] - self.means[system, 0]) / self.scales[system, 0]
        return self.network(x, symmetric_part(self.shift)[system], system)

    def _error(self, batch: Samples) -> Float[Tensor, "B n"]:
        system = batch["system"]
        return self._forecast(batch) - (batch["state"] - self.means[system, 1]) / self.scales[system, 1]

    @torch.no_grad()
    def _learn_stds(self, error: Float[Tensor, "B n"], system: Int[Tensor, " B"]) -> None:
        """The root mean square of the errors of this batch, of the systems that it has samples of."""
        counts = torch.bincount(system, minlength=self.systems)
        sums = torch.zeros_like(self.stds).index_add_(0, system, error.square())
        present = counts > 0
        self.stds[present] = (sums[present] / counts[present, None]).sqrt()

    def _kernel(self, r: int, x: Float[Tensor, "M n"], y: Float[Tensor, "M n"]) -> TangentKernel:
        """The tangent kernel of one system at the weights of now."""
        one = self.build_network(1)
        weights = {name: p[r : r + 1].detach() for name, p in self.network.named_parameters()}
        if self.graph == "learned":
            weights["shift"] = self.shift[r].detach()
        system = torch.zeros(len(x), dtype=torch.long)

        def outputs(known: Any) -> Tensor:
            known = dict(known)
            shift = known.pop("shift", self.shift[r].detach())
            operator = symmetric_part(shift).expand(len(x), -1, -1)
            return torch.func.functional_call(one, known, (x, operator, system))

        residual = (y - outputs(weights)).flatten()
        return tangent_kernel(jacobian(outputs, weights), residual, y.flatten(), self.descent_steps)


def shift_operator(graph: str, x: Float[Tensor, "M n"], y: Float[Tensor, "M n"]) -> Float[Tensor, "n n"]:
    """The operator of a kind of graph, of spectral norm one."""
    n = x.shape[1]
    if graph == "identity":
        return torch.eye(n, dtype=x.dtype)
    if graph == "covariance":
        operator = x.T @ x
    elif graph == "cross_covariance":
        operator = x.T @ y
    elif graph == "shuffled":
        operator = x.T @ y[torch.randperm(len(y))]
    else:
        operator = torch.randn(n, n, dtype=x.dtype)
    operator = symmetric_part(operator)
    return operator / torch.linalg.matrix_norm(operator, ord=2)


def symmetric_part(matrix: Float[Tensor, "*R n n"]) -> Float[Tensor, "*R n n"]:
    """(S + S^T) / 2."""
    return 0.5 * (matrix + matrix.mT)
