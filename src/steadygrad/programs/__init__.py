"""Programs: `python -m steadygrad NAME`, or experiments/NAME.py of a clone.

A program is a module with `main() -> dict | str`, what it prints last, and a
docstring, what its --help begins with. It defines its flags when it is
imported, so that a process is one program.
"""
