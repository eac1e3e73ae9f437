"""Fetching one published file: several mirrors, resumption, and no unverified byte under its name.

The bytes gather and stay in `.cache/downloads`, outside the stage's outputs, which DVC clears
before a run: a download that was broken off, even by a kill, goes on where it was, and a whole one
is never made twice.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import requests

from stages.common.console import Progress, notice
from stages.common.data import RawFile
from stages.common.errors import InputError
from stages.common.files import replacing

CACHE = Path(".cache/downloads")
N_ATTEMPTS = 3
CONNECT_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 20.0
_CHUNK_BYTES = 1 << 16


class _TransferError(Exception):
    """A transfer failed; `retry` says whether the same mirror may do better."""

    def __init__(self, reason: str, *, retry: bool) -> None:
        super().__init__(reason)
        self.retry = retry


def fetch(file: RawFile, mirrors: Sequence[str], folder: Path) -> None:
    """Puts the file into the folder, from the first mirror that gives what the hash says.

    Args:
        file: Name, size and SHA-256, known beforehand.
        mirrors: URLs or local folders, tried in order; the hash decides, not the mirror.
        folder: Where to; the file appears there whole and verified or not at all.

    Raises:
        InputError: If no mirror gave the file: each with its reason, and the ways out.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    cached = CACHE / file.sha256
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
            failures.append(f"  {mirror} ({error})")
        else:
            partial.replace(cached)
            for failure in failures:
                notice(f"{file.name}: not from {failure.strip()}")
            return
    raise InputError(
        "\n".join(
            (
                f"{file.name}: no mirror gave the file. Tried:",
                *failures,
                "Ways out: run again later, a broken download goes on where it was; or set",
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
        # Else what another mirror or an earlier run began may be what is wrong: once more, whole.
    raise _TransferError("the content is not the published one (SHA-256)", retry=False)


def _transfer(mirror: str, file: RawFile, partial: Path) -> None:
    """Appends what is missing to the partial file, which is then of the right size."""
    begun_at = partial.stat().st_size if partial.exists() else 0
    if begun_at >= file.n_bytes:
        if begun_at == file.n_bytes:
            return
        begun_at = 0
    with (
        _open(mirror, file, begun_at) as (chunks, offset),
        partial.open("r+b" if offset else "wb") as output,
        Progress(file.name, file.n_bytes, "B", done=offset) as bar,
    ):
        output.seek(offset)
        output.truncate()
        for chunk in chunks:
            if output.tell() + len(chunk) > file.n_bytes:
                break
            output.write(chunk)
            bar.advance(len(chunk))
        else:
            if output.tell() == file.n_bytes:
                return
            raise _TransferError(f"ended after {output.tell()} of {file.n_bytes} bytes", retry=True)
    partial.unlink()
    raise _TransferError(f"more than the published {file.n_bytes} bytes", retry=False)


@contextmanager
def _open(mirror: str, file: RawFile, begun_at: int) -> Iterator[tuple[Iterator[bytes], int]]:
    """The mirror's bytes and the offset at which they begin; 0 if it does not support ranges."""
    if "://" in mirror:
        yield from _open_url(f"{mirror.rstrip('/')}/{file.name}", begun_at)
    else:
        try:
            with (Path(mirror).expanduser() / file.name).open("rb") as source:
                yield _chunks(source), 0
        except OSError as error:
            raise _TransferError(error.strerror or str(error), retry=False) from None


def _open_url(url: str, begun_at: int) -> Iterator[tuple[Iterator[bytes], int]]:
    # Identity, else a server may pack the packed file once more and ranges count other bytes.
    headers = {"Accept-Encoding": "identity"}
    if begun_at:
        headers["Range"] = f"bytes={begun_at}-"
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        ) as response:
            if response.status_code == 416:
                raise _TransferError("its file is shorter than the published one", retry=False)
            if response.status_code >= 400:
                reason = f"HTTP {response.status_code} {response.reason}"
                raise _TransferError(reason, retry=response.status_code >= 500)
            # Some servers give the published packing itself out as an encoding; it is to stay.
            response.raw.headers.pop("Content-Encoding", None)
            content_range = response.headers.get("Content-Range", "")
            resumed = response.status_code == 206 and content_range.startswith(f"bytes {begun_at}-")
            yield response.iter_content(_CHUNK_BYTES), begun_at if resumed else 0
    except requests.exceptions.ConnectTimeout:
        raise _TransferError(
            f"no connection within {CONNECT_TIMEOUT_S:.0f} s", retry=False
        ) from None
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ReadTimeout):
        raise _TransferError("the connection broke off", retry=True) from None
    except requests.exceptions.ConnectionError as error:
        stalled = "Read timed out" in str(error)
        raise _TransferError("stalled" if stalled else "no connection", retry=stalled) from None
    except requests.exceptions.RequestException as error:
        raise _TransferError(str(error), retry=False) from None


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: source.read(_CHUNK_BYTES), b"")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for chunk in _chunks(file):
            digest.update(chunk)
    return digest.hexdigest()
