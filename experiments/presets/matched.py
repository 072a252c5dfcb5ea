r"""Five networks of the same number of parameters on music and on text.

  python experiments/sweep.py --preset=matched --sweep_dir=runs/matched

15 runs: Nottingham at two rates for each network, at most 200 passes; Penn
Treebank characters at one, at most 8. One seed. Of a network's two rates the
one with the lower validation error is told of. Chunks are of 200 steps; the
transformer sees one chunk, the others carry their state over.

144,000 parameters on music (139,000 to 145,000) and 300,000 on text (293,000 to
301,000): those of the paper's networks of 300 and 500 units, nearly.

Source: ours; the budget and batch are those of the preset `lstm` of train.py.
"""

_SHARED = {
  "algorithm": "msgd_c",
  "optimizer": "adam",
  "max_norm": 1.0,
  "form": "h",
  "activation": "tanh",
  "init": "orthogonal",
  "use_bias": True,
  "cost": "mean",
  "seeds": 1,
}
_MUSIC = {
  "data": "nottingham",
  "learning_rate": (0.001, 0.004),
  "batch_size": 4,
  "halve_after": 2,
  "max_epochs": 200,
}
_TEXT = {
  "data": "ptb",
  "learning_rate": 0.002,
  "batch_size": 16,
  "min_gain": 0.02,
  "patience": 4,
  "max_epochs": 8,
}
_GATE = {"forget_bias": "1"}
_NETWORKS = (
  ({"model": "elman"}, 302, 500),
  ({"model": "lstm"} | _GATE, 142, 244),
  ({"model": "gru"} | _GATE, 168, 284),
  ({"model": "lru"}, 152, 234),
  ({"model": "transformer", "layers": 2}, 72, 108),
)
GRIDS = [
  _SHARED | own | network | {"hidden_size": size}
  for network, music, text in _NETWORKS
  for own, size in ((_MUSIC, music), (_TEXT, text))
]
