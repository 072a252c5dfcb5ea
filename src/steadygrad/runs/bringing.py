"""The files of runs, brought from several processes to the first.

Where all have one disk there is nothing to bring.
"""

import hashlib
import json
import pathlib

from steadygrad import files
from steadygrad.runs import sweeps
from steadygrad.runs.directories import Directory
from steadygrad.runs.hosts import Hosts


def bring(hosts: Hosts, directory: Directory, runs: list[str]) -> None:
  """Gives process 0 the states and records that it does not have.

  Args:
    hosts: the processes; each calls this function, with its runs at their end.
    directory: of this process.
    runs: names; run i is of process i mod the number of processes.
  """
  key = hosts.next_key()
  if not hosts.first:
    own = [
      p
      for name in runs[hosts.index :: hosts.count]
      for p in _of(directory, name)
    ]
    told = {str(p.relative_to(directory.path)): _digest(p) for p in own}
    hosts.tell(f"{key}/has/{hosts.index}", json.dumps(told).encode())
    for name in json.loads(hosts.ask(f"{key}/wants/{hosts.index}")):
      hosts.tell(f"{key}/{name}", (directory.path / name).read_bytes())
    return
  for other in range(1, hosts.count):
    told = json.loads(hosts.ask(f"{key}/has/{other}"))
    wanted = [n for n, d in told.items() if _digest(directory.path / n) != d]
    hosts.tell(f"{key}/wants/{other}", json.dumps(wanted).encode())
    for name in wanted:
      files.write_whole(directory.path / name, hosts.ask(f"{key}/{name}"))
      hosts.forget(f"{key}/{name}")


def _of(directory: Directory, name: str) -> list[pathlib.Path]:
  """The state first: a record without one could not go on."""
  place = directory.path
  return [sweeps.state_path(place, name), sweeps.record_path(place, name)]


def _digest(path: pathlib.Path) -> str | None:
  try:
    return hashlib.sha256(path.read_bytes()).hexdigest()
  except FileNotFoundError:
    return None
