"""Addition: the paper's settings, and ours, which learn sooner.

  python experiments/sweep.py --preset=addition --sweep_dir=runs/tasks

75 runs, at most 24,000,000 updates.

Source: arXiv v2, appendix [A]: 50 tanh units, N(0, .1), weight .5, threshold
6, rate .01. One model for 50 to 200, which 5 of 5 seeds solve [I].
"""

from presets import _marked

GRIDS = [
  # The paper's: one network for 50 to 200 steps.
  {
    "task": "addition",
    "length": 50,  # [I]
    "max_length": 200,  # [I]
    "init": "basic_tanh",  # [A]
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],  # [I]
    "hidden_size": 50,  # [A]
    "learning_rate": 0.01,  # [A]
    "max_norm": 6.0,  # [A]
    "omega_weight": 0.5,  # [A]
    "seeds": 5,  # [I]
    "max_updates": 400_000,
  },
  *_marked.ours("addition", 400_000),
]
