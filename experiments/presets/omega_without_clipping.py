"""Omega with clipping and without: the footnote says that it usually explodes.

  python experiments/sweep.py --preset=omega_without_clipping \\
    --sweep_dir=runs/figure_7

40 runs, at most 4,000,000 updates. Half of them are runs of `figure_7` and are
not repeated in its directory. A run whose parameters are not finite is recorded
as diverged.

Source: ICML, section 4.1, footnote [I].
"""

import math

GRIDS = [
  {
    "task": "temporal_order",
    "length": [50, 100],
    "init": ["basic_tanh", "smart_tanh"],
    "algorithm": "msgd_cr",
    "max_norm": [1.0, math.inf],
    "seeds": 5,
    "max_updates": 100_000,
  }
]
