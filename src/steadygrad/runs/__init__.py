"""What the host does around training: files, locks, processes.

`load` reads a run that has ended.
"""

__all__ = ["load"]


def __getattr__(name: str):
  # JAX takes a second to import, and launchers answer Ctrl-C before that.
  if name == "load":
    from steadygrad.runs.loading import load

    return load
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
