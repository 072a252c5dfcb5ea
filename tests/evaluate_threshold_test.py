"""evaluate.py --test=threshold: the paper's rule on committed records."""

import json
import pathlib

import numpy as np
import pytest

from steadygrad import records
from steadygrad.evaluations import threshold
from steadygrad.runs import kinds
from steadygrad.transforms import choose_max_norm, clipping

pytestmark = pytest.mark.usefixtures("quickly_compiled")

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "experiments/results"
RUN = RESULTS / "temporal_order_50_msgd_c.json"


def test_the_average_over_updates_and_the_share_that_was_clipped():
  record = kinds.read_run(RUN)
  norms = records.numbers(record["curves"]["gradient_norm"])
  shares = records.numbers(record["curves"]["clipped"])
  # Every chunk of these runs has the same number of updates.
  assert len({*np.diff(record["curves"]["update"])}) == 1
  found = threshold.evaluate([str(RUN)])[str(RUN)]
  fine = np.isfinite(norms)
  assert found["suggested"] == pytest.approx(norms[fine].mean())
  assert found["high"] == pytest.approx(20 * found["low"])
  assert found["clipped_fraction"] == pytest.approx(np.nanmean(shares))
  assert (found["rule"], found["max_norm"]) == ("by_norm", 1.0)
  assert found["role"] in ("guard", "step size")


def made(**config):
  """A record of two chunks, of 2 updates and of 1, one seed."""
  config = {"algorithm": "msgd_c", "clip": "by_norm", "max_norm": 4.0} | config
  curves = {"update": [2, 3], "gradient_norm": [[1.0], [7.0]]}
  curves |= {"measured": [[0.5], [2.0]], "clipped": [[0.0], [1.0]]}
  return {"config": config, "curves": curves}


@pytest.mark.parametrize(
  "config, rule, suggested, share",
  [
    ({}, "by_norm", 3.0, 1 / 3),
    ({"algorithm": "msgd"}, "by_norm", 3.0, 1 / 3),
    ({"clip": "value"}, "value", 1.0, 1 / 3),
    ({"clip": "agc"}, "agc", 1.0, 1 / 3),
    ({"clip": "zclip", "max_norm": "inf"}, "zclip", 3.0, 1 / 3),
    ({"clip": "autoclip"}, "by_norm", 3.0, 1 / 3),
  ],
)
def test_each_rule_has_the_threshold_of_what_it_measures(
  config, rule, suggested, share
):
  found = threshold.advice(made(**config), "a run")
  assert (found["rule"], found["suggested"]) == (rule, suggested)
  assert found["clipped_fraction"] == pytest.approx(share)
  had = rule != "agc" and config.get("clip") != "autoclip"
  had &= config.get("algorithm") != "msgd"
  assert (found["max_norm"] is not None) == had


def test_norms_that_were_never_finite_are_named():
  record = made()
  record["curves"]["gradient_norm"] = [["nan"], ["inf"]]
  with pytest.raises(ValueError, match="but a run: gradient_norms must hold"):
    threshold.advice(record, "a run")


def test_the_launcher_prints_it(server, tmp_path):
  words = ("evaluate.py", "--test=threshold", f"--runs={RUN}")
  status, out, err = server.launch(*words, cwd=tmp_path)[:3]
  assert (status, err) == (0, "")
  assert json.loads(out.splitlines()[-1]) == threshold.evaluate([str(RUN)])
  status, _, err = server.launch(*words[:2], "--runs=none", cwd=tmp_path)[:3]
  assert status == 1 and "runs must have ended, but " in err


def test_every_rule_with_a_threshold_says_what_it_measures():
  assert {*clipping.BOUNDED} <= clipping.MEASURES.keys()
  assert choose_max_norm([1.0, 3.0]).suggested == 2
