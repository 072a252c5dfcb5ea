"""Recurrent networks whose gradients neither explode nor vanish, in JAX."""
