"""Models as people write them: each file's `make` gives (loss, params, batch).

None of them knows of steadygrad.
"""
