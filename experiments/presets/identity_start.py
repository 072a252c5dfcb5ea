"""One network for 50 to 200 steps, from a W_rec that turns nothing.

  python experiments/sweep.py --preset=identity_start \\
    --sweep_dir=runs/identity
  python experiments/evaluate.py --test=lengths --runs=runs/identity

70 runs, at most 7,000,000 updates. Networks of random permutation that start
from an orthogonal W_rec and are trained at one length are right after some
numbers of steps only (`--test=every_step`), as if their memory turned. The
identity does not turn states.

Source: ours. The rate was chosen with seeds 0 and 1000, which are not among the
five.
"""

from presets import _quiet

_OURS = _quiet.QUIET | {
  "length": 50,
  "max_length": 200,
  "init": "identity_quiet",
  "learning_rate": 0.003,
}
GRIDS = [
  _OURS
  | {
    "task": ["random_permutation", "temporal_order", "three_bit_temporal_order"]
  },
  # Solved when none of 10000 is wrong.
  _OURS | {"task": "temporal_order", "solved_below": 1e-4},
  _OURS
  | {
    "task": "random_permutation",
    "algorithm": "msgd_cr",
    "solved_below": 1e-4,
  },
  # At one length, as networks from `orthogonal_quiet`, whose memories turn.
  _OURS
  | {
    "task": "random_permutation",
    "length": 200,
    "max_length": None,
    "algorithm": "msgd_cr",
  },
]
