"""What `analyse.py` computes: name -> function of a cell's kind -> record.

Each returns a dict with `config`, `results` (numbers to quote) and `curves`
(what the figure of the same name draws).
"""

from analyses import dynamics, gradients, growth, surfaces, training_dynamics

# Those of the second column take --cell; the others are of one given map.
ANALYSES = {
  "unrolled": (gradients.unrolled, True),
  "contributions": (gradients.contributions, True),
  "jacobians": (gradients.jacobians, True),
  "omega_angle": (gradients.omega_angle, True),
  "spectrum": (growth.spectrum, False),
  "lyapunov": (growth.lyapunov, False),
  "fixed_points": (dynamics.fixed_points, False),
  "bifurcation": (dynamics.bifurcation, False),
  "maps": (dynamics.maps, False),
  "driven_maps": (dynamics.driven_maps, False),
  "crossings": (dynamics.crossings, False),
  "error_surface": (surfaces.error_surface, False),
  "curvature": (surfaces.curvature, False),
  "slice": (surfaces.slice_around, True),
  "training_dynamics": (training_dynamics.training_dynamics, True),
}
