"""Multiplication: the paper's settings, and ours, which learn sooner.

  python experiments/sweep.py --preset=multiplication --sweep_dir=runs/tasks

75 runs, at most 24,000,000 updates.

Source: the settings of addition, from memory of arXiv v2's appendix [M]. One
model for 50 to 200, which 5 of 5 seeds solve [I].
"""

from presets import _marked

GRIDS = [
  # The paper's: one network for 50 to 200 steps.
  {
    "task": "multiplication",
    "length": 50,  # [I]
    "max_length": 200,  # [I]
    "init": "basic_tanh",  # [M]
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],  # [I]
    "hidden_size": 50,  # [M]
    "learning_rate": 0.01,  # [M]
    "max_norm": 6.0,  # [M]
    "omega_weight": 0.5,  # [M]
    "seeds": 5,  # [I]
    "max_updates": 400_000,
  },
  *_marked.ours("multiplication", 400_000),
]
