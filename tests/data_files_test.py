"""Data files: from a directory, or by a download from a server of our own."""

import contextlib
import errno
import hashlib
import http.server
import io
import pathlib
import random
import tarfile
import threading

import data_files
import pytest
from data_files import DataError, DataFile

GOOD = b"rows of notes" * 20_000
HALF = 200_000  # Bytes: damage so far on is met when a member is read.
SUM = hashlib.sha256(GOOD).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
  """Misbehaves as the path says."""

  def do_GET(self):
    server = self.server
    server.asked.append(self.path)
    if self.path == "/missing" or self.path == "/broken":
      return self.send_error(404 if self.path == "/missing" else 503)
    body = server.bodies.get(self.path, GOOD)
    self.send_response(200)
    if self.path == "/chunked":
      self.send_header("Transfer-Encoding", "chunked")
    elif self.path != "/unsized":
      self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    with contextlib.suppress(ConnectionError):
      self.send(body)

  def send(self, body):
    if self.path == "/truncated" or (
      self.path == "/once" and len(self.server.asked) == 1
    ):
      self.wfile.write(body[: len(body) // 2])
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
  monkeypatch.setattr(data_files.time, "sleep", lambda _: None)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def files_of(server, path, expected=SUM):
  url = f"http://127.0.0.1:{server.server_port}{path}"
  return {"piano": (DataFile("a.mat", expected, url),)}


def left_over():
  """Everything in the cache, hidden files too."""
  return sorted(p.name for p in data_files.cache().rglob("*"))


@pytest.mark.parametrize("path", ["/good", "/unsized", "/once"])
def test_a_good_download_is_kept_and_not_repeated(server, path):
  files = files_of(server, path)
  for _ in range(2):
    assert data_files.find("piano", files=files) == {
      data_files.cache() / "a.mat": SUM
    }
  assert len(server.asked) == (2 if path == "/once" else 1)
  assert left_over() == ["a.mat"]
  assert (data_files.cache() / "a.mat").read_bytes() == GOOD


@pytest.mark.parametrize(
  "path, said, attempts",
  [
    ("/missing", "404", 1),
    ("/broken", "503", 3),
    ("/truncated", "ended after 130000 of 260000 bytes", 3),
    ("/chunked", "IncompleteRead", 3),
    ("/hanging", "timed out", 3),
    ("/slow", "not finished after 0.05 seconds", 3),
  ],
)
def test_a_broken_download_leaves_nothing(
  server, monkeypatch, path, said, attempts
):
  monkeypatch.setattr(data_files, "SILENCE_SECONDS", 0.3)
  if path == "/slow":
    monkeypatch.setattr(data_files, "LIMIT_SECONDS", 0.05)
  with pytest.raises(DataError, match=f"{path} could not.*{said}.*data_dir"):
    data_files.find("piano", files=files_of(server, path))
  assert len(server.asked) == attempts
  assert left_over() == []


def test_no_server_is_told(server):
  files = files_of(server, "/good")
  url = files["piano"][0].url
  server.shutdown()
  server.server_close()
  with pytest.raises(DataError, match=f"{url} could not be.*[Rr]efused"):
    data_files.find("piano", files=files)
  assert left_over() == []


def test_a_wrong_sum_is_told_and_nothing_kept(server):
  files = files_of(server, "/good", "0" * 64)
  with pytest.raises(DataError, match=f"a.mat.*expected.*{'0' * 64}.*{SUM}"):
    data_files.find("piano", files=files)
  assert left_over() == []


def test_a_full_disk_is_told_and_nothing_kept(server, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(data_files.os, "fsync", full)
  with pytest.raises(DataError, match="a.mat cannot be written.*free some"):
    data_files.find("piano", files=files_of(server, "/good"))
  assert left_over() == []


def test_a_cache_that_cannot_be_made_is_told(server, monkeypatch, tmp_path):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  with pytest.raises(DataError, match="cannot be written.*data_dir"):
    data_files.find("piano", files=files_of(server, "/good"))


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


def text_files(server):
  url = f"http://127.0.0.1:{server.server_port}/texts"
  return {
    "ptb": tuple(
      DataFile(
        name.rsplit("/", 1)[-1], hashlib.sha256(text).hexdigest(), url, name
      )
      for name, text in TEXTS.items()
    )
  }


@pytest.mark.parametrize("prefix", ["./", ""])
def test_members_of_an_archive_are_read_and_nothing_extracted(server, prefix):
  members = {prefix + k.removeprefix("./"): v for k, v in TEXTS.items()}
  server.bodies["/texts"] = archive(members | {"./d/more.txt": b"more"})
  found = data_files.find("ptb", files=text_files(server))
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
    data_files.find("ptb", files=text_files(server))
  assert left_over() == []


@pytest.mark.parametrize("below", ["", "music"])
def test_a_directory_that_is_named_is_used(server, tmp_path, below):
  directory = tmp_path / "data"
  (directory / below).mkdir(parents=True)
  (directory / below / "a.mat").write_bytes(GOOD)
  found = data_files.find("piano", directory, files=files_of(server, "/good"))
  assert list(found) == [directory / below / "a.mat"]
  assert not server.asked


def test_files_that_are_not_there_or_damaged_are_told(server, tmp_path):
  files = files_of(server, "/good")
  with pytest.raises(DataError, match="has no a.mat.*http"):
    data_files.find("piano", tmp_path, files=files)
  (tmp_path / "a.mat").write_bytes(GOOD[:-1])
  with pytest.raises(DataError, match=f"a.mat is damaged.*{SUM}.*259999 bytes"):
    data_files.find("piano", tmp_path, files=files)
  (found,) = data_files.find("piano", tmp_path, check=False, files=files)
  assert found == tmp_path / "a.mat"
  assert not server.asked


def test_a_damaged_file_in_the_cache_is_told(server):
  files = files_of(server, "/good")
  (path,) = data_files.find("piano", files=files)
  path.write_bytes(b"short")
  with pytest.raises(DataError, match="a.mat is damaged.*delete it and run"):
    data_files.find("piano", files=files)
  assert path.read_bytes() == b"short"


def test_every_data_set_has_files_with_sums():
  for files in data_files.FILES.values():
    for file in files:
      assert len(bytes.fromhex(file.sha256)) == 32
      assert file.url.startswith("http")
      assert pathlib.PurePath(file.name).name == file.name
