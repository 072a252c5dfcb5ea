"""Random permutation: the paper's settings.

  python experiments/sweep.py --preset=random_permutation --sweep_dir=runs/tasks

60 runs, at most 6,000,000 updates.

Source: arXiv v2, appendix [A]. 2 of 5 seeds solve it [I]. Only the last
symbol is trained and scored, as in the authors' code [C].
"""

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
]
