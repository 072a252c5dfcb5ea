"""What `analyse.py` computes: name -> (function -> record, its argument).

Each returns a dict with `config`, `results` (numbers to quote) and `curves`
(what the figure of the same name draws).
"""

from analyses import (
  calibration,
  dynamics,
  gradients,
  growth,
  surfaces,
  trained,
  training_dynamics,
)

# The argument is a flag, --cell or --run; without one it is of one given map.
ANALYSES = {
  "unrolled": (gradients.unrolled, "cell"),
  "contributions": (gradients.contributions, "cell"),
  "jacobians": (gradients.jacobians, "cell"),
  "omega_angle": (gradients.omega_angle, "cell"),
  "spectrum": (growth.spectrum, None),
  "lyapunov": (growth.lyapunov, None),
  "fixed_points": (dynamics.fixed_points, None),
  "bifurcation": (dynamics.bifurcation, None),
  "maps": (dynamics.maps, None),
  "driven_maps": (dynamics.driven_maps, None),
  "crossings": (dynamics.crossings, None),
  "error_surface": (surfaces.error_surface, None),
  "curvature": (surfaces.curvature, None),
  "slice": (surfaces.slice_around, "cell"),
  "trained": (trained.trained, "run"),
  "calibration": (calibration.calibration, None),
  "training_dynamics": (training_dynamics.training_dynamics, "cell"),
}
