r"""Networks of today on temporal order of 50 steps: what each needs at least.

  python experiments/sweep.py --preset=comparators_floors \
    --sweep_dir=runs/comparators_floors

70 runs, at most 240,000 updates. The paper's task, batch, threshold and number
of units; Adam at its customary rate, and the paper's SGD for the leaky network.
W_rec begins orthogonal.

Source: ours. Nothing was searched for.
"""

_ADAM = {
  "length": 50,
  "form": "h",
  "init": "orthogonal",
  "algorithm": "msgd_c",
  "optimizer": "adam",
  "learning_rate": 0.001,
  "check_every": 250,
  "max_updates": 3000,
  "seeds": 5,
}
_PLAIN = ("leaky", "residual", "irnn", "highway", "layer_norm")
GRIDS = [
  _ADAM | {"model": _PLAIN},
  _ADAM | {"model": ("lru", "attention")},
  _ADAM | {"model": ("lstm", "gru"), "forget_bias": ("0", "1")},
  _ADAM | {"model": "transformer", "hidden_size": 64},
  _ADAM | {"model": "elman", "max_updates": 6000},
  _ADAM
  | {
    "model": "leaky",
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "max_updates": 6000,
  },
]
