"""`python -m tests.reliability.fuzz --n 1000000`: damaged bytes for everything that reads a file.

A reader may give the value from before, another valid value where the format is text or the damage
lies below its checksums, or the error that it documents. Anything else is a fault: another error,
ten seconds of computing, more memory than a small file can need. Needs Linux.
"""

import argparse
import gzip
import random
import re
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import numpy as np
from tabulate import tabulate

from stages.common.data import RAW_ARRAYS
from stages.common.errors import InputError
from stages.common.files import Arrays, File, describe_fault, write_archive
from stages.common.params import Params, load_params
from stages.common.results import METRICS
from stages.engine.store import _RECORD, _STORED, TrialStore, _Record, _Stored
from stages.engine.trial import Trial, TrialResult
from stages.preprocess.decode import read_idx
from stages.report.past import _parse_metrics, _parse_params, changes
from tests.unit.test_files import COMPLETED, EPOCH, KINDS, TRAINED, plain

SAME, OTHER, REFUSED = "same value", "another valid value", "refused"
CHUNK = 2000
# Of computing, for a file of some hundred bytes.
LIMIT_S = 10.0
# Beyond what the process has when it begins.
LIMIT_BYTES = 256 * 2**20
BOMB_BYTES = 300 * 2**20
# Read by pure Python, two hundred times as long as the others.
YAML_SHARE = 0.1

PARAMS = b"""dataset:
  name: simulated
  path: data/custom
  custom: {format: auto, target: target, resize: []}
  simulated: {n_train: 9, n_test: 9, height: 4, width: 4, n_classes: 3, noise: 0.5, seed: 0}
task: {name: classification, loss: auto, score: auto, direction: auto}
split: {validation_fraction: 0.2, seed: 42, stratify: false, test_fraction: 0.2, test_seed: 43}
model: {name: mlp, hidden_units: [8], activation: relu, dropout: 0.0}
train: {epochs: 2, batch_size: 16, jit_compile: auto,
  schedule: {warmup: 0.0, decay: none, final: 0.0}}
tuning: {learning_rate_factors: [1.0], n_settings: 1, seeds: [1], final_seeds: []}
confirmation: {first_seed: 42, at_most: 10}
comparison: {confidence: 0.95, margin: 0.01, target: auto}
optimizers:
  sgd: {class_name: SGD, learning_rate: 0.1}  # a comment
"""
TRIAL = Trial("confirmation", 1.0, 42, 1)
KEY = "5" * 64


class TooSlowError(BaseException):
    """No `except Exception` may swallow it."""


class FaultError(Exception):
    """What a reader gave is not allowed."""


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes.

    `read` gives one of the outcomes, or raises. `pack` makes a file of damaged bytes, for damage
    that a checksum would hide. `share` is how often it is tried, where the others have 1.
    """

    name: str
    samples: Sequence[bytes]
    read: Callable[[bytes], str]
    pack: Callable[[bytes], bytes] = bytes
    share: float = 1.0


@dataclass
class Tally:
    """Outcomes by reader, and of each kind of fault the smallest input."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def add_fault(self, kind: tuple[str, str], content: bytes) -> None:
        self.faults[kind] = min(self.faults.get(kind, content), content, key=len)


# What is read


def readers(folder: Path) -> list[Reader]:
    """Every reader; those that take a path find their file in the folder."""
    files = [reader for name, kind in KINDS.items() for reader in _of_file(name, kind.file)]
    return [*files, *_of_store(folder), *_of_idx(folder), *_of_yaml(folder)]


