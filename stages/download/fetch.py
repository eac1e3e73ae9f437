"""Fetches one published file: tries several mirrors, resumes, and verifies before naming it.

Downloads are kept in `.cache/downloads`, because DVC clears a stage's outputs before it runs. An
interrupted download, even a killed one, resumes where it stopped, and a complete one is not
repeated.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial as bind
from http.client import HTTPException
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from stages.common.console import Progress, notice
from stages.common.data import RawFile
from stages.common.errors import InputError, one_line
from stages.common.files import locate_cache, naming, replacing

N_ATTEMPTS = 3
CONNECT_TIMEOUT_S = 4.0
# The time a mirror has for its headers, redirects included, and then for each chunk: 1 kB/s.
PATIENCE_S = 30.0
_CHUNK_BYTES = 1 << 15
Parts = Generator[Any, None, None]


class _TransferError(Exception):
    """A transfer failed; `retry` says whether the same mirror may do better."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.retry = retry


def fetch(file: RawFile, mirrors: Sequence[str], folder: Path) -> None:
    """Fetches the file from the first mirror whose content matches the hash.

    Args:
        file: Name, size and SHA-256, known beforehand.
        mirrors: URLs or local folders, tried in order; the hash decides, not the mirror.
        folder: The destination; the file appears there complete and verified, or not at all.

    Raises:
        InputError: If no mirror gave the file; the message says why for each, and what to do.
    """
    cached = locate_cache("downloads") / file.sha256
    cached.parent.mkdir(parents=True, exist_ok=True)
    if not cached.exists() or _sha256(cached) != file.sha256:
        _load(file, mirrors, cached)
    with replacing(folder / file.name) as temporary:
        shutil.copyfile(cached, temporary)


def _load(file: RawFile, mirrors: Sequence[str], cached: Path) -> None:
    partial = cached.with_suffix(".part")
    failures = []
    for mirror in mirrors:
        try:
            _load_from(mirror, file, partial)
        except _TransferError as error:
            failures.append(f"  {one_line(_without_secrets(mirror))} ({one_line(error)})")
        else:
            partial.replace(cached)
            for failure in failures:
                notice(f"{file.name}: skipped {failure.strip()}")
            return
    raise InputError(
        "\n".join(
            (
                f"{file.name}: no mirror gave the file. Tried:",
                *failures,
                "What helps: run again later, which resumes an interrupted download; or set",
                "DATASET_MIRROR to a URL or a local folder that holds the published files;",
                "or set dataset.name in params.yaml to digits, which needs no network.",
            )
        )
    )


def _load_from(mirror: str, file: RawFile, partial: Path) -> None:
    for attempt in range(1, N_ATTEMPTS + 1):
        was_begun = partial.exists()
        try:
            _transfer(mirror, file, partial)
        except _TransferError as error:
            if not error.retry or attempt == N_ATTEMPTS:
                raise
            time.sleep(2.0 ** (attempt - 2))
            continue
        if _sha256(partial) == file.sha256:
            return
        partial.unlink()
        if not was_begun:
            break
        # The part that another mirror or an earlier run left may be at fault: start over once.
    raise _TransferError("the content is not the published one (SHA-256)", retry=False)


def _transfer(mirror: str, file: RawFile, partial: Path) -> None:
    """Downloads what the partial file lacks; afterwards it has the published size."""
    begun_at = partial.stat().st_size if partial.exists() else 0
    if begun_at >= file.n_bytes:
        if begun_at == file.n_bytes:
            return
        begun_at = 0
    with closing(_watch(lambda: _read(mirror, file, begun_at))) as parts:
        offset = next(parts)
        with (
            naming(partial),
            partial.open("r+b" if offset else "wb") as output,
            Progress(file.name, file.n_bytes, "B", done=offset) as bar,
        ):
            output.seek(offset)
            output.truncate()
            for chunk in parts:
                if output.tell() + len(chunk) > file.n_bytes:
                    break
                output.write(chunk)
                bar.advance(len(chunk))
            else:
                if output.tell() == file.n_bytes:
                    return
                reason = f"ended after {output.tell()} of {file.n_bytes} bytes"
                raise _TransferError(reason, retry=True)
    partial.unlink()
    raise _TransferError(f"more than the published {file.n_bytes} bytes", retry=False)


def _watch(read: Callable[[], Parts]) -> Parts:
    """Yields the same items, but gives up when one takes longer than PATIENCE_S.

    They are read in a thread, because a socket's timeout never ends a mirror that sends a byte now
    and then, even within a header. A stuck thread ends with the program.

    Raises:
        _TransferError: If an item is late.
    """
    items: Queue[Any] = Queue(maxsize=1)
    is_over = Event()
    end = object()

    def produce() -> None:
        try:
            with closing(read()) as source:
                for item in source:
                    items.put(item)
                    if is_over.is_set():
                        return
            items.put(end)
        except Exception as error:  # noqa: BLE001, raised again by the other thread
            items.put(error)

    Thread(target=produce, daemon=True).start()
    try:
        while (item := items.get(timeout=PATIENCE_S)) is not end:
            if isinstance(item, Exception):
                raise item
            yield item
    except Empty:
        raise _TransferError("stalled", retry=False) from None
    finally:
        is_over.set()
        if not items.empty():  # The thread may be waiting for room.
            items.get()


