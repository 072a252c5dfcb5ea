"""Addition: the paper's settings, and ours, which learn sooner.

  python experiments/sweep.py --preset=addition --sweep_dir=runs/tasks

75 runs, at most 24,000,000 updates.

Source: arXiv v2, appendix [A]: 50 tanh units, N(0, .1), weight .5, threshold
6, rate .01. One model for 50 to 200, which 5 of 5 seeds solve [I].
"""

_OURS = {
  "task": "addition",
  "length": 10,
  "init": "orthogonal",
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "hidden_size": 50,
  "max_norm": 1.0,
  "omega_weight": 2.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
}
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
  # Ours: an orthogonal start, short sequences among the long ones, and a rate
  # that falls.
  _OURS
  | {
    "max_length": 100,
    "learning_rate": 0.06,
    "learning_rate_half_life": 20_000,
    "max_updates": 150_000,
  },
  _OURS
  | {
    "max_length": 200,
    "learning_rate": 0.06,
    "learning_rate_half_life": 40_000,
    "max_updates": 250_000,
  },
  # At a constant rate.
  _OURS
  | {
    "max_length": [100, 200],
    "learning_rate": 0.03,
    "max_updates": 400_000,
  },
]