def _of_file(name: str, file: File[Any]) -> Iterator[Reader]:
    value = KINDS[name].value
    content = file.encode(value)
    if not isinstance(file, Arrays):
        yield Reader(
            name, [content, content[: len(content) // 2]], partial(_read_file, file, value)
        )
        return
    members = [(entry, array) for entry, array in _members(content).items()]
    others = [
        kind.file.encode(kind.value) for kind in KINDS.values() if isinstance(kind.file, Arrays)
    ]
    yield Reader(name, [content, _zip_bomb(), *others], partial(_read_file, file, value))
    for i, (entry, array) in enumerate(members):
        yield Reader(
            f"{name}: {entry}",
            [array],
            partial(_read_repacked, file),
            pack=partial(_pack_member, tuple(members), i),
            share=1 / len(members),
        )


def _read_file(file: File[Any], value: Any, content: bytes) -> str:
    try:
        found = file.decode(content)
    except ValueError as error:
        return _refused(describe_fault(error))
    if plain(found) == plain(value):
        return SAME
    if isinstance(file, Arrays):
        if content != file.encode(found) or content not in _originals():
            raise FaultError("another value")
        return OTHER
    # Digits beyond the sixth, and what shows nothing, are lost when it is written.
    written = file.encode(found)
    if file.encode(file.decode(written)) != written:
        raise FaultError("is not written as it was read")
    return OTHER


@cache
def _originals() -> set[bytes]:
    """Whole files of another name, which a splice may come to; their fields may be the same."""
    return {kind.file.encode(kind.value) for kind in KINDS.values()}


def _read_repacked(file: Arrays[Any], content: bytes) -> str:
    try:
        found = file.decode(content)
    except ValueError as error:
        return _refused(describe_fault(error))
    assert isinstance(found, file.kind)
    return OTHER


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _pack_member(members: Sequence[tuple[str, bytes]], i: int, array: bytes) -> bytes:
    return write_archive({**dict(members), members[i][0]: array})


@cache
def _zip_bomb() -> bytes:
    """The right arrays, but one of them is as large as it claims to be."""
    members = _members(RAW_ARRAYS.encode(KINDS["RAW_ARRAYS"].value))
    with BytesIO() as file:
        np.lib.format.write_array(file, np.zeros(BOMB_BYTES, np.uint8))
        members["test_targets.npy"] = file.getvalue()
    with BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return file.getvalue()


def _of_store(folder: Path) -> Iterator[Reader]:
    result = TrialResult(COMPLETED, (EPOCH,), TRAINED.arrays)
    store = TrialStore(folder / "store")
    store.put(KEY, TRIAL, result)
    (path,) = (folder / "store").glob("*/*")
    value = store.get(KEY, TRIAL)
    assert value is not None
    record = _RECORD.encode(_Record(KEY, TRIAL, result.row, result.curve))

    def read(content: bytes, *, may_be_other: bool) -> str:
        path.write_bytes(content)
        found = store.get(KEY, TRIAL)
        if found is None:
            return REFUSED
        if plain(found) == plain(value):
            return SAME
        if not may_be_other:
            raise FaultError("another value")
        return OTHER

    def pack(damaged: bytes) -> bytes:
        return _STORED.encode(_Stored(np.frombuffer(damaged, np.uint8), result.weights))

    yield Reader("store", [path.read_bytes(), pack(b"{}")], partial(read, may_be_other=False))
    yield Reader("store: record", [record], partial(read, may_be_other=True), pack)


def _of_idx(folder: Path) -> Iterator[Reader]:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    unpacked = bytes((0, 0, 8, 3)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path = folder / "x-idx3-ubyte.gz"

    def read(content: bytes, *, may_be_other: bool) -> str:
        path.write_bytes(content)
        try:
            found = read_idx(path)
        except InputError as error:
            return _refused(str(error))
        if plain(found) == plain(array):
            return SAME
        if not may_be_other or found.dtype != np.uint8 or found.ndim != 3:
            raise FaultError("another value")
        return OTHER

    pack = partial(gzip.compress, compresslevel=1)
    samples = [pack(unpacked), pack(unpacked[:20]), _gzip_bomb(unpacked)]
    yield Reader("IDX", samples, partial(read, may_be_other=False))
    yield Reader("IDX: unpacked", [unpacked], partial(read, may_be_other=True), pack)


@cache
def _gzip_bomb(begin: bytes) -> bytes:
    return gzip.compress(begin + bytes(BOMB_BYTES), compresslevel=1)


def _of_yaml(folder: Path) -> Iterator[Reader]:
    path = folder / "params.yaml"
    path.write_bytes(PARAMS)
    value = load_params(path)
    before = _parse_params.__wrapped__(PARAMS)
    assert isinstance(before, dict)

    def read_params(content: bytes) -> str:
        path.write_bytes(content)
        try:
            found = load_params(path)
        except InputError as error:
            return _refused(str(error), n_lines=None)
        assert isinstance(found, Params)
        return SAME if found == value else OTHER

    def read_past_params(content: bytes) -> str:
        after = _parse_params.__wrapped__(content)
        if isinstance(after, str):
            return _refused(after)
        notes = list(changes(before, after))
        "".join(notes).encode(errors="surrogatepass")
        return OTHER if notes else SAME

    def read_past_metrics(content: bytes) -> str:
        found, notes = _parse_metrics(content)
        if notes:
            (note,) = notes
            return _refused(note)
        return SAME if found == KINDS["METRICS"].value else OTHER

    metrics = METRICS.encode(KINDS["METRICS"].value)
    yield Reader("params.yaml", [PARAMS], read_params, share=YAML_SHARE)
    yield Reader("params.yaml of a commit", [PARAMS], read_past_params, share=YAML_SHARE)
    yield Reader("metrics.json of a commit", [metrics], read_past_metrics)


def _refused(message: str, n_lines: int | None = 1) -> str:
    """Checks that a person can read why."""
    message.encode()
    if not message or (n_lines and len(message.splitlines()) > n_lines):
        raise FaultError(f"is told as {message!r}")
    if "allocate" in message or "MemoryError" in message:
        raise FaultError("needed too much memory")
    return REFUSED


# How bytes are damaged

NUMBERS = (0, 1, 8, 20, 99, 255, 0x800, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
TOKENS = (
    *(b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"9" * 30, b"9" * 5000, b"1e-400", b"0x1F"),
    *(b"null", b"true", b'""', b"[]", b"{}", b"[" * 2000, b"{a: " * 500, b'"', b"'", b"\\ud800"),
    *(
        b"\n",
        b"\r",
        b",",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xa8",
        b"&a [*a]",
        b"<<: ",
    ),
    *(b"!!python/name:os ", b"!!binary ", b"2024-13-45", b"- ", b": ", b"? ", b"|", b"%YAML 9.9\n"),
    *(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"\x1f\x8b\x08\x00", b"'descr': '|O'", b"'|S0'", b"'<M8'"),
)
FORMATS = ("<H", "<I", ">I")
SHAPES = (b"(4000000000,)", b"(99999, 99999, 9)", b"(-1,)", b"()", b"(1, 0, 1)", b"(True,)")
SHAPE = re.compile(rb"\(([\d, ]*)\), } *")


def damage(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """The content after one to three damages; other files are for splices."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(DAMAGES)(content, others, draw)
    return content


def _flip(content: bytes, _others: Sequence[bytes], draw: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8)) if content else 0):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, _: Sequence[bytes], draw: random.Random) -> bytes:
    begin, end = sorted(draw.randint(0, len(content)) for _ in range(2))
    return draw.choice((content[:begin], content[end:], content[:begin] + content[end:]))


def _insert(content: bytes, _: Sequence[bytes], draw: random.Random) -> bytes:
    place = draw.randint(0, len(content))
    return (
        content[:place]
        + draw.choice((draw.randbytes(draw.randint(1, 9)), *TOKENS))
        + content[place:]
    )


def _overwrite(content: bytes, _: Sequence[bytes], draw: random.Random) -> bytes:
    begin = draw.randint(0, len(content))
    return content[:begin] + draw.choice(TOKENS) + content[begin + draw.randint(0, 20) :]


def _splice(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    other = draw.choice(others)
    return content[: draw.randint(0, len(content))] + other[draw.randint(0, len(other)) :]


def _set_field(content: bytes, _: Sequence[bytes], draw: random.Random) -> bytes:
    damaged, form = bytearray(content), draw.choice(FORMATS)
    size = struct.calcsize(form)
    if len(content) >= size:
        number = draw.choice((*NUMBERS, len(content), draw.getrandbits(32))) % 256**size
        struct.pack_into(form, damaged, draw.randint(0, len(content) - size), number)
    return bytes(damaged)


def _set_shape(content: bytes, _: Sequence[bytes], draw: random.Random) -> bytes:
    """Of a NumPy array, in a header of the same length."""
    found = SHAPE.search(content)
    if found is None:
        return content + draw.choice(SHAPES)
    header = (draw.choice(SHAPES) + b", }").ljust(len(found[0]))
    return content[: found.start()] + header + content[found.end() :]


DAMAGES = (_set_shape, _flip, _cut, _insert, _overwrite, _splice, _set_field)


# The search


def try_one(reader: Reader, content: bytes, tally: Tally) -> None:
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        outcome = reader.read(content)
    except (Exception, TooSlowError) as error:  # noqa: BLE001, this is what is looked for
        *_, last = traceback.extract_tb(error.__traceback__)
        kind = (
            f"{type(error).__name__}: {str(error)[:80]} ({Path(last.filename).name}:{last.lineno})"
        )
        tally.add_fault((reader.name, kind), content)
        outcome = "FAULT"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    tally.outcomes[reader.name, outcome] += 1


def search(seed: int, chunk: int) -> Tally:
    """Tries a chunk of inputs, which the two numbers decide."""
    draw = random.Random(f"{seed} {chunk}")  # noqa: S311
    tally = Tally()
    with TemporaryDirectory() as folder:
        choices = readers(Path(folder))
        weights = list(accumulate(reader.share for reader in choices))
        for _ in range(CHUNK):
            (reader,) = draw.choices(choices, cum_weights=weights)
            # The first is the file itself. Of the others, bombs explode where nothing is damaged.
            first, *others = reader.samples
            content = damage(first, reader.samples, draw)
            if others and draw.random() < 0.02:
                content = draw.choice(others)
            try_one(reader, reader.pack(content), tally)
    return tally


def set_limits() -> None:
    """Of a process that searches."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, _too_slow)
    with TemporaryDirectory() as folder:
        readers(Path(folder))  # the bombs are made once, and take more memory than is allowed
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TooSlowError(f"more than {LIMIT_S} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="inputs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    begun_s = time.monotonic()
    total = Tally()
    chunks = range(-(-arguments.n // CHUNK))
    with ProcessPoolExecutor(2, initializer=set_limits) as pool:
        for tally in pool.map(partial(search, arguments.seed), chunks):
            total.outcomes += tally.outcomes
            for kind, content in tally.faults.items():
                total.add_fault(kind, content)
    print(describe(total, time.monotonic() - begun_s))
    return bool(total.faults)


def describe(tally: Tally, took_s: float) -> str:
    """The table by reader, the parts of an archive together, and every kind of fault."""
    headers = (SAME, OTHER, REFUSED, "FAULT")
    counts: dict[str, Counter[str]] = {}
    for (name, outcome), n in tally.outcomes.items():
        short = f"{name.partition(':')[0]}: a part" if ":" in name else name
        counts.setdefault(short, Counter())[outcome] += n
    rows = [[name, *(of[header] for header in headers)] for name, of in sorted(counts.items())]
    rows.append(["all", *(sum(of[header] for of in counts.values()) for header in headers)])
    n = tally.outcomes.total()
    lines = [
        tabulate(rows, ["reader", *headers], intfmt=","),
        f"{n:,} inputs in {took_s:.0f} s, {n / took_s:,.0f} a second",
        *(f"{name}: {kind}: {c[:300]!r}" for (name, kind), c in sorted(tally.faults.items())),
    ]
    return "\n\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
