"""One network for every length from 50 to 200, then tested far beyond.

  python experiments/sweep.py --preset=one_model --sweep_dir=runs/one_model
  python experiments/generalise.py --runs=runs/one_model
  python experiments/draw.py --figure=generalisation --sweeps=runs/one_model

3 runs, at most 1,200,000 updates. The second command tests the solved ones on
10000 sequences at each of 50 to 5000 steps, where the paper has no error [I].
The authors' log first passes 1 % at 280,000 updates, with weight 2 [C].

Source: ICML, section 4.1 [I]. The paper has 5 seeds and 5,000,000 updates [I].
"""

GRIDS = [
  {
    "task": "temporal_order",
    "length": 50,  # [I]
    "max_length": 200,  # [I]
    "init": "basic_tanh",  # [I]
    "algorithm": "msgd_cr",  # [I]
    "hidden_size": 50,  # [I]
    "learning_rate": 0.01,  # [I]
    "max_norm": 1.0,  # [I]
    "omega_weight": 4.0,  # [I]
    "seeds": 3,
    "max_updates": 400_000,
  }
]
