"""Rules of clipping as Optax links, and a registry of them.

Each has its norm in factors, so that 1e30 and 1e-30 are norms as any other, a
state of fixed structure, and telemetry. A gradient that is not finite passes
each of them as it is and leaves its statistics as they were: what becomes of it
is the business of `transforms.nonfinite`.
"""

from steadygrad.transforms.clipping._adagc import adagc
from steadygrad.transforms.clipping._fixed import (
  ClipState,
  clip_by_global_norm,
  clip_by_leaf_norm,
  clip_by_value,
  no_clip,
  normalise,
)
from steadygrad.transforms.clipping._history import autoclip, zclip
from steadygrad.transforms.clipping._measured import RuleState
from steadygrad.transforms.clipping._spam import spam
from steadygrad.transforms.clipping._spikes import skip_spikes
from steadygrad.transforms.clipping._units import agc

# Rules by name: keywords -> Optax transformation, whose telemetry has
# `gradient_norm` and `clipped`.
CLIPS = {
  "by_norm": clip_by_global_norm,
  "norm": clip_by_global_norm,
  "value": clip_by_value,
  "by_leaf": clip_by_leaf_norm,
  "agc": agc,
  "autoclip": autoclip,
  "zclip": zclip,
  "adagc": adagc,
  "spam": spam,
  "skip": skip_spikes,
  "normalise": normalise,
  "none": no_clip,
}
# Those whose first argument is an absolute threshold.
BOUNDED = ("by_norm", "norm", "value", "by_leaf", "zclip", "adagc")
# What telemetry calls that which a threshold of theirs is compared with.
MEASURES = {
  "by_norm": "gradient_norm",
  "norm": "gradient_norm",
  "value": "measured",
  "by_leaf": "measured",
  "agc": "measured",
  "zclip": "gradient_norm",
  "adagc": "gradient_norm",
}
# Those whose first argument is the optimiser, which they wrap.
WRAPPERS = ("spam", "skip")

__all__ = [
  "BOUNDED",
  "CLIPS",
  "MEASURES",
  "WRAPPERS",
  "ClipState",
  "RuleState",
  "adagc",
  "agc",
  "autoclip",
  "clip_by_global_norm",
  "clip_by_leaf_norm",
  "clip_by_value",
  "no_clip",
  "normalise",
  "skip_spikes",
  "spam",
  "zclip",
]
