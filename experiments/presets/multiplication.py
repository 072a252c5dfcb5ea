"""Multiplication: the paper's settings, and ours, which learn sooner.

  python experiments/sweep.py --preset=multiplication --sweep_dir=runs/tasks

75 runs, at most 24,000,000 updates.

Source: the settings of addition, from memory of arXiv v2's appendix [M]. One
model for 50 to 200, which 5 of 5 seeds solve [I].
"""

from presets import addition

GRIDS = [grid | {"task": "multiplication"} for grid in addition.GRIDS]
