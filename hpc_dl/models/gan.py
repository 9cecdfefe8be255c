"""Generative adversarial network: generator and discriminator (Goodfellow et al., 2014)."""

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
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import Plateau
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelConfig
from hpc_dl.nn.activations import ActivationSetting
from hpc_dl.nn.adversarial import AdversarialLoss, discriminator_loss, generator_loss, gradient_penalty
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.sample_quality import coverage, energy_distance, modes_found
from hpc_dl.schema import Unit

_MAX_EVALUATED = 4096  # samples; the distances between all pairs are computed


class GANConfig(ModelConfig):
    """Two multi-layer perceptrons of the same size: the generator and the discriminator.

    The generator maps random numbers to samples, the discriminator samples to a logit of being
    real.
    """

    tasks = ("generation",)
    metrics = ("coverage", "modes", "quality")
    small = {"latent": 2, "width": 8, "depth": 1}

    name: Literal["gan"] = "gan"
    """Name of the architecture."""
    latent: Annotated[int, Field(ge=1), Unit("numbers")] = 16
    """Size of the generator's input, random numbers from N(0, 1)."""
    depth: Annotated[int, Field(ge=1), Unit("layers")] = 3
    """Hidden layers of each network."""
    width: Annotated[int, Field(ge=1), Unit("units")] = 128
    """Units of each hidden layer."""
    activation: ActivationSetting = "leaky_relu"
    """Activation after each hidden layer."""
    loss: AdversarialLoss = "relativistic"
    """``plain``: the non-saturating loss (Goodfellow et al., 2014), whose generator often covers
    few modes of the data; ``relativistic``: compares real and generated samples in pairs
    (Jolicoeur-Martineau, 2019)."""
    penalty: Annotated[float, Field(ge=0)] | None = None
    """Factor γ of the gradient penalties R1 + R2 = ½ E‖∇D‖² on real and generated samples, which
    make training converge (Mescheder et al., 2018; Huang et al., 2024). null: 1 for
    ``relativistic``, 0 for ``plain``."""

    def module(self, data: DataSpec, recipe: TrainingRecipe) -> GAN:
        """Build the module for samples of any shape, which it flattens.

        Raises:
            ConfigError: the schedule waits for a loss to fall, and the losses of a GAN do not.
        """
        size = math.prod(data.input_shape)
        generator = nn.Sequential(*_hidden(self.latent, self), nn.Linear(self.width, size))
        discriminator = nn.Sequential(*_hidden(size, self), nn.Linear(self.width, 1))
        penalty = usual_penalty(self.loss) if self.penalty is None else self.penalty
        return GAN(generator, discriminator, self.latent, self.loss, penalty, data, recipe)


