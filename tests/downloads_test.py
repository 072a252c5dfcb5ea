"""Data files: from a directory, or by a download from a server of our own."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import pathlib
import random
import tarfile
import threading

import pytest

from steadygrad.runs import downloads
from steadygrad.runs.downloads import DataError, DataFile
from tests import corpora_cases

GOOD = b"rows of notes" * 20_000
HALF = 200_000  # Bytes: damage so far on is met when a member is read.
SUM = hashlib.sha256(GOOD).hexdigest()


# What the server says of the length, where it is not true.
STATED = {
  "/letters": "abc",
  "/negative": "-5",
  "/signed": "+260000",
  "/digits": "9" * 5000,
  "/large": "1000000000000",
}


class Handler(http.server.BaseHTTPRequestHandler):
  """Misbehaves as the path says."""

  def do_GET(self):
    server = self.server
    server.asked.append(self.path)
    if self.path == "/missing" or self.path == "/broken":
      return self.send_error(404 if self.path == "/missing" else 503)
    body = server.bodies.get(self.path, GOOD)
    self.send_response(200)
    stated = STATED.get(self.path, str(len(body)))
    if self.path == "/chunked":
      self.send_header("Transfer-Encoding", "chunked")
    elif self.path not in ("/unsized", "/endless"):
      self.send_header("Content-Length", stated)
    self.end_headers()
    with contextlib.suppress(ConnectionError):
      self.send(body)

  def send(self, body):
    if self.path == "/truncated" or (
      self.path == "/once" and len(self.server.asked) == 1
    ):
      self.wfile.write(body[: len(body) // 2])
    elif self.path == "/endless":
      while not self.server.over.is_set():
        self.server.sent += self.wfile.write(body)
    elif self.path == "/chunked":
      self.wfile.write(b"1000\r\n" + body[:100])
    elif self.path == "/hanging":
      self.wfile.write(body[:100])
      self.server.over.wait(10)
    elif self.path == "/slow":
      for i in range(0, len(body), 1000):
        self.wfile.write(body[i : i + 1000])
        if self.server.over.wait(0.02):
          return
    else:
      self.wfile.write(body)

  def log_message(self, *_):
    pass


@pytest.fixture
def server():
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  server.asked, server.bodies, server.over = [], {}, threading.Event()
  server.sent = 0
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  yield server
  server.over.set()
  server.shutdown()
  thread.join()
  server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
  """No pauses between attempts, and a cache of the test's own."""
  monkeypatch.setattr(downloads.time, "sleep", lambda _: None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def files_of(server, path, expected=SUM, **more):
  url = f"http://127.0.0.1:{server.server_port}{path}"
  return {"piano": (DataFile("a.mat", expected, url, **more),)}


def left_over():
  """Everything in the cache, hidden files too."""
  return sorted(p.name for p in downloads.cache().rglob("*"))


@pytest.mark.parametrize("path", ["/good", "/unsized", "/once"])
def test_a_good_download_is_kept_and_not_repeated(server, path):
  files = files_of(server, path)
  for _ in range(2):
    assert downloads.find("piano", files=files) == {
      downloads.cache() / "a.mat": SUM
    }
  assert len(server.asked) == (2 if path == "/once" else 1)
  assert left_over() == ["a.mat"]
  assert (downloads.cache() / "a.mat").read_bytes() == GOOD


@pytest.mark.parametrize(
  "path, said, attempts",
  [
    ("/missing", "404", 1),
    ("/broken", "503", 3),
    ("/truncated", "ended after 130000 of 260000 bytes", 3),
    ("/chunked", "IncompleteRead", 3),
    ("/hanging", "timed out", 3),
    ("/slow", "not finished after 0.05 seconds", 3),
    ("/letters", "the server says Content-Length: abc", 3),
    ("/negative", "the server says Content-Length: -5", 3),
    ("/signed", "the server says Content-Length: .260000", 3),
    ("/digits", "the server says Content-Length: 9999", 3),
    ("/large", "it has 1000000000000 bytes, at most 268435456 expected", 1),
  ],
)
def test_a_broken_download_leaves_nothing(
  server, monkeypatch, path, said, attempts
):
  monkeypatch.setattr(downloads, "SILENCE_SECONDS", 0.3)
  if path == "/slow":
    monkeypatch.setattr(downloads, "LIMIT_SECONDS", 0.05)
  with pytest.raises(DataError, match=f"{path} could not.*{said}.*data_dir"):
    downloads.find("piano", files=files_of(server, path))
  assert len(server.asked) == attempts
  assert left_over() == []


def test_a_file_of_its_size_is_taken_and_a_longer_one_not(server):
  files = files_of(server, "/unsized", size=len(GOOD))
  (path,) = downloads.find("piano", files=files)
  path.unlink()
  for name in ("/unsized", "/good"):
    files = files_of(server, name, size=len(GOOD) - 1)
    with pytest.raises(DataError, match=f"{name} could not .* 259999 "):
      downloads.find("piano", files=files)
    assert left_over() == []


def test_a_body_without_an_end_is_left(server):
  files = files_of(server, "/endless", size=1000)
  with pytest.raises(DataError, match="more than the 1000 bytes.*data_dir"):
    downloads.find("piano", files=files)
  assert server.asked == ["/endless"]  # And not asked for again.
  assert server.sent < 100 * len(GOOD)
  assert left_over() == []


def test_no_server_is_told(server):
  files = files_of(server, "/good")
  url = files["piano"][0].url
  server.shutdown()
  server.server_close()
  with pytest.raises(DataError, match=f"{url} could not be.*[Rr]efused"):
    downloads.find("piano", files=files)
  assert left_over() == []


def test_a_wrong_sum_is_told_and_nothing_kept(server):
  files = files_of(server, "/good", "0" * 64)
  with pytest.raises(DataError, match=f"a.mat.*expected.*{'0' * 64}.*{SUM}"):
    downloads.find("piano", files=files)
  assert left_over() == []


def test_a_full_disk_is_told_and_nothing_kept(server, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(downloads.os, "fsync", full)
  with pytest.raises(DataError, match="a.mat cannot be written.*free some"):
    downloads.find("piano", files=files_of(server, "/good"))
  assert left_over() == []


def test_a_cache_that_cannot_be_made_is_told(server, monkeypatch, tmp_path):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  with pytest.raises(DataError, match="cannot be written.*data_dir"):
    downloads.find("piano", files=files_of(server, "/good"))


def archive(members):
  """A tgz of {path: bytes}, and of a link that leads out of it."""
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode="w:gz") as tar:
    for name, data in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
    link = tarfile.TarInfo("../outside")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(link)
  return out.getvalue()


TEXTS = {f"./d/ptb.{s}.txt": s.encode() * 9 for s in ("train", "valid", "test")}


def text_files(server, **more):
  url = f"http://127.0.0.1:{server.server_port}/texts"
  return {
    "ptb": tuple(
      DataFile(
        name.rsplit("/", 1)[-1],
        hashlib.sha256(text).hexdigest(),
        url,
        name,
        **more,
      )
      for name, text in TEXTS.items()
    )
  }


@pytest.mark.parametrize("prefix", ["./", ""])
def test_members_of_an_archive_are_read_and_nothing_extracted(server, prefix):
  members = {prefix + k.removeprefix("./"): v for k, v in TEXTS.items()}
  server.bodies["/texts"] = archive(members | {"./d/more.txt": b"more"})
  found = downloads.find("ptb", files=text_files(server))
  assert [p.read_bytes() for p in found] == list(TEXTS.values())
  assert len(server.asked) == 1
  assert left_over() == ["ptb.test.txt", "ptb.train.txt", "ptb.valid.txt"]


@pytest.mark.parametrize("body", ["missing", "garbage", "truncated", "damaged"])
def test_a_wrong_archive_is_told(server, body):
  whole = archive(TEXTS)
  large = archive({"./d/ptb.train.txt": random.Random(0).randbytes(2 * HALF)})
  server.bodies["/texts"] = {
    "missing": archive({"./d/other.txt": b""}),
    "garbage": b"no archive" * 100,
    "truncated": whole[:60],
    "damaged": large[:HALF] + b"\xff" * 1000 + large[HALF:],
  }[body]
  with pytest.raises(DataError, match="is no archive with ./d/ptb.train.txt"):
    downloads.find("ptb", files=text_files(server))
  assert left_over() == []


def test_a_member_that_is_too_long_is_not_read(server, monkeypatch):
  """All that is written is counted: 9 MB may hold two thousand."""
  bomb = archive({"./d/ptb.train.txt": bytes(1 << 24)})
  assert len(bomb) < 1 << 16
  server.bodies["/texts"] = bomb
  read, block = [], downloads._Limited.read

  def counted(self, size):
    read.append(size)
    return block(self, size)

  monkeypatch.setattr(downloads._Limited, "read", counted)
  with pytest.raises(DataError, match="16777216 bytes there, at most 99 exp"):
    downloads.find("ptb", files=text_files(server, size=99))
  assert sum(read) < 1 << 16
  assert left_over() == []


def long_name(size):
  """A tar file with a name of so many bytes, which is read to skip it."""
  info = tarfile.TarInfo("././@LongLink")
  info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
  out = io.BytesIO()
  with gzip.open(out, "wb") as f:
    f.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(size))
  return out.getvalue()


