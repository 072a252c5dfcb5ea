r"""Five kinds of positions, trained on 50 to 200 steps, for longer ones.

  python experiments/sweep.py --preset=lengths --sweep_dir=runs/lengths
  python experiments/evaluate.py --test=lengths --runs=runs/lengths \
    --lengths=100,200,400,1000,2000

25 runs, at most 62,500 updates. The other networks are those of `comparators`
that were trained on the same range.

Source: ours; the question is that of arXiv 2305.19466.
"""

from presets import comparators_search as search

GRIDS = [
  search.ADAM
  | {
    "model": "transformer",
    "positions": ("none", "sinusoidal", "learned", "rotary", "alibi"),
    "hidden_size": 64,
    "layers": 2,  # One block without positions sees a set.
    "task": "temporal_order",
    "length": 50,
    "max_length": 200,
    "learning_rate": 0.001,
    "seeds": 5,
    "max_updates": 2500,
  },
]
