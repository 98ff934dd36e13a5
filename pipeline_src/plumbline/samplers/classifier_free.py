r"""Classifier-free guidance: the condition counts more, or less, than the model has learned.

Let D(x_t | c) be the denoised estimate under the condition c, and D(x_t) the one without a condition, both by
the same network. Each estimate of the wrapped sampler becomes

    D_w = D(x_t) + w ( D(x_t | c) - D(x_t) ),

so that w = 0 is the model without the condition, w = 1 the conditional model, and w > 1 moves further towards
the condition. Its score is that of p_t(x) (p_t(x | c) / p_t(x))^w at each noise level t. These densities
are not those of noisy samples of one distribution: for w > 1, no distribution of clean samples corresponds to
them, and samples follow the condition more closely and vary less. Ho and Salimans write 1 + w for this w.

Source: Ho and Salimans (2022), https://arxiv.org/abs/2207.12598.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import ConditionDropping, DenoisingWrapperSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ClassifierFreeSpec(DenoisingWrapperSpec):
    """Classifier-free guidance (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598).

    The model must have been trained with `condition_dropout`. Every denoised estimate takes two network
    evaluations, or one where `scale` is 0 or 1.
    """

    kind: Literal["classifier_free"] = "classifier_free"
    scale: float = key(ge=0, default=2.0)
    """Weight w of the condition: 0 ignores it, 1 is the conditional model, more strengthens it."""

    def requires_of_model(self) -> type:
        return ConditionDropping

    def tradeoff_parameter(self) -> str | None:
        return "scale"

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._denoising import CorrectedDenoiser

        if self.scale == 1:
            return self.denoising_base().build(denoiser, context)
        correction = partial(classifier_free_mean, null=context.null_conditions(), scale=self.scale)
        return self.denoising_base().build(CorrectedDenoiser(denoiser, correction), context)


def classifier_free_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    null: Mapping[str, object],
    scale: float,
    **conditions: object,
) -> Tensor:
    """Computes D_w for the states x_t (B, ...) at time t.

    Args:
        denoiser: the denoiser.
        x_t: the states.
        t: their time.
        null: keyword arguments of the denoiser without the condition; they replace those in `conditions`.
        scale: the weight w.
        conditions: keyword arguments of the denoiser.
    """
    unconditional = denoiser(x_t, t, **{**conditions, **null}).mean
    if scale == 0:
        return unconditional
    return unconditional + scale * (denoiser(x_t, t, **conditions).mean - unconditional)
