"""Music and text as streams of pieces, their costs, and what needs no network."""
