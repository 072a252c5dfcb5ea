"""What presets of ours share whose networks start quietly."""

# From `orthogonal_quiet`, where error signals reach back far.
QUIET = {
  "init": "orthogonal_quiet",
  "algorithm": ["msgd", "msgd_c", "msgd_cr"],
  "hidden_size": 50,
  "learning_rate": 0.01,
  "max_norm": 1.0,
  "omega_weight": 4.0,
  "seeds": 5,
  "first_seed": 100,  # Chosen with others.
  "max_updates": 100_000,
}


def at_each_length(task: str) -> dict:
  """A grid of one network for each length."""
  return {"task": task, "length": [50, 100, 150, 200]} | QUIET
