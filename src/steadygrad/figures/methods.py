"""A Markdown table of training records: what each method solved."""

import numpy as np

from steadygrad import records
from steadygrad.figures.labels import METHODS

_HEADER = (
  "| method | seeds | solved, 95 % interval | updates to solve, median (range)"
  " | error on 10000 others, median (range) | chance | cut at |\n"
  "|---|---|---|---|---|---|---|"
)


def row(record: dict) -> str:
  """A line of the table."""
  config, results = record["config"], record["results"]
  low, high = results["success_interval"]
  solved = [n for n in results["updates_to_solve"] if n is not None]
  updates = "none"
  if solved:
    updates = f"{np.median(solved):.0f} ({min(solved)} to {max(solved)})"
  errors = 100 * records.numbers(results["test_error"])
  return (
    f"| {METHODS[config['algorithm']]} | {config['seeds']} |"
    f" {len(solved)}, {low:.0%} to {high:.0%} | {updates} |"
    f" {np.median(errors):.2f} % ({errors.min():.2f} to {errors.max():.2f}) |"
    f" {results['chance_error']:.0%} | {results['max_updates']} |"
  )


def table(found: list[dict]) -> str:
  """The whole table, in the order of the records."""
  return "\n".join([_HEADER, *map(row, found)])
