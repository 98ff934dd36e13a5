"""A pretrained denoiser of another code as a model: no training here, any sampler of this library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.input_files import InputFile, ReadsFiles
from plumbline.models import BuildContext, FittedModelSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.spec import key
from plumbline.user_code import UserFunction

if TYPE_CHECKING:
    from plumbline.models.diffusion._external import ExternalModel


class ExternalSpec(ReadsFiles, FittedModelSpec):
    """A denoiser that a function of yours builds, such as a pretrained U-Net, FNO or diffusers model.

    The function takes the path of the checkpoint, or nothing without one. It returns a `torch.nn.Module`: an
    azula `Denoiser`, which has its own schedule, or a network `(x_t, t) -> (B, *S)` with a prediction as
    below. A network that takes `condition` receives the dataset's.
    """

    kind: Literal["external"] = "external"
    function: UserFunction
    """The function, as `file.py:name`."""
    checkpoint: str | None = key(min_length=1, default=None)
    """File of the weights, passed to the function; a changed file draws the samples again."""
    predicts: Literal["denoiser", "sample", "noise", "velocity", "score"] = "denoiser"
    """What the function returns: a denoiser of azula, or a network that predicts the clean sample x, the
    noise e, the velocity d(alpha x + sigma e)/dt or the score of x_t."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule of the network; a denoiser has its own."""
    scaling: Literal["per_feature", "global", "none"] = "none"
    """Space that the network works in: the data's units, or data standardised by the train split."""

    def input_files(self) -> tuple[InputFile, ...]:
        return () if self.checkpoint is None else (InputFile("checkpoint", self.checkpoint, "the weights"),)

    def build(self, on: BuildContext) -> ExternalModel:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.diffusion._external import ExternalModel, denoiser_of

        built = self.function.load()(*([] if self.checkpoint is None else [self.checkpoint]))
        denoiser = denoiser_of(built, self.predicts, self.schedule.build(), str(self.function))
        return ExternalModel(sample_shape(on.example), denoiser=denoiser, scaling=self.scaling)
