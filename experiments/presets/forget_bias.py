r"""What one bias at the start of a gate changes: 0, 1, or chrono.

  python experiments/sweep.py --preset=forget_bias \
    --sweep_dir=runs/forget_bias

144 runs, at most 720,000 updates. Temporal order at 50 and 200 steps by Adam at
its customary rate. Nothing was searched for.

Source: ours. 0 is Flax's start, 1 that of Jozefowicz et al. (2015), chrono that
of arXiv 1804.11188.
"""

_SHARED = {
  "model": ("lstm", "gru", "mingru"),
  "forget_bias": ("0", "1", "chrono"),
  "algorithm": "msgd_c",
  "init": "orthogonal",
  "form": "h",
  "check_every": 250,
  "max_updates": 5000,
}
_ADAM = {"optimizer": "adam", "learning_rate": 0.001}
GRIDS = [
  _SHARED | _ADAM | {"length": (50, 200), "seeds": 8},
]
