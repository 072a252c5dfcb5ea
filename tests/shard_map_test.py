"""One batch over two devices by `jax.shard_map`, with JAX's own checks on.

Each device has half of the sequences, and the loss is the mean over both: then
losses, gradients and Ω are those of the whole batch on one device.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steadygrad.adjoints import adjoints
from steadygrad.losses import squared_error
from steadygrad.types import Batch
from tests import cases

P = jax.sharding.PartitionSpec
AXIS = "devices"
# float32 sums in another order.
ROUNDING = 1e-6


def mesh():
  return jax.make_mesh(
    (2,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )
