r"""In which window of learning rates does each rule of clipping learn?

  python experiments/sweep.py --preset=clipping --sweep_dir=runs/clipping
  python experiments/draw.py --figure=windows --records=runs/clipping \
    --out=clipping.png
  python experiments/draw.py --figure=windows_table --records=runs/clipping

4140 runs, at most 8,280,000 updates. Temporal order of 50 steps; four networks,
by SGD at .001 to 10 and by AdamW at .0001 to 1, in half decades. Each rule has
the numbers that were published with it. Algorithm 1 has the threshold 1, and in
further runs the average norm of the network. A seed has learned once 18 of 20
losses in a row are under .05. No seed that is finite ends before its last
update, so that spikes are counted over equal times.

The average norm is that of 500 updates of SGD at .1, clipped to 1, on seeds 90
to 92, rounded to one digit: of residual and LSTM. That of the Elman network and
of the transformer rounds to 1. The commands, for MODEL=elman, residual, lstm
(--forget_bias=1) and transformer (--hidden_size=64):

  python experiments/sweep.py --model=MODEL --length=50 --init=orthogonal \
    --algorithm=msgd_c --learning_rate=0.1 --max_updates=500 \
    --check_every=500 --check_size=50 --test_size=50 --go_on=true --seeds=3 \
    --first_seed=90 --sweep_dir=runs/norms
  python experiments/evaluate.py --test=threshold --runs=runs/norms

Source: ours; the rules' are in `steadygrad.transforms.clipping`. The average
norm as a threshold is section 3.2's [I], which finds half to ten times of it to
converge.
"""

AVERAGE_NORMS = {"elman": 1.0, "residual": 8.0, "lstm": 5.0, "transformer": 1.0}
MODELS = {
  "elman": {},
  "residual": {},
  "lstm": {"forget_bias": "1"},
  "transformer": {"hidden_size": 64},
}
RULES = ("by_norm", "value", "by_leaf", "agc", "autoclip", "zclip", "adagc")
RULES = (*RULES, "spam", "skip", "normalise", "none")
RATES = {
  "sgd": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
  "adamw": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
}
_SHARED = {
  "task": "temporal_order",
  "length": 50,
  "init": "orthogonal",
  "algorithm": "msgd_c",
  "max_updates": 2000,
  "check_every": 250,
  "check_size": 250,
  "go_on": True,
  "seeds": 5,
}


def _grid(model: str, optimizer: str, **rule) -> dict:
  own = {"model": model, "optimizer": optimizer} | MODELS[model]
  return _SHARED | own | {"learning_rate": RATES[optimizer]} | rule


GRIDS = [
  _grid(model, optimizer, **rule)
  for model in MODELS
  for optimizer in RATES
  for rule in ({"clip": RULES}, {"max_norm": AVERAGE_NORMS[model]})
]