@pytest.mark.parametrize("before", ["member", "name"])
def test_an_archive_is_not_unpacked_without_end(server, monkeypatch, before):
  monkeypatch.setattr(downloads, "UNPACKED_BYTES", 1 << 20)
  server.bodies["/texts"] = {
    "member": archive({"./d/other.txt": bytes(1 << 22)} | TEXTS),
    "name": long_name(1 << 22),
  }[before]
  with pytest.raises(DataError, match="holds more than 1048576 bytes"):
    downloads.find("ptb", files=text_files(server))
  assert left_over() == []


def test_an_archive_that_is_too_long_is_not_taken(server):
  server.bodies["/texts"] = archive(TEXTS)
  files = text_files(server, archive_size=len(server.bodies["/texts"]) - 1)
  with pytest.raises(DataError, match="/texts could not be.*expected"):
    downloads.find("ptb", files=files)
  files = text_files(server, archive_size=len(server.bodies["/texts"]), size=45)
  assert len(downloads.find("ptb", files=files)) == 3


@pytest.mark.parametrize("below", ["", "music"])
def test_a_directory_that_is_named_is_used(server, tmp_path, below):
  directory = tmp_path / "data"
  (directory / below).mkdir(parents=True)
  (directory / below / "a.mat").write_bytes(GOOD)
  found = downloads.find("piano", directory, files=files_of(server, "/good"))
  assert list(found) == [directory / below / "a.mat"]
  assert not server.asked


