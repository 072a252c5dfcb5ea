"""What a run is made of: model, loss, chain, batches, and when it stops."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from steadygrad import losses
from steadygrad.data import music, streams, text
from steadygrad.data.corpus import Corpus
from steadygrad.symbols import Symbols
from steadygrad.tasks import make_task
from steadygrad.training import batches, evaluation, stopping
from steadygrad.training.algorithm import chain, omega_weight
from steadygrad.training.batches import Batches, Data
from steadygrad.training.config import (
  MUSIC,
  CorpusConfig,
  Hyper,
  TaskConfig,
  hyper,
)
from steadygrad.training.evaluation import Encoding
from steadygrad.training.networks import MODELS
from steadygrad.training.state import Stream
from steadygrad.training.stopping import Stopping
from steadygrad.types import Array, Batch, Model, PyTree, Task


class _Parts(NamedTuple):
  config: Any
  model: Model
  init: Callable[[Array], PyTree]
  loss: Callable[[Array, Batch], tuple[Array, dict[str, Array]]]
  chain: Callable[[Any], optax.GradientTransformationExtraArgs]
  batches: Batches
  stopping: Stopping
  task: Task | None = None
  corpus: Corpus | None = None
  data: PyTree = ()


class Experiment(_Parts):
  """What a run needs; `experiment` builds it from a configuration.

  Built by hand, or changed by `_replace`, with a model or a chain that no
  configuration has, it is as its parts say, while a record shows the
  configuration. So the batches must be of the task or data set that the
  configuration names (see `tasks.register_task`); nothing compares hidden_size,
  learning_rate and the like with model and chain.

  Attributes:
    config: the `TaskConfig` or `CorpusConfig`, resolved.
    model: the `Model`.
    init: key of a seed -> params.
    loss: (outputs, batch) -> (cost [], {name: float32 []} that is summed up:
      "loss", and on a corpus "steps", over which its mean is).
    chain: verdict of `stopping` -> Optax chain; `update` takes `trajectory=`.
    batches: where its batches come from.
    stopping: when it ends.
    task: the `Task`; None on a corpus.
    corpus: the `Corpus`; None on a task.
    data: arrays that all seeds share, `Data.shared`.

  Raises:
    ValueError: if the configuration names another task or data set.
  """

  __slots__ = ()

  def __new__(cls, config, *parts, **named):  # noqa: D102
    self = super().__new__(cls, config, *parts, **named)
    field = "data" if isinstance(config, CorpusConfig) else "task"
    if self.batches.name != (wanted := getattr(config, field)):
      raise ValueError(
        f"{field} must be {wanted}, as the configuration says, got"
        f" {self.batches.name}; register_task gives a task of your own a name"
        " that a configuration may have"
      )
    return self

  def _replace(self, /, **changes):
    # A tuple's own goes past `__new__`, and so past its check.
    return type(self)(**self._asdict() | changes)


def experiment(
  config: TaskConfig | CorpusConfig,
  traced: Hyper | None = None,
  *,
  corpus: Corpus | None = None,
  implementation: str | None = None,
) -> Experiment:
  """The experiment of a configuration.

  Args:
    config: the configuration.
    traced: numbers in place of the configuration's, traced ones too: built
      inside a function of them, one program serves all their values.
    corpus: the data of a `CorpusConfig`.
    implementation: of the fused passes, see `kernels.elman_scan`. It changes
      the speed and the last bits, not the experiment.

  Raises:
    ValueError: if a `CorpusConfig` comes without a corpus.

  Example:
    >>> import jax
    >>> from steadygrad.training import TaskConfig, experiment
    >>> exp = experiment(TaskConfig(length=20, algorithm="msgd_cr"))
    >>> exp.task.name, exp.model.cell.init(jax.random.key(0))["w_rec"].shape
    ('temporal_order', (50, 50))
  """
  numbers = traced or hyper(config)
  if isinstance(config, CorpusConfig):
    if corpus is None:
      raise ValueError(f"corpus must be given for {config.data}, got None")
    return _on_corpus(config, corpus, numbers, implementation)
  return _on_task(config.resolved(), numbers, implementation)


def model_of(
  config: TaskConfig | CorpusConfig,
  input_size: int,
  output_size: int,
  reads: str,
  implementation: str | None = None,
) -> Model:
  """The model of a configuration.

  Args:
    config: the configuration.
    input_size: M.
    output_size: O.
    reads: "last" or "every", see `linear_readout`.
    implementation: as for `experiment`.
  """
  config = config.resolved()
  make = MODELS[config.model]
  return make(config, input_size, output_size, reads, implementation)


def _on_task(config: TaskConfig, numbers: Hyper, implementation) -> Experiment:
  task = make_task(config.task, config.length, config.max_length)
  if config.solved_below is not None:
    task = task._replace(solved_below=config.solved_below)
  if config.label_smoothing:
    loss = functools.partial(
      losses.cross_entropy, smoothing=config.label_smoothing
    )
    task = task._replace(loss=loss)
  model = model_of(
    config, task.input_size, task.output_size, task.reads, implementation
  )

  def loss_fn(outputs, batch):
    value = task.loss(outputs, batch)
    return value, {"loss": value}

  tx = chain(config, model.cell, numbers, numbers.learning_rate)
  return Experiment(
    config,
    model,
    init=lambda key: model.init(jax.random.fold_in(key, Stream.INIT)),
    loss=loss_fn,
    chain=lambda _: tx,
    batches=batches.fresh(
      task,
      model,
      config.batch_size,
      config.check_every,
      initial_state_scale=config.initial_state_scale,
    ),
    stopping=stopping.until_solved(
      task, model, config.check_size, config.test_size, go_on=config.go_on
    ),
    task=task,
  )


def encoding(data: str, num_symbols: int) -> Encoding:
  """The encoding of a data set."""
  if data in MUSIC:
    return Encoding(lambda rows: rows.astype(jnp.float32), music.step_losses)
  one_hot = functools.partial(jax.nn.one_hot, num_classes=num_symbols)
  return Encoding(one_hot, text.step_losses)


def _on_corpus(
  config: CorpusConfig, corpus: Corpus, numbers: Hyper, implementation
) -> Experiment:
  size = corpus.num_symbols
  coded = encoding(config.data, size)
  if config.data not in MUSIC:
    coded = coded._replace(encode=functools.partial(Symbols, size=size))
  model = model_of(config, size, size, "every", implementation)

  def chain_of(verdict):
    weight = omega_weight(config, numbers.omega_weight, verdict.epoch)
    now = numbers._replace(omega_weight=weight)
    return chain(config, model.cell, now, verdict.rate)

  return Experiment(
    config,
    model,
    init=model.init,
    loss=functools.partial(chunk_cost, config.cost, coded.step_losses),
    chain=chain_of,
    batches=batches.chunks(
      config.data,
      corpus.training,
      model,
      coded.encode,
      config.batch_size,
      config.chunk_length,
      shuffled=config.data in MUSIC,
    ),
    stopping=stopping.by_patience(
      _halving(config),
      numbers.learning_rate,
      _evaluation(config, corpus, model, coded),
      lambda data, split: jnp.sum(data.shared[split][1].lengths),
      lambda params, verdict: chain_of(verdict).init(params),
    ),
    corpus=corpus,
    data=_data(config, corpus),
  )


def _data(config: CorpusConfig, corpus: Corpus) -> dict[str, PyTree]:
  """Rows to train on, and each split's rows and plan of an evaluation."""
  data: dict[str, PyTree] = {"training": corpus.training.rows}
  for split, stream in corpus.streams.items():
    lanes = min(config.eval_lanes, len(stream.lengths))
    plan = streams.deal(stream, lanes, config.chunk_length)
    data[split] = stream.rows, plan
  return data


