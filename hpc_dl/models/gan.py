"""Generative adversarial network: a generator and a discriminator learn from each other (Goodfellow
et al., 2014).
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import CatMetric

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.storage.hdf5 import open_file
from hpc_dl.errors import ConfigError
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import Plateau
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationName, activation
from hpc_dl.nn.adversarial import AdversarialLoss, discriminator_loss, generator_loss, gradient_penalty
from hpc_dl.nn.sample_quality import coverage, energy_distance, modes_found
from hpc_dl.schema import Unit

_MOST_JUDGED = 4096  # distances between all pairs are computed


class GANConfig(ModelConfig):
    """Two multi-layer perceptrons of the same size: random numbers → sample, and sample → real or
    not.
    """

    tasks = ("generation",)
    metrics = ("coverage", "modes", "quality")
    small = {"latent": 2, "width": 8, "depth": 1}

    name: Literal["gan"] = "gan"
    """Which architecture."""
    latent: Annotated[int, Field(ge=1), Unit("numbers")] = 16
    """Random numbers, of N(0, 1), that the generator makes a sample of."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 3
    """Number of hidden layers of each network."""
    width: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Units in each hidden layer."""
    activation: ActivationName = "leaky_relu"
    """Activation after each hidden layer."""
    loss: AdversarialLoss = "relativistic"
    """``plain``: the first one, which does not saturate (Goodfellow et al., 2014); its generator
    often gives few of the data's modes. ``relativistic``: real and generated samples are judged in
    pairs (Jolicoeur-Martineau, 2019)."""
    penalty: Annotated[float, Field(ge=0)] | None = None
    """Factor γ of the penalties R1 + R2 = ½ E‖∇D‖² on real and generated samples, which make the
    competition converge (Mescheder et al., 2018; Huang et al., 2024). null: 1 for ``relativistic``,
    none for ``plain``."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GAN:
        """The module for samples of any one shape, which it flattens.

        Raises:
            ConfigError: the schedule waits for a loss to fall, which none does where two networks
                compete.
        """
        if isinstance(recipe.schedule, Plateau):
            raise ConfigError.at(
                "schedule.name",
                "does not suit a GAN: where two networks compete, no loss falls steadily",
                value=recipe.schedule.name,
                remedy="choose another schedule",
            )
        return GAN(self, data, recipe)