def test_files_that_are_not_there_or_damaged_are_told(server, tmp_path):
  files = files_of(server, "/good")
  with pytest.raises(DataError, match="has no a.mat.*http"):
    downloads.find("piano", tmp_path, files=files)
  (tmp_path / "a.mat").write_bytes(GOOD[:-1])
  with pytest.raises(DataError, match=f"a.mat is damaged.*{SUM}.*259999 bytes"):
    downloads.find("piano", tmp_path, files=files)
  (found,) = downloads.find("piano", tmp_path, check=False, files=files)
  assert found == tmp_path / "a.mat"
  assert not server.asked


def test_a_damaged_file_in_the_cache_is_told(server):
  files = files_of(server, "/good")
  (path,) = downloads.find("piano", files=files)
  path.write_bytes(b"short")
  with pytest.raises(DataError, match="a.mat is damaged.*delete it and run"):
    downloads.find("piano", files=files)
  assert path.read_bytes() == b"short"


def test_every_data_set_has_files_with_sums():
  for files in downloads.FILES.values():
    for file in files:
      assert len(bytes.fromhex(file.sha256)) == 32
      assert 0 < file.size <= file.most < downloads.LIMIT_BYTES
      assert file.url.startswith("http")
      assert pathlib.PurePath(file.name).name == file.name


def test_sizes_are_those_of_the_files():
  root = corpora_cases.shared_data()
  for files in downloads.FILES.values():
    for file in files:
      (path,) = root.rglob(file.name)
      assert path.stat().st_size == file.size