def _evaluation(
  config: CorpusConfig, corpus: Corpus, model: Model, coded: Encoding
) -> Callable[[Data, str, PyTree], Array]:
  """(data, split, params) -> total loss of each piece, in nats."""

  def evaluate(data, split, params):
    stream, (rows, plan) = corpus.streams[split], data.shared[split]
    return evaluation.piece_losses(
      model,
      coded,
      rows,
      stream.ahead,
      config.chunk_length,
      plan,
      params,
      len(stream.lengths),
    )

  return evaluate


def _halving(config: CorpusConfig) -> stopping.Halving:
  return stopping.Halving(
    patience=config.patience,
    max_halvings=config.max_halvings,
    min_gain=config.min_gain,
    halve_after=config.halve_after,
    go_back=config.go_back,
  )


def chunk_cost(
  cost: str, step_losses: Callable, outputs: Array, batch: Batch
) -> tuple[Array, dict[str, Array]]:
  """(cost, {"loss": sum of the steps' losses, "steps"}), in nats.

  Args:
    cost: "mean" over all steps of the chunks of the update, each step with the
      same weight; "sum" over the steps of a chunk, and the mean over the chunks
      with any.
    step_losses: (outputs, target rows) -> nats, [...].
    outputs: of the model, [T, B, O].
    batch: of chunks.
  """
  lengths = jnp.asarray(batch.lengths)
  found = step_losses(outputs, batch.targets)
  total = jnp.sum(evaluation.masked(found, lengths))
  steps = jnp.sum(lengths)
  count = steps if cost == "mean" else jnp.sum(lengths > 0)
  value = total / jnp.maximum(count, 1).astype(total.dtype)
  return value, {"loss": total, "steps": steps.astype(jnp.float32)}
