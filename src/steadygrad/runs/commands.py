"""Flags on a command line: paths, and what to say of a wrong one."""

import difflib
import errno
import pathlib
import re
import sys
import tempfile
import textwrap

from absl import flags

from steadygrad import files

flags.disclaim_key_flags()  # A flag is of the module that calls `path_flag`.


class _Path(flags.ArgumentParser):
  """A path. No shell expands the ~ of --flag=~/there."""

  syntactic_help = files.PATH

  def parse(self, argument: str) -> str:
    return str(files.expand(argument))

  def flag_type(self) -> str:
    return "path"


class _Paths(flags.ListParser):
  """Paths with commas between them."""

  def __init__(self):
    super().__init__()
    self.syntactic_help = f"{files.PATH}, or several with commas"

  def parse(self, argument: str | list[str]) -> list[str]:
    return [str(files.expand(path)) for path in super().parse(argument)]


def path_flag(name: str, default: str | None, text: str, **options):
  """Defines a flag of one path, as `flags.DEFINE_string` does of a text."""
  serializer = flags.ArgumentSerializer()
  return flags.DEFINE(
    _Path(), name, default, text, serializer=serializer, **options
  )


def paths_flag(name: str, default: list[str], text: str, **options):
  """Defines a flag of paths with commas, as `flags.DEFINE_list` does."""
  serializer = flags.ListSerializer(",")
  return flags.DEFINE(
    _Paths(), name, default, text, serializer=serializer, **options
  )


def writable(
  name: str,
  path: str | None,
  *,
  suffix: str = "",
  directory: bool = False,
) -> pathlib.Path:
  """The path of a flag, where a file can be written; asked before the work.

  Args:
    name: of the flag.
    path: its value. What is missing of directories is made.
    suffix: that the file must have.
    directory: whether the path is the directory, not the file.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  found = pathlib.Path(path or "")
  if suffix and found.suffix != suffix:
    raise ValueError(f"{name} must be a file *{suffix}, got {path}")
  home = found if directory else found.parent
  try:
    if found.is_dir() and not directory:
      raise IsADirectoryError(errno.EISDIR, "Is a directory")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home):
      pass
  except OSError as e:
    what = "directory" if directory else "file"
    raise ValueError(
      f"{name} must be a {what} that can be written, got {path}: {e}"
    ) from e
  return found


def parse(argv: list[str], several: str | None = None) -> list[str]:
  """Parses the flags of a command line into `flags.FLAGS`.

  Args:
    argv: program and arguments.
    several: the launcher whose flags take several values, where these take one.

  Returns:
    The program and what is no flag.

  Raises:
    ValueError: naming the flag, its value and what is allowed.
  """
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as e:
    raise ValueError(_unknown(e.flagname)) from e
  except flags.IllegalFlagValueError as e:
    raise ValueError(_illegal(str(e), several)) from e
  except flags.Error as e:
    raise ValueError(str(e)) from e
  for flag in _own_flags():
    if several and flag.present and _is_list(flag):
      raise ValueError(
        f"{flag.name} must be one value, got {flag.value!r}; {several} takes"
        " several values"
      )
  return rest


def help_text(about: str) -> str:
  """What --help prints: what the program does, and its flags in groups.

  Args:
    about: the docstring of the program.
  """
  lines = [about.strip()]
  modules = flags.FLAGS.flags_by_module_dict()
  launcher = [m for m in modules if m.startswith("steadygrad.")]
  launcher += [m for m in modules if m.endswith(".py")]  # Of a script.
  # The rest are headings, and modules of other packages, such as absl's.
  order = launcher + [m for m in modules if m not in {*launcher, *sys.modules}]
  for module in order:
    heading = "This program" if module in launcher else module
    lines += ["", f"{heading}:"]
    for flag in sorted(modules[module], key=lambda f: f.name):
      sign = "[no]" if flag.boolean else ""
      value = flag.default
      default = "" if value in (None, [], "") else f" Default {value}."
      text = textwrap.wrap(f"{flag.help}{default}", 75)
      lines += [f"  --{sign}{flag.name}", *[f"    {line}" for line in text]]
  return "\n".join(lines)


def _own_flags() -> list[flags.Flag]:
  """Those of launchers, not of absl or chex."""
  modules = flags.FLAGS.flags_by_module_dict().items()
  others = {m for m in sys.modules if not m.startswith("steadygrad.")}
  return [f for m, fs in modules if m not in others for f in fs]


def _is_list(flag: flags.Flag) -> bool:
  if not isinstance(flag.value, str) or isinstance(flag.parser, _Path):
    return False
  return "," in flag.value


def _unknown(name: str) -> str:
  """Of a flag that there is not, with those that may be meant."""
  names, wanted = [f.name for f in _own_flags()], name.replace("-", "_")
  near = difflib.get_close_matches(wanted, names)
  near += [n for n in names if wanted in n.split("_") and n not in near]
  meant = f"; did you mean {' or '.join(f'--{n}' for n in near)}?" * bool(near)
  return f"there is no flag --{name}{meant or ';'} --help shows all"


def _illegal(message: str, several: str | None) -> str:
  """absl's "flag --name=value: reason", with what is allowed."""
  found = re.fullmatch(r"flag --(\w+)=(.*?): (.*)", message, re.DOTALL)
  if not found:
    return message
  name, value, reason = found.groups()
  parser = flags.FLAGS[name].parser
  if isinstance(parser, flags.EnumParser):
    allowed = f"one of {', '.join(parser.enum_values)}"
  elif isinstance(parser, flags.BooleanParser):
    allowed = "true or false"
  else:
    allowed = parser.syntactic_help
  if not allowed:
    return f"{name}: {reason}"
  if flags.FLAGS[name].value is None and value == "None":
    return f"{name} must be given: {allowed}"
  more = several and "," in value
  hint = f"; {several} takes several values" if more else ""
  return f"{name} must be {allowed}, got {value!r}{hint}"
