"""One network for every length from 50 to 200, then tested far beyond.

  python experiments/sweep.py --preset=one_model --sweep_dir=runs/one_model
  python experiments/evaluate.py --test=lengths --runs=runs/one_model
  python experiments/draw.py --figure=generalisation --records=runs/one_model

15 runs, at most 12,000,000 updates. The second command tests the solved ones on
10000 sequences at each of 50 to 5000 steps, where the paper has no error [I].
The authors' log first passes 1 % at 280,000 updates, with weight 2, and goes on
until none of 10000 is wrong, at 336,000 [C]; so do the runs of the second grid.

Source: ICML, section 4.1 [I]. The paper has 5 seeds and 5,000,000 updates [I].
"""

_PAPER = {
  "task": "temporal_order",
  "length": 50,  # [I]
  "max_length": 200,  # [I]
  "init": "basic_tanh",  # [I]
  "algorithm": "msgd_cr",  # [I]
  "hidden_size": 50,  # [I]
  "learning_rate": 0.01,  # [I]
  "max_norm": 1.0,  # [I]
  "omega_weight": 4.0,  # [I]
}
GRIDS = [
  _PAPER | {"seeds": 5, "max_updates": 400_000},
  # Solved when none of 10000 is wrong [C].
  _PAPER | {"seeds": 10, "max_updates": 1_000_000, "solved_below": 1e-4},
]
