r"""Does a residual connection in time need clipping?

  python experiments/sweep.py --preset=residual_clipping \
    --sweep_dir=runs/residual_clipping

120 runs, at most 360,000 updates. Temporal order of 50 steps, with Algorithm 1
and without it, at rates in half decades by SGD and by Adam.

Source: ours. The threshold is the paper's 1.
"""

_SHARED = {
  "model": "residual",
  "length": 50,
  "form": "h",
  "init": "orthogonal",
  "algorithm": ("msgd", "msgd_c"),
  "check_every": 250,
  "max_updates": 3000,
  "seeds": 5,
}
_SGD = {"learning_rate": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)}
_ADAM = {"learning_rate": (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)}
GRIDS = [
  _SHARED | _SGD | {"optimizer": "sgd"},
  _SHARED | _ADAM | {"optimizer": "adam"},
]
