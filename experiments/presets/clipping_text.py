r"""In which window of learning rates does each rule of clipping learn a text?

  python experiments/sweep.py --preset=clipping_text \
    --sweep_dir=runs/clipping_text
  python experiments/draw.py --figure=windows --records=runs/clipping_text \
    --out=clipping_text.png
  python experiments/draw.py --figure=windows_table \
    --records=runs/clipping_text

120 runs, one pass each: 3,136 updates. Characters of the Penn Treebank in
chunks of 50, batch 32, 64 units, AdamW. Each rule has the numbers that were
published with it; Algorithm 1 and ZClip clip to 1. A seed has learned once its
validation error is under 2.5 bits a character; the first-order floor is 3.39.

Source: ours. Nothing was searched for.
"""

RULES = (
  {"clip": ("by_norm", "zclip"), "max_norm": 1.0},
  {"clip": ("agc", "none")},  # They have no threshold.
)
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)
_SHARED = {
  "data": "ptb",
  "algorithm": "msgd_c",
  "optimizer": "adamw",
  "form": "h",
  "activation": "tanh",
  "init": "orthogonal",
  "use_bias": True,
  "cost": "mean",
  "hidden_size": 64,
  "batch_size": 32,
  "chunk_length": 50,
  "max_epochs": 1,
  "seeds": 3,
}

GRIDS = [
  _SHARED | network | rule | {"learning_rate": RATES}
  for network in (
    {"model": "lstm", "forget_bias": "1"},
    {"model": "transformer", "layers": 2},
  )
  for rule in RULES
]
