"""Music and text as streams of pieces, their costs, and baselines."""
