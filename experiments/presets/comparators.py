r"""Twelve networks, and the paper's methods, on eight problems.

  python experiments/sweep.py --preset=comparators \
    --sweep_dir=runs/comparators

795 runs, at most 8,850,000 updates.

Every network has 50 units (the transformer 64), batch 20, and a norm clipped to
1. The rate of each is the best of three in `comparators_search`, on temporal
order of 100 steps and seeds 90 to 92; it is not searched for again on the other
problems. The Elman network by SGD has the paper's rate .01. A cell that is not
run is a dash in the table.

Source: ours; parity and flip_flop as arXiv 2411.12537 and 2306.00946 have them.
"""

from presets import comparators_search as search

# The best rate of `comparators_search` for each network: most seeds solved,
# then fewest updates in the median, then the smallest mean error.
ADAM = {
  "elman": 0.003,  # None of three solves.
  "leaky": 0.003,
  "residual": 0.003,
  "irnn": 0.0003,
  "highway": 0.003,
  "layer_norm": 0.001,  # None solves.
  "lstm": 0.001,
  "gru": 0.003,
  "mingru": 0.001,
  "lru": 0.003,
  "attention": 0.001,
  "transformer": 0.001,
}
SGD = {
  "leaky": 0.1,
  "residual": 1.0,
  "irnn": 0.1,  # None solves.
  "highway": 1.0,
  "layer_norm": 0.1,  # None solves.
  "lstm": 0.1,
  "gru": 0.1,  # None solves.
  "mingru": 0.1,
  "lru": 0.1,
  "attention": 0.1,
}
# With Omega as well.
OMEGA = {"elman": 0.003, "leaky": 0.003}
# Cheapest first: what is cut off when time is over is the dearest.
PROBLEMS = (
  {"task": "parity", "length": 1, "max_length": 40},
  {"task": "temporal_order", "length": 100},
  {"task": "three_bit_temporal_order", "length": 100},
  {"task": "random_permutation", "length": 100},
  {"task": "memorization_5_bits", "length": 100},
  {"task": "copy", "length": 100},
  {"task": "temporal_order", "length": 50, "max_length": 200},
  {"task": "adding", "length": 50, "max_length": 200},
  {"task": "temporal_order", "length": 200},
  {"task": "flip_flop", "length": 200},
)
# Networks whose update at 500 steps takes under 25 ms.
QUICK = ("elman", "leaky", "residual", "attention", "layer_norm", "highway")
QUICK = (*QUICK, "irnn", "lstm", "gru")
# Answers at every step are one attention each: .4 s an update on a CPU core.
TOO_SLOW = (("attention", "memorization_5_bits"), ("attention", "copy"))
_LONGER = {"task": "temporal_order", "length": 500}
_SGD = {"optimizer": "sgd", "task": "temporal_order", "length": 100}
_BUDGET = {"seeds": 5, "max_updates": 10_000}


def _line(model: str, rate: float) -> dict:
  """The settings of a network, which `comparators_search` has too."""
  gate = {"forget_bias": "1"} if model in search.GATED else {}
  size = {"hidden_size": 64} if model == "transformer" else {}
  own = {"model": model, "learning_rate": rate} | _BUDGET
  return search.ADAM | own | gate | size


GRIDS = [
  *(
    _line(m, ADAM[m]) | problem
    for problem in PROBLEMS
    for m in ADAM
    if (m, problem["task"]) not in TOO_SLOW
  ),
  *(_line(m, SGD[m]) | _SGD for m in SGD),
  # The paper's methods, to the budget of the other experiments.
  *(
    _line("elman", 0.01)
    | _SGD
    | {"algorithm": algorithm, "max_updates": 100_000}
    for algorithm in ("msgd_cr", "msgd_c")
  ),
  *(
    _line(m, OMEGA[m]) | {"algorithm": "msgd_cr"} | problem
    for problem in PROBLEMS
    for m in OMEGA
  ),
  *(_line(m, ADAM[m]) | _LONGER for m in QUICK),
]
