"""The files of `data/raw`."""

from hashlib import sha256
from pathlib import Path

from stages.common.data import RawFile
from stages.common.files import write_bytes

# The files of MNIST and its relatives: training images and labels, then test images and labels.
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def write_raw(folder: Path, name: str, content: bytes) -> RawFile:
    """Writes one file of `data/raw` and returns its name, size and hash."""
    write_bytes(folder / name, content)
    return RawFile(name, len(content), sha256(content).hexdigest())
