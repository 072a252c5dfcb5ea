"""The adding problem, which the paper does not have, at settings of ours.

  python experiments/sweep.py --preset=adding --sweep_dir=runs/tasks

60 runs, at most 12,000,000 updates.

Source: Le, Jaitly, Hinton (2015) and Arjovsky, Shah, Bengio (2016) for the
task; the settings are ours.
"""

from presets import _marked

GRIDS = _marked.ours("adding", 200_000)
