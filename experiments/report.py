"""python -m steadygrad report, for who has a clone; --help tells of it."""

from steadygrad.__main__ import main

if __name__ == "__main__":
  main("report")
