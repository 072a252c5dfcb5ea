"""How Sphinx builds these pages; CONTRIBUTING.md has the command."""

import dataclasses
import re

project = "steadygrad"
author = "the steadygrad authors"
project_copyright = author
extensions = [
  "myst_nb",
  "sphinx.ext.autodoc",
  "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "jupyter_execute"]  # The second is MyST-NB's.
# Notebooks are committed without outputs and run at every build; the option
# -D nb_execution_mode=off leaves that out.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = "steadygrad"
html_copy_source = False
html_show_sourcelink = False
html_baseurl = ""

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # The docstrings say them, with shapes.
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_attr_annotations = False
smartquotes = False  # They turn --flag into a dash.
default_role = "code"
# Names of other libraries have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!steadygrad\.).*")]
_SECTION = re.compile(r"\s*(Args|Attributes|Raises|Returns|Yields):$")


def _literal(lines: list[str]) -> list[str]:
  """Docstrings as reStructuredText: |x| is a norm, indented text is code."""
  out: list[str] = []
  block = None  # Column of the text before an indented block.
  for number, line in enumerate(lines):
    indent = len(line) - len(line.lstrip())
    after_blank = number and not lines[number - 1].strip()
    if block is not None and line.strip() and indent <= block:
      block = None
    if block is None and line.strip() and after_blank and out:
      before = next((x for x in reversed(out) if x.strip()), "")
      column = len(before) - len(before.lstrip())
      if indent > column and not _SECTION.match(before):
        block = column
        while out and not out[-1].strip():
          out.pop()
        out += ["", f"{' ' * column}::", ""]
    as_is = block is not None or line.lstrip().startswith((">>>", "..."))
    out.append(line if as_is else _escaped(line))
  return out


def _escaped(line: str) -> str:
  """Without what reStructuredText takes for a reference, outside of code."""
  parts = re.split(r"(`+[^`]+`+|(?<!\w)\*\w[^*]*\*(?!\w))", line)
  return "".join(
    part if number % 2 else re.sub(r"([|*])", r"\\\1", part)
    for number, part in enumerate(parts)
  )


def _fields(thing) -> list[str]:
  """The fields of a configuration, with the help of their flags."""
  lines = ["", "Attributes:"]
  for field in dataclasses.fields(thing):
    if text := field.metadata.get("help"):
      lines.append(f"  {field.name}: {text} Default: `{field.default!r}`.")
  return lines


def _process(app, what, name, thing, options, lines):
  del app, name, options
  if what == "class" and dataclasses.is_dataclass(thing):
    lines += _fields(thing)
  lines[:] = _literal(lines)


def _skip(app, what, name, thing, skip, options):
  """Fields of NamedTuples and dataclasses: their class describes them."""
  del app, what, name, options
  if skip or isinstance(thing, (staticmethod, classmethod)) or callable(thing):
    return None
  return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app):
  """Called by Sphinx."""
  # Before napoleon, which connects with 500.
  app.connect("autodoc-process-docstring", _process, priority=400)
  app.connect("autodoc-skip-member", _skip)