class GAN(TrainingModule):
    """Generator and discriminator with an optimizer each; both are updated with each batch.

    Only the generator's updates count as optimizer steps. ``val/loss`` and ``test/loss`` are the
    energy distance between the real samples of the split and as many generated ones, in scaled
    units; ``coverage`` is the share of the real samples that have a generated one in their
    neighborhood. If a split of the file has the datasets ``modes`` (K, F) and ``modes_std`` (K,) in
    the units of the data, ``modes`` is the number of modes that are covered, and ``quality`` the
    share of generated samples that belong to a mode.
    """

    offset: Tensor
    divisor: Tensor

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        loss: AdversarialLoss,
        penalty: float,
        data: DataSpec,
        recipe: TrainingRecipe,
    ) -> None:
        """Store the networks and how they are trained.

        Args:
            generator: maps (B, latent) to scaled samples, (B, *input_shape) or flattened.
            discriminator: maps samples of the form that the generator returns to (B, 1).
            latent: size of the generator's input.
            loss: of both networks.
            penalty: factor of the gradient penalties.
            data: the specification of the data.
            recipe: the optimizer and schedule of both networks.

        Raises:
            ConfigError: the schedule waits for a loss to fall, and the losses of a GAN do not.
        """
        super().__init__(recipe)
        if isinstance(recipe.schedule, Plateau):
            raise ConfigError.at(
                "schedule.name",
                "does not suit a GAN, whose losses do not fall steadily",
                value=recipe.schedule.name,
                remedy="choose another schedule",
            )
        # Two optimizers are stepped in training_step.
        self.automatic_optimization = False
        self.latent, self.loss, self.penalty = latent, loss, penalty
        self.generator, self.discriminator = generator, discriminator
        # To convert generated samples to the units of the data.
        channels = (data.num_channels, *[1] * (len(data.input_shape) - 1))
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("divisor", torch.ones(channels))
        self.real = nn.ModuleDict({split: CatMetric() for split in ("val", "test")})

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """The generator outputs samples."""
        return ("generate samples",)

    def forward(self, z: Tensor) -> Tensor:
        """Map random numbers (B, latent) to scaled samples (B, *input_shape)."""
        samples: Tensor = self.generator(z)
        return samples.view(-1, *self.recipe.data.input_shape)

    @torch.no_grad()
    def sample(self, num_samples: int, seed: int = 0) -> Tensor:
        """Generate samples in the units of the data, (num_samples, *input_shape).

        The same seed gives the same samples.
        """
        return self.decode(self.noise(num_samples, seed).to(self.device))

    def noise(self, num_samples: int, seed: int = 0) -> Tensor:
        """Draw inputs of the generator, (num_samples, latent) from N(0, 1), on the CPU.

        The same seed gives the same numbers, also for a model on another device.
        """
        return torch.randn(num_samples, self.latent, generator=torch.Generator().manual_seed(seed))

    def decode(self, z: Tensor) -> Tensor:
        """Map random numbers (B, latent) to samples in the units of the data."""
        samples: Tensor = self(z).float() * self.divisor + self.offset
        return samples

    def configure_optimizers(self) -> Any:
        """Build two optimizers, the generator's first, each with its schedule."""
        built = []
        for network in (self.generator, self.discriminator):
            optimizer = self.recipe.optimizer.build(_trainable(network))
            built.append((optimizer, self.recipe.schedule.build(optimizer, self.recipe.total_steps)))
        return [optimizer for optimizer, _ in built], [{"scheduler": s, "interval": "step"} for _, s in built]

    def on_fit_start(self) -> None:
        """Copy the scaling of the data.

        Raises:
            ConfigError: the precision scales the loss, which does not work with two optimizers and
                gradient penalties.
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
        """Update the discriminator, then the generator; return the generator's loss."""
        (x,) = batch
        # Lightning counts the steps of its wrapped optimizers: only the generator's is to count.
        wrapped: Any = self.optimizers()
        generator_optimizer, discriminator_optimizer = wrapped[0], wrapped[1].optimizer
        fake = self(torch.randn(len(x), self.latent, device=x.device))

        self._set_gradients(self.discriminator, self.discriminator_loss(x, fake.detach()))
        discriminator_optimizer.step()

        with torch.no_grad():
            real_logits = self._logits(x)
        loss = generator_loss(self.loss, real_logits, self._logits(fake))
        self._set_gradients(self.generator, loss)
        generator_optimizer.step()
        schedules: Any = self.lr_schedulers()
        for schedule in schedules:
            schedule.step()
        return loss.detach()

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's mean loss with penalties, a scalar.

        Args:
            real: (B, *input_shape) scaled real samples.
            fake: (B, *input_shape) scaled generated samples.
        """
        if not self.penalty:
            return discriminator_loss(self.loss, self._logits(real), self._logits(fake))
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        real_logits, fake_logits = self._logits(real), self._logits(fake)
        penalties = gradient_penalty(real_logits, real) + gradient_penalty(fake_logits, fake)
        return discriminator_loss(self.loss, real_logits, fake_logits) + self.penalty * penalties

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Collect the real samples."""
        self.real["val"].update(batch[0].flatten(1))  # type: ignore[operator]

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Collect the real samples."""
        self.real["test"].update(batch[0].flatten(1))  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Log the distance of generated samples to the validation split."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the distance of generated samples to the test split."""
        self._log_evaluation("test")

    def _logits(self, samples: Tensor) -> Tensor:
        flat = isinstance(next(self.discriminator.children()), nn.Linear)
        logits: Tensor = self.discriminator(samples.flatten(1) if flat else samples)
        return logits.squeeze(1)

    def _set_gradients(self, network: nn.Module, loss: Tensor) -> None:
        """Set the gradients of one network, averaged over all ranks.

        DDP cannot average them: it expects one backward pass through all parameters for each batch.
        """
        parameters = _trainable(network)
        gradients = torch.autograd.grad(loss, parameters)
        if self.trainer.world_size > 1:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            mean = self.trainer.strategy.reduce(flat, reduce_op="mean")
            gradients = mean.split([parameter.numel() for parameter in parameters])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)

    @torch.no_grad()
    def _log_evaluation(self, split: str) -> None:
        metric = self.real[split]
        real: Tensor = metric.compute()[:_MAX_EVALUATED].float()  # type: ignore[operator]
        metric.reset()  # type: ignore[operator]
        scaled: Tensor = self(self.noise(len(real)).to(self.device)).float()
        fake = scaled.flatten(1)
        values = {"loss": energy_distance(real, fake), "coverage": coverage(real, fake)}
        with open_file(self.recipe.data.file) as file:
            names = [f"{split}/{name}" for name in ("modes", "modes_std")]
            modes = [torch.from_numpy(file[name][()]).to(self.device) for name in names if name in file]
        if len(modes) == 2:
            values["modes"], values["quality"] = modes_found((scaled * self.divisor + self.offset).flatten(1), *modes)
        self.log_evaluation(split, {f"{split}/{name}": value for name, value in values.items()})


def usual_penalty(loss: AdversarialLoss) -> float:
    """The factor of the gradient penalties where none is given."""
    return 1.0 if loss == "relativistic" else 0.0


def _hidden(num_in: int, config: GANConfig) -> list[nn.Module]:
    sizes = [num_in, *[config.width] * config.depth]
    return [layer for pair in itertools.pairwise(sizes) for layer in dense_block(*pair, config.activation)]


def _trainable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
