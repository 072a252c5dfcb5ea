"""The copying problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=copy --sweep_dir=runs/tasks

65 runs, at most 1,700,000 updates.

Source: Arjovsky, Shah, Bengio (2016) for the task. The settings are those of
`memorization_20_bits`, for the same reason, with more units for its ten symbols
of eight values.
"""

from presets import memorization_20_bits

_COPY = {"task": "copy", "hidden_size": 128}
GRIDS = [
  memorization_20_bits.APART | _COPY,
  memorization_20_bits.JOINT | _COPY | {"length": 50, "learning_rate": 0.2},
]
