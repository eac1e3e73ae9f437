"""Fetching a published file from mirrors that fail in every way, on this machine's own network."""

import errno
import hashlib
import os
import resource
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, TCPServer
from threading import Event, Thread
from typing import BinaryIO, cast

import numpy as np
import pytest

from stages.common.data import RawFile
from stages.common.errors import InputError
from stages.common.files import locate_cache
from stages.download import fetch as fetch_module
from stages.download.fetch import fetch

CHUNK_BYTES = fetch_module._CHUNK_BYTES
CONTENT = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 1000)
OTHER = np.random.default_rng(1).bytes(len(CONTENT))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = RawFile("train-images-idx3-ubyte.gz", len(CONTENT), SHA256)
CACHE = locate_cache("downloads")
PARTIAL = CACHE / f"{SHA256}.part"
FOLDER = Path("raw")


@dataclass(frozen=True)
class Answer:
    """What a mirror answers to one request; `cut_after` bytes of the body the connection ends."""

    body: bytes = CONTENT
    status: int = 200
    honours_range: bool = True
    cut_after: int | None = None
    encoding: str | None = None
    kind: str | None = None
    gives_length: bool = True


class Mirror(TCPServer):
    """A server that gives its answers in turn, the last of them ever after.

    `requests` are the offset asked for and the number of bytes then sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _AnswerHandler)
        self.answers = [Answer()]
        self.requests: list[tuple[int, int]] = []
        self.n_hung_up = 0
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data/"

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _AnswerHandler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        assert self.path == f"/data/{FILE.name}"
        asked = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        begin = asked if answer.honours_range else 0
        body = answer.body[begin:]
        sent = body[: answer.cut_after]
        # Before a byte is sent: the client may be done with the headers alone.
        self.server.requests.append((asked, len(sent)))
        status = answer.status
        if status == 200 and begin:
            status = 206 if body else 416
        self.send_response(status)
        if answer.gives_length:
            self.send_header("Content-Length", str(len(body)))
        if answer.kind:
            self.send_header("Content-Type", answer.kind)
        if begin:
            last = len(answer.body) - 1
            self.send_header("Content-Range", f"bytes {begin}-{last}/{last + 1}")
        if answer.encoding:
            self.send_header("Content-Encoding", answer.encoding)
        self.end_headers()
        try:
            self.wfile.write(sent)
        except OSError:
            self.server.n_hung_up += 1

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("stages.download.fetch.time.sleep", lambda _: None)
    for timeout in ("CONNECT_TIMEOUT_S", "PATIENCE_S"):  # short where tests share the cores
        monkeypatch.setattr(fetch_module, timeout, 90.0)
    FOLDER.mkdir()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    yield server
    server.stop()


@pytest.fixture
def second() -> Iterator[Mirror]:
    server = Mirror()
    yield server
    server.stop()


def begin_partial(content: bytes) -> None:
    """Leaves what an earlier process had loaded."""
    CACHE.mkdir(parents=True)
    PARTIAL.write_bytes(content)


def assert_fetched() -> None:
    assert (FOLDER / FILE.name).read_bytes() == CONTENT
    assert [path.name for path in FOLDER.iterdir()] == [FILE.name]
    assert [path.name for path in CACHE.iterdir()] == [SHA256]


def test_the_first_mirror_that_works_is_the_only_one_asked(mirror: Mirror, second: Mirror) -> None:
    fetch(FILE, [mirror.url, second.url], FOLDER)
    assert_fetched()
    assert mirror.requests == [(0, len(CONTENT))]
    assert second.requests == []


@pytest.mark.parametrize(
    ("answer", "reason", "n_asked"),
    [
        (Answer(status=404, body=b"gone"), "HTTP 404", 1),
        (Answer(status=503, body=b"busy"), "HTTP 503", fetch_module.N_ATTEMPTS),
        (Answer(body=OTHER), "SHA-256", 1),
        (Answer(body=CONTENT + b"x"), "99305 bytes, the published one 99304", 1),
        (Answer(body=CONTENT[:-1]), "99303 bytes, the published one 99304", 1),
        (Answer(body=CONTENT + b"x", gives_length=False), "more than the published", 1),
        (Answer(body=CONTENT[:-1], gives_length=False), "shorter than the published", 2),
        (Answer(body=b"<html>Log in", kind="Text/HTML; charset=utf-8"), "a web page", 1),
        (Answer(cut_after=10), "broke off", fetch_module.N_ATTEMPTS),
    ],
    ids=[
        "missing",
        "busy",
        "wrong-content",
        "too-long",
        "too-short",
        "too-long-unannounced",
        "too-short-unannounced",
        "web-page",
        "always-broken-off",
    ],
)
def test_a_mirror_that_fails_gives_way_to_the_next(
    mirror: Mirror,
    second: Mirror,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    reason: str,
    n_asked: int,
) -> None:
    mirror.answers = [answer]
    fetch(FILE, [mirror.url, second.url], FOLDER)
    assert_fetched()
    assert len(mirror.requests) == n_asked
    (told,) = (line for line in capsys.readouterr().err.splitlines() if mirror.url in line)
    assert reason in told


def test_a_refused_connection_gives_way_to_the_next(mirror: Mirror) -> None:
    # Bound but not listening: connections are refused and no one else gets the port.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        fetch(FILE, [f"http://127.0.0.1:{closed.getsockname()[1]}/", mirror.url], FOLDER)
    assert_fetched()


def test_a_server_that_fails_once_is_asked_again(mirror: Mirror) -> None:
    mirror.answers = [Answer(status=500, body=b"oops"), Answer()]
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()


def test_a_broken_download_goes_on_where_it_was(mirror: Mirror) -> None:
    cut = 2 * CHUNK_BYTES
    mirror.answers = [Answer(cut_after=cut), Answer()]
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()
    assert mirror.requests == [(0, cut), (cut, len(CONTENT) - cut)]


def test_what_one_mirror_began_the_next_goes_on_with(mirror: Mirror, second: Mirror) -> None:
    cut = 2 * CHUNK_BYTES
    mirror.answers = [Answer(cut_after=cut), Answer(status=404)]
    fetch(FILE, [mirror.url, second.url], FOLDER)
    assert_fetched()
    assert second.requests == [(cut, len(CONTENT) - cut)]


@pytest.mark.parametrize(
    ("begun", "honours_range", "requests"),
    [
        (CONTENT[:1000], True, [(1000, len(CONTENT) - 1000)]),
        (CONTENT, True, []),
        (CONTENT[:1000], False, [(1000, len(CONTENT))]),
        (OTHER[:1000], True, [(1000, len(CONTENT) - 1000), (0, len(CONTENT))]),
        (OTHER, True, [(0, len(CONTENT))]),
        (CONTENT + b"x", True, [(0, len(CONTENT))]),
    ],
    ids=["half", "whole", "no-ranges", "half-corrupt", "whole-corrupt", "too-long"],
)
def test_an_earlier_process_s_bytes_are_used_if_they_are_right(
    mirror: Mirror, begun: bytes, honours_range: bool, requests: list[tuple[int, int]]
) -> None:
    begin_partial(begun)
    mirror.answers = [Answer(honours_range=honours_range)]
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()
    assert mirror.requests == requests


def test_what_was_begun_for_another_file_is_left_alone(mirror: Mirror) -> None:
    other = replace(FILE, sha256=hashlib.sha256(OTHER).hexdigest())
    begin_partial(CONTENT[:1000])
    mirror.answers = [Answer(body=OTHER)]
    fetch(other, [mirror.url], FOLDER)
    assert (FOLDER / FILE.name).read_bytes() == OTHER
    assert PARTIAL.read_bytes() == CONTENT[:1000]


def test_far_too_many_bytes_are_not_loaded(mirror: Mirror) -> None:
    mirror.answers = [Answer(body=bytes(1 << 26), gives_length=False)]
    with pytest.raises(InputError, match=f"more than the published {len(CONTENT)} bytes"):
        fetch(FILE, [mirror.url], FOLDER)
    mirror.stop()
    assert mirror.n_hung_up == 1
    assert list(CACHE.iterdir()) == []


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_the_published_packing_stays_though_a_server_calls_it_an_encoding(
    mirror: Mirror, encoding: str
) -> None:
    mirror.answers = [Answer(encoding=encoding)]
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()


def test_a_file_that_was_loaded_once_is_not_loaded_again(mirror: Mirror) -> None:
    fetch(FILE, [mirror.url], FOLDER)
    (FOLDER / FILE.name).unlink()
    fetch(FILE, [], FOLDER)
    assert_fetched()
    (CACHE / SHA256).write_bytes(OTHER)
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()
    assert len(mirror.requests) == 2


def test_a_local_folder_is_a_mirror(tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(CONTENT)
    fetch(FILE, [str(tmp_path / "absent"), str(tmp_path)], FOLDER)
    assert_fetched()


@pytest.mark.parametrize("content", [OTHER, CONTENT[:-1], CONTENT + b"x", b""])
def test_a_wrong_file_of_a_local_folder_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE.name).write_bytes(content)
    with pytest.raises(InputError):
        fetch(FILE, [str(tmp_path)], FOLDER)
    assert list(FOLDER.iterdir()) == []


def test_when_all_fail_each_is_told_with_its_reason_and_the_ways_out(
    mirror: Mirror, second: Mirror
) -> None:
    mirror.answers = [Answer(status=404, body=b"gone")]
    second.answers = [Answer(body=OTHER)]
    with pytest.raises(InputError) as caught:
        fetch(FILE, [mirror.url, second.url, "absent"], FOLDER)
    told, first, next_, last, *ways_out = str(caught.value).splitlines()
    assert told.startswith(f"{FILE.name}: no mirror gave the file")
    assert first == f"  {mirror.url} (HTTP 404 Not Found)"
    assert next_ == f"  {second.url} (the content is not the published one (SHA-256))"
    assert last == "  absent (No such file or directory)"
    assert "DATASET_MIRROR" in " ".join(ways_out)
    assert "digits" in " ".join(ways_out)
    assert list(FOLDER.iterdir()) == []


def test_a_failed_download_keeps_what_was_loaded_for_the_next_run(mirror: Mirror) -> None:
    mirror.answers = [Answer(cut_after=2 * CHUNK_BYTES), Answer(status=500, body=b"oops")]
    with pytest.raises(InputError):
        fetch(FILE, [mirror.url], FOLDER)
    assert PARTIAL.read_bytes() == CONTENT[: 2 * CHUNK_BYTES]
    assert list(FOLDER.iterdir()) == []


Talk = Callable[[BinaryIO, Event], object]


@contextmanager
def raw_mirror(talk: Talk) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says, after a request's headers, whatever `talk` writes.

    Gives its address without the scheme, and the headers of each request.
    """
    requests: list[bytes] = []
    is_over = Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            lines = iter(self.rfile.readline, b"\r\n")
            requests.append(b"".join(lines))
            with suppress(OSError):
                talk(cast("BinaryIO", self.wfile), is_over)

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", requests
        is_over.set()
        server.shutdown()
        thread.join()


