"""Training: configurations, experiments, pure functions that move a seed."""

from steadygrad.training._experiment import (
  Experiment,
  encoding,
  experiment,
  model_of,
)
from steadygrad.training._update import (
  advance,
  chunk,
  init,
  judge,
  run,
  update,
)
from steadygrad.training.batches import Batches, Data
from steadygrad.training.config import (
  CorpusConfig,
  Hyper,
  TaskConfig,
  hyper,
  program,
  program_numbers,
)
from steadygrad.training.networks import MODELS
from steadygrad.training.state import Status, Stream, TrainState
from steadygrad.training.stopping import Stopping, by_patience, until_solved

__all__ = [
  "MODELS",
  "Batches",
  "CorpusConfig",
  "Data",
  "Experiment",
  "Hyper",
  "Status",
  "Stopping",
  "Stream",
  "TaskConfig",
  "TrainState",
  "advance",
  "by_patience",
  "chunk",
  "encoding",
  "experiment",
  "hyper",
  "init",
  "judge",
  "model_of",
  "program",
  "program_numbers",
  "run",
  "until_solved",
  "update",
]
