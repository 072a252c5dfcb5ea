"""Random permutation: the paper's settings, and ours.

  python experiments/sweep.py --preset=random_permutation --sweep_dir=runs/tasks

135 runs, at most 13,500,000 updates.

Source: arXiv v2, appendix [A]. 2 of 5 seeds solve it [I]. Only the last
symbol is trained and scored, as in the authors' code [C].
"""

from presets import _quiet

_OURS = _quiet.at_each_length("random_permutation") | {"learning_rate": 0.003}
GRIDS = [
  # The paper's.
  {
    "task": "random_permutation",
    "length": [50, 100, 150, 200],
    "init": "basic_tanh",  # not read
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],  # [I]
    "hidden_size": 100,  # [A]
    "learning_rate": 0.001,  # [A]
    "max_norm": 6.0,  # [A]
    "omega_weight": 1.0,  # [A]
    "seeds": 5,  # [I]
    "max_updates": 100_000,
  },
  # Ours.
  _OURS,
  # One network for 50 to 200 steps: networks of one length fail at others.
  _OURS | {"length": 50, "max_length": 200},
]
