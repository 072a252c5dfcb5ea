"""Addition and multiplication but for the answer: a task whose length varies.

The steps of a batch are drawn from [L, L + L/10), the marks fall on the first
tenth of them and on the tenths two to five, as in the authors' code.
"""

import functools
from collections.abc import Callable

import jax

from steadygrad import losses
from steadygrad.tasks import _lengths, _marked
from steadygrad.types import Array, Batch, Task

MIN_LENGTH = 10  # Under it the first tenth is empty.


def task(
  name: str,
  answer: Callable[[Array, Array], Array],
  chance_error: float,
  chance_loss: float,
  length: int,
  max_length: int | None,
) -> Task:
  """The task of that name and answer; see `addition`."""
  length, max_length = _lengths.check(name, length, max_length, MIN_LENGTH)
  return Task(
    name=name,
    input_size=2,
    output_size=1,
    reads="last",
    sample=functools.partial(_sample, answer, length, max_length),
    loss=losses.squared_error,
    wrong=losses.off_by_a_fifth,
    chance_error=chance_error,
    chance_loss=chance_loss,
  )


def _places(num_steps):
  return 0, num_steps // 10, num_steps // 2


def _sample(answer, length, max_length, key: Array, batch_size: int) -> Batch:
  key_length, key_stretch, key_rest = jax.random.split(key, 3)
  drawn = _lengths.draw(key_length, length, max_length)
  drawn = length if drawn is None else drawn
  lengths = drawn + jax.random.randint(key_stretch, (), 0, drawn // 10)
  longest = _lengths.longest(length, max_length)
  num_steps = longest + longest // 10 - 1
  return _marked.sample(
    _places, answer, num_steps, lengths, key_rest, batch_size
  )