class GAN(TrainingModule):
    """Generator and discriminator, each with an optimizer of its own; both take a step with each
    batch.

    An optimizer step, as it is counted, is one of the generator. ``val/loss`` and ``test/loss`` are
    the energy distance of as many generated samples to the split's real ones, in the scaled units;
    ``coverage`` is the share of the real ones that have a generated one among their neighbors. A
    file whose split has datasets ``modes`` (K, F) and ``modes_std`` (K,) in the units of the data
    adds ``modes``, the number of them found, and ``quality``, the share of generated samples that
    lie within one.
    """

    offset: Tensor
    divisor: Tensor

    def __init__(self, config: GANConfig, data: DataSpec, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        # Each network takes its step by itself.
        self.automatic_optimization = False
        self.config = config
        self.penalty = (config.loss == "relativistic") * 1.0 if config.penalty is None else config.penalty
        size = math.prod(data.input_shape)
        self.generator = nn.Sequential(*_hidden(config.latent, config), nn.Linear(config.width, size))
        self.discriminator = nn.Sequential(*_hidden(size, config), nn.Linear(config.width, 1))
        # Generated samples are given in the units of the data.
        channels = (data.num_channels, *[1] * (len(data.input_shape) - 1))
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("divisor", torch.ones(channels))
        self.real = nn.ModuleDict({split: CatMetric() for split in ("val", "test")})

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, latent) random numbers to scaled samples (B, *input_shape)."""
        samples: Tensor = self.generator(z)
        return samples.view(-1, *self.recipe.data.input_shape)

    @torch.no_grad()
    def sample(self, num_samples: int, seed: int = 0) -> Tensor:
        """Generate samples in the units of the data, (num_samples, *input_shape); the same for the
        same seed.
        """
        return self._scaled_samples(num_samples, seed) * self.divisor + self.offset

    def configure_optimizers(self) -> Any:
        """Two of the optimizer that was asked for, the generator's first, each with its schedule."""
        built = []
        for network in (self.generator, self.discriminator):
            optimizer = self.recipe.optimizer.build(_learned(network))
            built.append((optimizer, self.recipe.schedule.build(optimizer, self.recipe.total_steps)))
        return [optimizer for optimizer, _ in built], [{"scheduler": s, "interval": "step"} for _, s in built]

    def on_fit_start(self) -> None:
        """Note how the data are scaled.

        Raises:
            ConfigError: the precision needs losses to be scaled, which two networks with penalties
                do not suit.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ConfigError.at(
                "trainer.precision", "does not suit a GAN", value=self.trainer.precision, allowed="32-true, bf16-mixed"
            )
        batches = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(batches, HDF5DataModule):
            scaling = batches.scaling
            for buffer, values in ((self.offset, scaling.offset), (self.divisor, scaling.divisor)):
                buffer.copy_(torch.tensor(values).view(-1, *[1] * (buffer.ndim - 1)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """A step of the discriminator, then one of the generator, whose loss is returned."""
        (x,) = batch
        # Lightning counts each step that goes through its wrapper: the generator's alone is to be
        # counted.
        wrapped: Any = self.optimizers()
        of_generator, of_discriminator = wrapped[0], wrapped[1].optimizer
        fake = self(torch.randn(len(x), self.config.latent, device=x.device))

        self._set_gradients(self.discriminator, self.discriminator_loss(x, fake.detach()))
        of_discriminator.step()

        with torch.no_grad():
            of_real = self._judge(x)
        loss = generator_loss(self.config.loss, of_real, self._judge(fake))
        self._set_gradients(self.generator, loss)
        of_generator.step()
        schedules: Any = self.lr_schedulers()
        for schedule in schedules:
            schedule.step()
        return loss.detach()

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Mean loss of the discriminator with its penalties on scaled samples, both (B,
        *input_shape); a scalar.
        """
        if not self.penalty:
            return discriminator_loss(self.config.loss, self._judge(real), self._judge(fake))
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        of_real, of_fake = self._judge(real), self._judge(fake)
        penalties = gradient_penalty(of_real, real) + gradient_penalty(of_fake, fake)
        return discriminator_loss(self.config.loss, of_real, of_fake) + self.penalty * penalties

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Gather real samples."""
        self.real["val"].update(batch[0].flatten(1))  # type: ignore[operator]

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Gather real samples."""
        self.real["test"].update(batch[0].flatten(1))  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log how far generated samples are from those of the validation split."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log how far generated samples are from those of the test split."""
        self._log_evaluation("test")

    def _judge(self, samples: Tensor) -> Tensor:
        judgments: Tensor = self.discriminator(samples.flatten(1))
        return judgments.squeeze(1)

    def _set_gradients(self, network: nn.Module, loss: Tensor) -> None:
        """Gradients of one network alone, the mean over all ranks.

        DDP's own averaging expects one backward pass through all parameters for each batch.
        """
        parameters = _learned(network)
        gradients = torch.autograd.grad(loss, parameters)
        if self.trainer.world_size > 1:
            together = torch.cat([gradient.flatten() for gradient in gradients])
            mean = self.trainer.strategy.reduce(together, reduce_op="mean")
            gradients = mean.split([parameter.numel() for parameter in parameters])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)

    def _scaled_samples(self, num_samples: int, seed: int) -> Tensor:
        # On the CPU, so that a seed means the same on every device.
        z = torch.randn(num_samples, self.config.latent, generator=torch.Generator().manual_seed(seed))
        samples: Tensor = self(z.to(self.device))
        return samples.float()

    @torch.no_grad()
    def _log_evaluation(self, split: str) -> None:
        metric = self.real[split]
        real: Tensor = metric.compute()[:_MOST_JUDGED].float()  # type: ignore[operator]
        metric.reset()  # type: ignore[operator]
        scaled = self._scaled_samples(len(real), seed=0)
        fake = scaled.flatten(1)
        values = {"loss": energy_distance(real, fake), "coverage": coverage(real, fake)}
        with open_file(self.recipe.data.file) as file:
            known = [f"{split}/{name}" for name in ("modes", "modes_std")]
            given = [torch.from_numpy(file[name][()]).to(self.device) for name in known if name in file]
        if len(given) == 2:
            values["modes"], values["quality"] = modes_found((scaled * self.divisor + self.offset).flatten(1), *given)
        self.log_evaluation(split, {f"{split}/{name}": value for name, value in values.items()})


def _hidden(num_in: int, config: GANConfig) -> list[nn.Module]:
    sizes = [num_in, *[config.width] * config.depth]
    return [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), activation(config.activation))]


def _learned(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
