"""Noiseless memorisation of five bits.

  python experiments/sweep.py --preset=memorization_5_bits \\
    --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: the paper's settings were not read; these are ours. One model for each
length, 50 to 200, and 5 of 5 seeds solve each [I].
"""

from presets import _quiet

GRIDS = [_quiet.at_each_length("memorization_5_bits")]
