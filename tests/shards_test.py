"""Parts of a sweep: of a flag, or of a task of a SLURM array."""

import pytest

from steadygrad.runs import shards


def array(task, count, least=0, step=None):
  values = {"ID": task, "COUNT": count, "MIN": least, "STEP": step}
  return {
    f"SLURM_ARRAY_TASK_{k}": str(v) for k, v in values.items() if v is not None
  }


@pytest.mark.parametrize("count", [1, 3, 10, 30])
def test_the_parts_are_the_whole(count):
  runs = [f"run-{i}" for i in range(23)]
  parts = [shards.parse(f"{i}/{count}", {}).of(runs) for i in range(count)]
  assert sorted(sum(parts, [])) == sorted(runs)
  assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
  "environment,shard",
  [
    ({}, (0, 1)),
    ({"SLURM_ARRAY_TASK_ID": ""}, (0, 1)),
    ({"SLURM_JOB_ID": "7", "SLURM_PROCID": "3"}, (0, 1)),
    (array(3, 10), (3, 10)),
    (array(1, 10, 1), (0, 10)),  # --array=1-10
    (array(20, 4, 0, 10), (2, 4)),  # --array=0-30:10
    (array(7, 1, 7), (0, 1)),
  ],
)
def test_of_the_environment(environment, shard):
  assert shards.parse(None, environment) == shard
  assert shards.parse("1/5", environment) == (1, 5)


@pytest.mark.parametrize(
  "text", ["", "3", "3/3", "-1/3", "1/0", "a/b", "1/2/3"]
)
def test_a_wrong_shard_is_refused(text):
  with pytest.raises(ValueError) as error:
    shards.parse(text, {})
  assert str(error.value) == (
    f"shard must be i/n with 0 <= i < n, got {text!r}"
  )


@pytest.mark.parametrize(
  "environment,parts",
  [
    (array(5, 3, 1), ("array with gaps", "TASK_ID=5", "--shard=i/3")),
    (array(5, 3, 0, 10), ("array with gaps", "TASK_STEP=10")),
    (array(5, None), ("without its _COUNT and _MIN", "TASK_ID=5")),
    (array("x", 3), ("shard must be given", "TASK_ID=x")),
    (array(5, 3, 0, 0), ("shard must be given", "TASK_STEP=0")),
  ],
)
def test_an_array_that_names_no_part_is_refused(environment, parts):
  with pytest.raises(ValueError) as error:
    shards.parse(None, environment)
  for part in parts:
    assert part in str(error.value)