def _read(mirror: str, file: RawFile, begun_at: int) -> Parts:
    """Yields the offset at which the mirror's bytes begin, then the bytes."""
    if "://" in mirror:
        yield from _read_url(mirror, file, begun_at)
        return
    try:
        with (Path(mirror).expanduser() / file.name).open("rb") as source:
            yield 0
            yield from iter(bind(source.read, _CHUNK_BYTES), b"")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _TransferError(reason, retry=False) from None


def _read_url(mirror: str, file: RawFile, begun_at: int) -> Parts:
    # Otherwise a server may compress the file again, and ranges would count other bytes.
    headers = {"Accept-Encoding": "identity"}
    if begun_at:
        headers["Range"] = f"bytes={begun_at}-"
    try:
        parts = urlsplit(mirror)
        url = parts._replace(path=f"{parts.path.rstrip('/')}/{file.name}").geturl()
        with requests.get(
            url,
            headers=headers,
            stream=True,
            timeout=(CONNECT_TIMEOUT_S, PATIENCE_S),
            hooks={"response": _drop_body_of_redirect},
        ) as response:
            yield _offset(response, file, begun_at)
            # Some servers declare the file's own compression as an encoding; do not undo it.
            read = bind(response.raw.read, _CHUNK_BYTES, decode_content=False)
            yield from iter(read, b"")
    except (OSError, ValueError, HTTPException, urllib3.exceptions.HTTPError) as error:
        raise _in_words(error) from None


def _drop_body_of_redirect(response: requests.Response, **_: Any) -> None:
    """Closes a redirect, since requests would read all of its body, however long it is."""
    if response.is_redirect:
        response.raw.close()
        response.raw = None


def _offset(response: requests.Response, file: RawFile, begun_at: int) -> int:
    """Where the body begins in the file; 0 if the mirror does not support ranges.

    Raises:
        _TransferError: If the body cannot be the file; the partial file is then left as it is.
    """
    if response.status_code == 416:
        raise _TransferError("its file is shorter than the published one", retry=False)
    if response.status_code >= 300:
        reason = f"HTTP {response.status_code} {response.reason}"
        raise _TransferError(reason, retry=response.status_code >= 500)
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise _TransferError("a web page instead of the file", retry=False)
    content_range = response.headers.get("Content-Range", "")
    resumed = response.status_code == 206 and content_range.startswith(f"bytes {begun_at}-")
    offset = begun_at if resumed else 0
    n_bytes = response.raw.length_remaining
    if n_bytes is not None and offset + n_bytes != file.n_bytes:
        reason = f"its file has {offset + n_bytes} bytes, the published one {file.n_bytes}"
        raise _TransferError(reason, retry=False)
    return offset


def _in_words(error: Exception) -> _TransferError:
    """Says what went wrong in our own words, since the libraries' messages quote the address."""
    retry = False
    match error:
        case requests.exceptions.ConnectTimeout():
            reason = f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
        case requests.exceptions.Timeout() | urllib3.exceptions.TimeoutError():
            reason = "stalled"
        case requests.exceptions.TooManyRedirects():
            reason = "too many redirects"
        case requests.exceptions.SSLError():
            reason = "no secure connection (TLS)"
        case (
            urllib3.exceptions.ProtocolError()
            | requests.exceptions.ConnectionError(args=(urllib3.exceptions.ProtocolError(), *_))
        ):
            reason, retry = "its answer broke off or is not HTTP", True
        case requests.exceptions.ConnectionError():
            reason = "no connection"
        # A ValueError means a malformed host; urllib, urllib3 or the codec for host names raise it.
        case ValueError():
            reason = "it is, or redirects to, an invalid http or https address"
        case _:
            reason = f"its answer cannot be read ({type(error).__name__})"
    return _TransferError(reason, retry=retry)


def _without_secrets(mirror: str) -> str:
    """A folder unchanged; an address without password and query, which may hold tokens."""
    scheme, mark, _ = mirror.partition("://")
    if not mark:
        return re.sub(":.*@", ":…@", mirror)  # an address that lacks its scheme
    try:
        parts = urlsplit(mirror)
        # A special character in a password spoils the port, or moves the rest to another part.
        is_clear = parts.port != 0 and "@" not in parts.path + parts.query + parts.fragment
    except ValueError:
        is_clear = False
    if not is_clear:
        return f"{scheme}://…"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
