"""Optax transformations: clipping, Ω, rules for inf and NaN; telemetry."""

from steadygrad.transforms._telemetry import (
  ThresholdAdvice,
  choose_max_norm,
  telemetry,
)
from steadygrad.transforms.chains import (
  adam,
  adamw,
  msgd,
  msgd_c,
  msgd_cr,
  readout_apart,
  sgd,
)
from steadygrad.transforms.clipping import (
  CLIPS,
  ClipState,
  clip_by_global_norm,
)
from steadygrad.transforms.nonfinite import (
  NonfiniteState,
  shrink_if_nonfinite,
  skip_nonfinite,
  zero_nonfinite,
)
from steadygrad.transforms.omega import (
  OmegaState,
  OmegaTerms,
  add_omega_gradient,
  omega_gradient,
  omega_terms,
)

__all__ = [
  "CLIPS",
  "ClipState",
  "NonfiniteState",
  "OmegaState",
  "OmegaTerms",
  "ThresholdAdvice",
  "adam",
  "adamw",
  "add_omega_gradient",
  "choose_max_norm",
  "clip_by_global_norm",
  "msgd",
  "msgd_c",
  "msgd_cr",
  "omega_gradient",
  "omega_terms",
  "readout_apart",
  "sgd",
  "shrink_if_nonfinite",
  "skip_nonfinite",
  "telemetry",
  "zero_nonfinite",
]