def say(text: bytes) -> Talk:
    return lambda output, _: output.write(text)


def repeat(first: bytes, again: bytes, pause_s: float = 0.0) -> Talk:
    """Says something until nobody listens."""

    def talk(output: BinaryIO, is_over: Event) -> None:
        output.write(first)
        while not is_over.wait(pause_s):
            output.write(again)

    return talk


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\n".encode("latin-1")


OK = b"HTTP/1.1 200 OK\r\n"
OF_ITS_LENGTH = OK + f"Content-Length: {len(CONTENT)}\r\n".encode()
LATE = 0.1


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (repeat(OF_ITS_LENGTH + b"\r\n", b"x", LATE), "stalled"),
        (repeat(OK + b"X: ", b"x", LATE), "stalled"),
        (repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n", LATE), "stalled"),
        (repeat(OK, b"X: y\r\n"), "is not HTTP"),
        (repeat(OK + b"X: ", b"x" * 1000), "is not HTTP"),
        (repeat(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"9" * 1000), "is not HTTP"),
        (say(b"SSH-2.0\r\n\r\n"), "is not HTTP"),
        (say(b""), "broke off"),
        (say(OK + b"Content-Length: 99305\r\n\r\n" + CONTENT), "99305 bytes"),
        (say(OK + b"Content-Length: -1\r\n\r\n" + OTHER), "SHA-256"),
        (say(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + OTHER), "SHA-256"),
        (say(redirect("file:///etc/hostname") + b"\r\n"), "an invalid http"),
        (say(redirect("gopher://127.0.0.1/") + b"\r\n"), "an invalid http"),
        (say(redirect("http://[/") + b"\r\n"), "an invalid http"),
        (say(redirect("http://127.0.0.1:999999/") + b"\r\n"), "an invalid http"),
        (say(redirect(f"http://{'a' * 70}.localhost/") + b"\r\n"), "an invalid http"),
        (say(redirect("http://a..localhost/") + b"\r\n"), "an invalid http"),
        (say(redirect("http://\x1b[31m\xff/") + b"\r\n"), "an invalid http"),
        (say(redirect("/again") + b"\r\n"), "too many redirects"),
        (repeat(redirect("/again") + b"\r\n", bytes(1 << 16)), "too many redirects"),
        (say(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "HTTP 302"),
        (say(b"HTTP/1.1 404 \x1b[31m\x9b" + b"no" * 9000 + b"\r\n\r\n"), "HTTP 404"),
    ],
)
def test_a_hostile_mirror_gives_way_to_the_next_in_bounded_time(
    second: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    talk: Talk,
    reason: str,
) -> None:
    monkeypatch.setattr(fetch_module, "PATIENCE_S", 0.5)
    with raw_mirror(talk) as (address, _):
        fetch(FILE, [f"http://{address}/data", second.url], FOLDER)
        (told,) = (line for line in capsys.readouterr().err.split("\n") if address in line)
    assert_fetched()
    assert reason in told
    assert told.isprintable()
    assert len(told) < 500


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Type: text/html\r\n\r\n<html>Log in",
        OK + b"Content-Length: 7\r\n\r\nLog in!",
        redirect("file:///etc/hostname") + b"\r\n",
    ],
)
def test_what_cannot_be_the_file_takes_the_place_of_nothing(answer: bytes) -> None:
    begin_partial(CONTENT[:1000])
    with raw_mirror(say(answer)) as (address, _), pytest.raises(InputError):
        fetch(FILE, [f"http://{address}"], FOLDER)
    assert PARTIAL.read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize(
    "mirror",
    [
        "http://user:s3cr3t@127.0.0.1:1/data",
        "http://user:a?s3cr3t@127.0.0.1:1/data",
        "http://user:a/s3cr3t@127.0.0.1:1/data",
        "http://user:a#s3cr3t@127.0.0.1:1/data",
        "http://user:a@s3cr3t@127.0.0.1:1/data",
        "http://s3cr3t@[127.0.0.1/data",
        "http://127.0.0.1:1/data?token=s3cr3t",
        "http://127.0.0.1:1/data?token=a@s3cr3t",
        "gopher://user:s3cr3t@127.0.0.1/data?token=s3cr3t",
        "user:s3cr3t@127.0.0.1/data",
        "http:/user:s3cr3t@127.0.0.1/data",
    ],
)
def test_no_password_or_token_is_told(mirror: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(FILE, [mirror], FOLDER)
    assert "s3cr3t" not in str(caught.value)


def test_a_password_goes_to_its_own_host_alone_and_a_query_stays_behind_the_path() -> None:
    basic = b"Authorization: Basic " + b64encode(b"user:s3cr3t")
    with (
        raw_mirror(say(OK + b"\r\n" + CONTENT)) as (other, to_other),
        raw_mirror(say(redirect(f"http://{other}/") + b"\r\n")) as (own, to_own),
    ):
        fetch(FILE, [f"http://user:s3cr3t@{own}/data/?key=1"], FOLDER)
    assert_fetched()
    assert basic in to_own[0]
    assert to_own[0].startswith(f"GET /data/{FILE.name}?key=1 ".encode())
    assert b"uthorization" not in to_other[0]


def test_a_folder_that_does_not_answer_gives_way_to_the_next(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "PATIENCE_S", 0.2)
    os.mkfifo(tmp_path / FILE.name)
    fetch(FILE, ["~nobody-of-this-name", str(tmp_path), mirror.url], FOLDER)
    assert_fetched()


def test_a_full_disk_is_no_fault_of_the_mirror_and_loses_nothing(
    tmp_path: Path, mirror: Mirror
) -> None:
    source = tmp_path / "mirror"
    source.mkdir()
    (source / FILE.name).write_bytes(CONTENT)
    for given in (mirror.url, str(source)):
        with at_most(CHUNK_BYTES + 1), pytest.raises(OSError, match=PARTIAL.name) as caught:
            fetch(FILE, [given, "absent"], FOLDER)
        assert caught.value.errno == errno.EFBIG
        assert PARTIAL.read_bytes() == CONTENT[: CHUNK_BYTES + 1]
    fetch(FILE, [mirror.url], FOLDER)
    assert_fetched()
    assert mirror.requests[-1][0] == CHUNK_BYTES + 1


@contextmanager
def at_most(n_bytes: int) -> Iterator[None]:
    """No file of this process may grow past so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
