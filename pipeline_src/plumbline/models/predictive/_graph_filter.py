r"""Forecasts by graph filters, trained on several systems in parallel.

Each system has its own standardisation, graph and weights. The loss is the mean square error in standard
deviations, so that a forecast of the mean has an error of one. Properties of each system's tangent kernel
before training (`tangent_kernel`) are stored and returned with the forecasts.

The graph shift operators are computed from pairs of signals. With inputs x_i and targets y_i as columns of X
and Y,

    C_XX = X X^T / M,    C_XY = (X Y^T + Y X^T) / (2 M).

The cross-covariance C_XY maximises the alignment of the tangent kernel (theorem 1 of the source). It is
computed from the training pairs alone. The cross-covariance of shuffled pairs has the same marginals, but no
relation between x and y.

Source: Khalafi, Sihag, Ribeiro (ICML 2024), https://arxiv.org/abs/2310.10791.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plumbline.models.predictive._tangent_kernel import TangentKernel, jacobian, tangent_kernel
from plumbline.networks import SampleShape

Samples = dict[str, Tensor]


class GraphFilter(nn.Module):
    """Forecasts the state (B, n) of each system from its condition (B, n) by graph filters.

    It is prepared from the whole train split at once: the pairs of `shuffled` lie anywhere in the split, and
    the tangent kernel is that of all pairs of a system.

    Source: Khalafi, Sihag, Ribeiro (ICML 2024), https://arxiv.org/abs/2310.10791.

    Args:
        sample: the shape of states and conditions.
        network: builds the filters for a number of systems.
        systems: R, the number of systems.
        graph: the shift operator, one of those of `shift_operator`, or `learned`.
        descent_steps: steps of gradient descent that the tangent kernel predicts.

    Attributes:
        means, scales: mean and scale of condition and state of each system (R, 2, n).
        shift: the shift operators (R, n, n), of which the symmetric part is used; weights if the graph is
            learned.
        stds: root mean square errors of the forecasts of each system (R, n), in standard deviations of the
            state.
        alignment, spectrum, descent: properties of the tangent kernel of each system (R, ...).

    Raises:
        ValueError: condition and state do not have the same number of entries.
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
                "a graph filter needs a `condition` with as many entries as the state, such as the pairs of "
                f"`vector_autoregressions`; found a state {sample.shape} and {sample.condition} entries of "
                "`condition`."
            )
        self.network = network(systems)
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
        """Fits standardisations and graphs, and computes the tangent kernel of each system.

        Raises:
            ValueError: the dataset has no `system`, or another number of systems than the model.
        """
        found = sorted(set(data["system"].tolist())) if "system" in data else []
        if found != list(range(self.systems)):
            raise ValueError(
                f"`systems` is {self.systems}, and the training data has {len(found)}: set it to that number."
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
            kernel = self._kernel(r, x.float(), y.float())
            self.alignment[r], self.spectrum[r] = kernel.alignment, kernel.spectrum
            self.descent[r] = kernel.descent

    def loss(self, batch: Samples) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error, in standard deviations of each system."""
        error = self._error(batch)
        # `stds` is that of this batch: the moving average of the weights also averages this buffer.
        if self.training:
            self._learn_stds(error.detach(), batch["system"])
        loss = error.square().mean()
        return loss, {"squared_error": loss.detach()}

    def predict(self, batch: Samples) -> dict[str, Tensor]:
        """A sample, mean and standard deviation of each state, and the tangent kernel of its system."""
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
        """The forecasts, in standard deviations of the state."""
        system = batch["system"]
        x = (batch["condition"] - self.means[system, 0]) / self.scales[system, 0]
        return self.network(x, symmetric_part(self.shift)[system], system)

    def _error(self, batch: Samples) -> Float[Tensor, "B n"]:
        system = batch["system"]
        return self._forecast(batch) - (batch["state"] - self.means[system, 1]) / self.scales[system, 1]

    @torch.no_grad()
    def _learn_stds(self, error: Float[Tensor, "B n"], system: Int[Tensor, " B"]) -> None:
        """Sets the root mean square errors of the systems in this batch."""
        counts = torch.zeros_like(self.alignment, dtype=torch.int64)
        counts = counts.index_add_(0, system, torch.ones_like(system))[:, None]
        sums = torch.zeros_like(self.stds).index_add_(0, system, error.square())
        self.stds.copy_(torch.where(counts > 0, (sums / counts.clamp(min=1)).sqrt(), self.stds))

    def _kernel(self, r: int, x: Float[Tensor, "M n"], y: Float[Tensor, "M n"]) -> TangentKernel:
        """The tangent kernel of one system at the current weights."""
        one = self.build_network(1)
        weights = {name: p[r : r + 1].detach() for name, p in self.network.named_parameters()}
        if self.graph == "learned":
            weights["shift"] = self.shift[r].detach()
        system = torch.zeros(len(x), dtype=torch.long)

        def outputs(values: Mapping[str, Tensor]) -> Tensor:
            parameters = dict(values)
            shift = parameters.pop("shift", self.shift[r].detach())
            operator = symmetric_part(shift).expand(len(x), -1, -1)
            return torch.func.functional_call(one, parameters, (x, operator, system))

        residual = (y - outputs(weights)).flatten()
        return tangent_kernel(jacobian(outputs, weights), residual, y.flatten(), self.descent_steps)


def shift_operator(graph: str, x: Float[Tensor, "M n"], y: Float[Tensor, "M n"]) -> Float[Tensor, "n n"]:
    """The shift operator of a kind of graph, with spectral norm one.

    Args:
        graph: `identity`, `covariance`, `cross_covariance`, `shuffled` or `random`.
        x: standardised inputs.
        y: standardised targets.
    """
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
