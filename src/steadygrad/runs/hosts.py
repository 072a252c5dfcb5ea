"""The processes of one run on several machines: `jax.distributed`.

What they tell each other goes through the store of JAX's coordination service,
which process 0 runs: no collective, no common disk. If one of them dies the
service ends the others, some of them in C++; see `parents`.
"""

import contextlib
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any

HEARTBEAT_SECONDS = 30  # Without a sign of life a process is dead.
_ROOT = "steadygrad"  # Of all keys.
_PIECE = 1 << 22  # Bytes of what is told at a time.
_WAIT_MS = 1000  # As long as an answer is waited for between two signals.
ADVICE = (
  "another process of this run has died or cannot be reached. Start all of"
  " them again with the same commands; they go on from what is saved"
)


class Gone(Exception):
  """Another process of the run has died."""


class Hosts:
  """The processes of one run; this one is number `index` of `count`.

  They call `same`, `meet` and `next_key` equally often, in the same order.
  """

  def __init__(self, index: int = 0, count: int = 1, client: Any = None):
    self.index, self.count = index, count
    self._client, self._number = client, 0
    self._forgotten = self._heard = 1

  @property
  def first(self) -> bool:
    """Whether this is process 0, which writes what is of all."""
    return self.index == 0

  def next_key(self) -> str:
    """A key that was not in use before."""
    self._number += 1
    return f"{_ROOT}/{self._number}"

  def tell(self, key: str, data: bytes) -> None:
    """Says something under a key, once."""
    if self.count == 1:
      return
    pieces = [data[i : i + _PIECE] for i in range(0, len(data), _PIECE)]
    with _reaching():
      for i, piece in enumerate(pieces):
        self._client.key_value_set_bytes(f"{key}/{i}", piece)
      self._client.key_value_set_bytes(f"{key}/of", b"%d" % len(pieces))

  def ask(self, key: str) -> bytes:
    """What another process tells under a key; waits for it.

    Raises:
      Gone: if a process has died.
    """
    count = int(self._ask(f"{key}/of"))
    return b"".join(self._ask(f"{key}/{i}") for i in range(count))

  def _ask(self, key: str) -> bytes:
    while True:
      try:
        with _reaching():
          return self._client.blocking_key_value_get_bytes(key, _WAIT_MS)
      except TimeoutError:
        continue  # Between two calls Python runs its signal handlers.

  def forget(self, key: str) -> None:
    """Nobody will ask for it any more."""
    if self.count > 1:
      with _reaching():
        self._client.key_value_delete(key)

  def same(self, value: Any) -> Any:
    """Process 0's value, which JSON can hold, in all of them."""
    if self.count == 1:
      return value
    key = self.next_key()
    if not self.first:
      return json.loads(self.ask(key))
    self.tell(key, json.dumps(value).encode())
    return value

  def heard(self) -> None:
    """All know what was said before this was called the last time.

    The store would grow from day to day.
    """
    if self.first:
      for number in range(self._forgotten, self._heard):
        self.forget(f"{_ROOT}/{number}")
      self._forgotten, self._heard = self._heard, self._number + 1

  def meet(self) -> None:
    """Process 0 waits for all others."""
    key = self.next_key()
    if not self.first:
      self.tell(f"{key}/{self.index}", b"")
      return
    for other in range(1, self.count):
      self.ask(f"{key}/{other}")

  def ask_to_stop(self) -> None:
    """Tells process 0 that this one was told to stop."""
    self.tell(f"{_ROOT}/stop/{self.index}", b"")

  def asked_to_stop(self) -> bool:
    """Whether another process was told to stop."""
    if self.count == 1:
      return False
    with _reaching():
      return bool(self._client.key_value_dir_get_bytes(f"{_ROOT}/stop/"))


ONE = Hosts()


@contextlib.contextmanager
def _reaching():
  """What JAX raises, as TimeoutError or `Gone`."""
  import jax

  try:
    yield
  except jax.errors.JaxRuntimeError as e:
    if "DEADLINE_EXCEEDED" in str(e):
      raise TimeoutError from e
    raise Gone(f"{str(e).splitlines()[0]}: {ADVICE}") from e


def check(
  distributed: bool,
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
) -> None:
  """ValueError, naming flags, unless all of the last three are given or none.

  Args:
    distributed: whether there are several processes.
    coordinator: "host:port" of process 0.
    num_processes: how many.
    process_id: which of them this is, from 0.
  """
  given = {
    "coordinator": coordinator,
    "num_processes": num_processes,
    "process_id": process_id,
  }
  missing = [name for name, value in given.items() if value is None]
  told = ", ".join(f"{k}={v}" for k, v in given.items() if v is not None)
  if told and not distributed:
    raise ValueError(f"distributed must be given with {told}: --distributed")
  if told and missing:
    raise ValueError(
      f"{' and '.join(missing)} must be given with {told}; or none of the"
      " three, under SLURM, Open MPI and on TPU pods"
    )
  if coordinator is None or num_processes is None or process_id is None:
    return
  if not re.fullmatch(r"[^\s/]+:\d+", coordinator):
    raise ValueError(
      "coordinator must be HOST:PORT of process 0, with a port that is free,"
      f" got {coordinator!r}"
    )
  if not 0 <= process_id < num_processes:
    raise ValueError(
      "process_id must be at least 0 and less than num_processes, got"
      f" {process_id} of {num_processes}"
    )


def begin(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> Hosts:
  """Waits until all processes are there; before JAX is first used.

  Args:
    coordinator: "host:port" of process 0; it and the others are None where JAX
      finds them, under SLURM, Open MPI and on TPU pods.
    num_processes: how many.
    process_id: which of them this is, from 0.

  Raises:
    ValueError: if there are none to be found, or they cannot be reached.
  """
  import jax

  for name, value in (
    # It would take SIGTERM away from `signals`.
    ("jax_enable_preemption_service", False),
    ("jax_cpu_collectives_implementation", "gloo"),
  ):
    with contextlib.suppress(AttributeError):  # Of other versions of JAX.
      jax.config.update(name, value)
  options: Mapping[str, Any] = {"heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
  known = inspect.signature(jax.distributed.initialize).parameters
  given = coordinator, num_processes, process_id
  try:
    jax.distributed.initialize(
      *given, **{k: v for k, v in options.items() if k in known}
    )
  except ValueError as e:
    raise ValueError(
      "coordinator, num_processes and process_id must be given here, where"
      f" there is neither SLURM nor Open MPI nor a TPU pod: {e}"
    ) from e
  except RuntimeError as e:
    raise ValueError(
      f"coordinator must be an address that all processes reach, got"
      f" {coordinator or 'none'}: {str(e).splitlines()[0]}"
    ) from e
  # JAX itself keeps its store to itself; Orbax takes the same way to it.
  from jax._src import distributed

  state = distributed.global_state
  return Hosts(state.process_id, state.num_processes, state.client)
