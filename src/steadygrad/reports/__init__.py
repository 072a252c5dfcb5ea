"""How far back in time gradients reach: a report of any JAX model."""

from steadygrad.reports._batches import Input
from steadygrad.reports._numbers import Layer
from steadygrad.reports._report import Report, gradient_report
from steadygrad.reports._watch import GradientWatch

__all__ = ["GradientWatch", "Input", "Layer", "Report", "gradient_report"]
