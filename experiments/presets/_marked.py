"""What the presets of addition, multiplication and adding have in common."""


def ours(task: str, constant_updates: int) -> list[dict]:
  """Grids of our settings, chosen with other seeds.

  Args:
    task: its name.
    constant_updates: at which runs at a constant rate are cut.
  """
  base = {
    "task": task,
    "length": 10,
    "init": "orthogonal",
    "algorithm": ["msgd", "msgd_c", "msgd_cr"],
    "hidden_size": 50,
    "max_norm": 1.0,
    "omega_weight": 2.0,
    "seeds": 5,
    "first_seed": 100,
  }
  # An orthogonal start, short sequences among the long ones, a falling rate.
  falling = [
    base
    | {
      "max_length": longest,
      "learning_rate": 0.06,
      "learning_rate_half_life": half_life,
      "max_updates": updates,
    }
    for longest, half_life, updates in (
      (100, 20_000, 150_000),
      (200, 40_000, 250_000),
    )
  ]
  constant = {
    "max_length": [100, 200],
    "learning_rate": 0.03,
    "max_updates": constant_updates,
  }
  return [*falling, base | constant]
