"""Checkpoints by Orbax, with a sha256 of every array verified on restore.

Orbax writes a checkpoint beside its place and renames it, so a killed process
leaves a whole checkpoint or none; but it loads a payload with a flipped bit
without a word. Here the digests of all arrays, and of the metadata itself, are
saved with them, and what does not verify is moved aside, never deleted.
"""

import hashlib
import json
import pathlib
import shutil
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp

KEEP = 2


class Restored(NamedTuple):
  """What `Checkpoints.restore` found.

  Attributes:
    step: number of the checkpoint; None if there was none to use.
    arrays: {name: array}.
    meta: as it was saved.
    problems: a sentence for each newer checkpoint that could not be used.
  """

  step: int | None
  arrays: dict[str, np.ndarray]
  meta: dict[str, Any]
  problems: list[str]


def _digest(array: np.ndarray) -> str:
  array = np.ascontiguousarray(array)
  header = f"{array.dtype.str}{array.shape}".encode()
  return hashlib.sha256(header + array.tobytes()).hexdigest()


def _digests(arrays: dict, meta: dict) -> dict[str, str]:
  text = json.dumps(meta, sort_keys=True).encode()
  digests = {name: _digest(np.asarray(x)) for name, x in arrays.items()}
  return digests | {"": hashlib.sha256(text).hexdigest()}


class Checkpoints:
  """The last two checkpoints of a run, in a directory of their own."""

  def __init__(self, directory: str | pathlib.Path):
    self._directory = pathlib.Path(directory).absolute()
    self._manager = self._open()

  def _open(self) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
      max_to_keep=KEEP, enable_async_checkpointing=False
    )
    return ocp.CheckpointManager(self._directory, options=options)

  def save(self, step: int, arrays: dict[str, Any], meta: dict) -> None:
    """Writes a checkpoint atomically and drops all but the newest two.

    Args:
      step: its number, larger than any before.
      arrays: {name: array}, names without "/".
      meta: anything JSON holds.
    """
    arrays = {name: np.asarray(x) for name, x in arrays.items()}
    envelope = {"meta": meta, "sha256": _digests(arrays, meta)}
    args = ocp.args.Composite(
      arrays=ocp.args.StandardSave(arrays), envelope=ocp.args.JsonSave(envelope)
    )
    self._manager.save(step, args=args)
    self._manager.wait_until_finished()

  def restore(self) -> Restored:
    """The newest checkpoint that verifies.

    Newer ones that do not are moved to the sibling directory "damaged" and
    named in `problems`.
    """
    problems = []
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        arrays, meta = self._load(step)
      except Exception as e:  # Orbax raises whatever its backends raise.
        reason = str(e).strip().splitlines() or [type(e).__name__]
        place = self._set_aside(step)
        problems.append(
          f"checkpoint {step} is damaged ({reason[0][:200]}); moved to {place}"
        )
      else:
        return Restored(step, arrays, meta, problems)
    return Restored(None, {}, {}, problems)

  def _load(self, step: int) -> tuple[dict, dict]:
    args = ocp.args.Composite(
      arrays=ocp.args.StandardRestore(), envelope=ocp.args.JsonRestore()
    )
    restored = self._manager.restore(step, args=args)
    arrays, envelope = dict(restored.arrays), restored.envelope
    found = _digests(arrays, envelope["meta"])
    for name in sorted(found.keys() | envelope["sha256"].keys()):
      if found.get(name) != envelope["sha256"].get(name):
        what = f"array {name}" if name else "metadata"
        raise ValueError(f"sha256 of {what} does not match")
    return arrays, envelope["meta"]

  def _set_aside(self, step: int) -> pathlib.Path:
    self._manager.close()
    damaged = self._directory.parent / "damaged"
    damaged.mkdir(exist_ok=True)
    number = 0
    while (place := damaged / f"{step}.{number}").exists():
      number += 1
    shutil.move(self._directory / str(step), place)
    self._manager = self._open()
    return place

  def close(self) -> None:
    self._manager.close()
