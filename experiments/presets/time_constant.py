r"""Does a time constant do more than Omega? Both from one start.

  python experiments/sweep.py --preset=time_constant \
    --sweep_dir=runs/time_constant

40 runs, at most 2,400,000 updates. Temporal order by SGD at the paper's rate,
batch and threshold. All networks begin with the same orthogonal W_rec; seeds
draw the same sequences. The leaky network is cut at 20000 updates, the paper's
network at 100000.

Source: the paper's .01, 20 and 1; alpha .1 as in neuroscience, 1 / alpha = 10
steps. Nothing was searched for.
"""

_SHARED = {
  "length": (50, 100),
  "form": "h",
  "init": "orthogonal",
  "optimizer": "sgd",
  "learning_rate": 0.01,
  "check_every": 250,
  "seeds": 5,
}
GRIDS = [
  _SHARED
  | {
    "model": "leaky",
    "algorithm": ("msgd_c", "msgd_cr"),
    "max_updates": 20_000,
  },
  _SHARED
  | {
    "model": "elman",
    "algorithm": ("msgd_c", "msgd_cr"),
    "max_updates": 100_000,
  },
]
