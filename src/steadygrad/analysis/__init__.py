"""The paper's theory as functions on any cell: sections 1 to 3.1.

Every function is pure, jits and vmaps, and answers with a NamedTuple that says
whether it converged or is finite. Nothing here knows of training.
"""

from steadygrad.analysis.basins import (
  Attractors,
  attractors,
  basin_labels,
  start_grid,
)
from steadygrad.analysis.bifurcation import (
  Branch,
  bifurcation_diagram,
  follow_branch,
)
from steadygrad.analysis.contributions import (
  Contributions,
  step_contributions,
  temporal_contributions,
)
from steadygrad.analysis.dynamics import (
  FixedPoints,
  autonomous,
  cycles,
  fixed_points,
  iterate,
)
from steadygrad.analysis.error_surface import (
  Curvature,
  Path,
  curvature_along_gradient,
  descend,
  hessian_vector_product,
  linear_sensitivities,
  single_unit_loss,
  slice_directions,
  surface,
)
from steadygrad.analysis.jacobians import (
  DeltaProfile,
  LagProfile,
  delta_norms_by_lag,
  elman_jacobians,
  jacobian_products,
  lag_profile,
  last_step_delta_norms,
  step_jacobians,
)
from steadygrad.analysis.lyapunov import (
  Lyapunov,
  cell_lyapunov_exponents,
  lyapunov_exponents,
)
from steadygrad.analysis.recording import DynamicsRecord, dynamics_recorder
from steadygrad.analysis.saddle_nodes import SaddleNode, saddle_node
from steadygrad.analysis.sensitivity import Sensitivity, orbit_sensitivity
from steadygrad.analysis.signals import error_signals
from steadygrad.analysis.spectrum import (
  BoundCheck,
  Conditions,
  PowerIteration,
  check_bound,
  conditions,
  power_iteration,
  singular_values,
)
from steadygrad.analysis.total_omega import (
  OmegaDerivatives,
  omega_derivatives,
  omega_total,
)

__all__ = [
  "Attractors",
  "BoundCheck",
  "Branch",
  "Conditions",
  "Contributions",
  "Curvature",
  "DeltaProfile",
  "DynamicsRecord",
  "FixedPoints",
  "LagProfile",
  "Lyapunov",
  "OmegaDerivatives",
  "Path",
  "PowerIteration",
  "SaddleNode",
  "Sensitivity",
  "attractors",
  "autonomous",
  "basin_labels",
  "bifurcation_diagram",
  "cell_lyapunov_exponents",
  "check_bound",
  "conditions",
  "curvature_along_gradient",
  "cycles",
  "delta_norms_by_lag",
  "descend",
  "dynamics_recorder",
  "error_signals",
  "elman_jacobians",
  "fixed_points",
  "follow_branch",
  "hessian_vector_product",
  "iterate",
  "jacobian_products",
  "lag_profile",
  "last_step_delta_norms",
  "linear_sensitivities",
  "lyapunov_exponents",
  "omega_derivatives",
  "omega_total",
  "orbit_sensitivity",
  "power_iteration",
  "saddle_node",
  "single_unit_loss",
  "singular_values",
  "slice_directions",
  "start_grid",
  "step_contributions",
  "step_jacobians",
  "surface",
  "temporal_contributions",
]
