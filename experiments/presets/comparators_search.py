r"""The learning rate of each network in `comparators`, on seeds of their own.

  python experiments/sweep.py --preset=comparators_search \
    --sweep_dir=runs/comparators_search

216 runs, at most 1,080,000 updates. Three rates each, on seeds 90 to 92, which
`comparators` does not have: the best is the one with most seeds solved, then
with the fewest updates, then with the smallest error.

Source: ours.
"""

MODELS = ("leaky", "residual", "irnn", "highway", "layer_norm", "lru")
MODELS = (*MODELS, "attention")
GATED = ("lstm", "gru", "mingru")
# Every line of the table; settings are the paper's where it has them.
COMMON = {
  "hidden_size": 50,
  "batch_size": 20,
  "max_norm": 1.0,
  "init": "orthogonal",
  "form": "h",
  "check_every": 250,
}
ADAM = COMMON | {"optimizer": "adam", "algorithm": "msgd_c"}
LINES = [
  ADAM | {"model": MODELS},
  ADAM | {"model": GATED, "forget_bias": "1"},
  ADAM | {"model": "transformer", "hidden_size": 64},
  ADAM | {"model": "elman"},
  ADAM | {"model": ("elman", "leaky"), "algorithm": "msgd_cr"},
]
_SEARCH = {
  "task": "temporal_order",
  "length": 100,
  "learning_rate": [0.0003, 0.001, 0.003],
  "first_seed": 90,
  "seeds": 3,
  "max_updates": 5000,
}
_SGD = {"optimizer": "sgd", "learning_rate": [0.01, 0.1, 1.0]}
GRIDS = [line | _SEARCH for line in LINES] + [
  line | _SEARCH | _SGD
  for line in LINES[:2]  # Elman's with SGD are the paper's own.
]
