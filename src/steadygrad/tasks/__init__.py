"""Tasks, by the name they have on the command line."""

from steadygrad.tasks.temporal_order import temporal_order

TASKS = {f.__name__: f for f in (temporal_order,)}

__all__ = ["TASKS", "temporal_order"]
