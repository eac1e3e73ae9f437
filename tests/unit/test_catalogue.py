"""The data sets: what is made here, what is published, and where it is fetched from first."""

import re
import socket
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer
from threading import Thread

import numpy as np
import pytest
from sklearn.datasets import load_digits

from stages.common.data import RAW_ARRAYS, RawArrays, RawFile, Source
from stages.common.errors import InputError
from stages.common.params import Custom, DatasetParams, Simulated
from stages.download import catalogue
from stages.download.catalogue import DATASETS, obtain
from stages.download.raw import IDX_NAMES
from stages.preprocess.decode import decode

SIMULATED = Simulated(n_train=50, n_test=20, height=5, width=4, n_classes=7, noise=0.5, seed=1)
# As the design document of this project has them.
FASHION_MNIST = (
    RawFile(
        "train-images-idx3-ubyte.gz",
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    RawFile(
        "train-labels-idx1-ubyte.gz",
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    RawFile(
        "t10k-images-idx3-ubyte.gz",
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    RawFile(
        "t10k-labels-idx1-ubyte.gz",
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)


def named(name: str, simulated: Simulated = SIMULATED) -> DatasetParams:
    custom = Custom(format="auto", target="target", resize=())
    return DatasetParams(name=name, path="data/custom", custom=custom, simulated=simulated)


def add_published(
    monkeypatch: pytest.MonkeyPatch, folder: Path, class_names: tuple[str, ...]
) -> None:
    """Makes the folder's files, as they are now, the data set `tiny` of the catalogue."""
    in_order = [(folder / name).read_bytes() for name in IDX_NAMES]
    files = [(len(content), sha256(content).hexdigest()) for content in in_order]
    entry = catalogue._published(class_names, ["other-mirror"], files)
    monkeypatch.setitem(DATASETS, "tiny", entry)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("DATASET_MIRROR", raising=False)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small published data set, which the catalogue knows as `tiny`."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in IDX_NAMES:
        (folder / name).write_bytes(f"content of {name}".encode())
    add_published(monkeypatch, folder, class_names=("a", "b"))
    return folder


@pytest.fixture
def url(published: Path) -> Iterator[str]:
    """The published folder behind a server of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with TCPServer(("127.0.0.1", 0), partial(Quiet, directory=published)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_digits_are_scikit_learn_s_without_any_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("digits come without a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    source = obtain(named("digits"), tmp_path)
    arrays = RAW_ARRAYS.read(tmp_path)
    assert arrays.train_inputs.shape == (1438, 8, 8, 1)
    assert arrays.test_inputs.shape == (359, 8, 8, 1)
    assert arrays.train_inputs.dtype == arrays.test_inputs.dtype == np.uint8
    assert arrays.train_inputs.max() == arrays.test_inputs.max() == 16
    np.testing.assert_array_equal(arrays.test_inputs[..., 0], load_digits().images[4::5])
    np.testing.assert_array_equal(arrays.test_targets, load_digits().target[4::5])
    assert arrays.train_targets.shape == (1438,)
    assert source.class_names == tuple("0123456789")


@pytest.mark.parametrize("name", ["digits", "simulated"])
def test_what_is_made_has_the_same_bytes_each_time(tmp_path: Path, name: str) -> None:
    first, second = (obtain(named(name), tmp_path / folder) for folder in ("first", "second"))
    assert first == second
    content = (tmp_path / "first" / "arrays.npz").read_bytes()
    assert content == (tmp_path / "second" / "arrays.npz").read_bytes()
    assert first.files == (RawFile("arrays.npz", len(content), sha256(content).hexdigest()),)


def test_simulated_data_are_of_the_configured_size(tmp_path: Path) -> None:
    source = obtain(named("simulated"), tmp_path)
    arrays = RAW_ARRAYS.read(tmp_path)
    assert arrays.train_inputs.shape == (50, 5, 4, 1)
    assert arrays.test_inputs.shape == (20, 5, 4, 1)
    assert len(source.class_names) == 7
    for labels in (arrays.train_targets, arrays.test_targets):
        np.testing.assert_array_equal(np.unique(labels), np.arange(7))


def test_another_seed_simulates_other_data(tmp_path: Path) -> None:
    other = SIMULATED.model_copy(update={"seed": 2})
    obtain(named("simulated"), tmp_path / "one")
    obtain(named("simulated", other), tmp_path / "two")
    one, two = (RAW_ARRAYS.read(tmp_path / name) for name in ("one", "two"))
    assert not np.array_equal(one.train_inputs, two.train_inputs)
    assert not np.array_equal(one.train_targets, two.train_targets)


def test_simulated_images_of_a_class_are_its_prototype_when_there_is_no_noise(
    tmp_path: Path,
) -> None:
    obtain(named("simulated", SIMULATED.model_copy(update={"noise": 0.0})), tmp_path)
    arrays = RAW_ARRAYS.read(tmp_path)
    prototypes = {
        int(label): image
        for image, label in zip(arrays.train_inputs, arrays.train_targets, strict=True)
    }
    for image, label in zip(arrays.test_inputs, arrays.test_targets, strict=True):
        np.testing.assert_array_equal(image, prototypes[int(label)])


def test_an_unknown_data_set_is_told_with_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        obtain(named("fashion-mnist"), tmp_path / "raw")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("params.yaml: dataset.name: no data set 'fashion-mnist'")
    assert all(name in line for name in DATASETS)


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "kmnist"])
def test_a_published_data_set_is_fixed_by_sizes_and_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(catalogue, "fetch", lambda *_: None)
    source = obtain(named(name), tmp_path)
    assert [file.name for file in source.files] == [file.name for file in FASHION_MNIST]
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in source.files)
    assert len({file.sha256 for file in source.files}) == 4
    assert all(file.n_bytes > 0 for file in source.files)
    assert len(set(source.class_names)) == 10
    assert (source.files == FASHION_MNIST) == (name == "fashion_mnist")


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_dataset_mirror_is_tried_first(
    published: Path,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    monkeypatch.setenv("DATASET_MIRROR", {"folder": str(published), "url": url}[kind])
    obtain(named("tiny"), tmp_path / "raw")
    assert contents(tmp_path / "raw") == contents(published)
    assert "other-mirror" not in capsys.readouterr().err


def test_the_published_mirrors_follow_and_the_source_stays_the_same(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASET_MIRROR", str(published))
    first = obtain(named("tiny"), tmp_path / "raw")
    published.rename(tmp_path / "other-mirror")
    assert obtain(named("tiny"), tmp_path / "again") == first
    assert contents(tmp_path / "again") == contents(tmp_path / "raw")
    assert first.origin == ("other-mirror",)


def test_real_images_in_the_published_format_are_fetched_and_decoded(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = shared_data / "fashion-mnist-sample"
    add_published(monkeypatch, sample, class_names=tuple("0123456789"))
    monkeypatch.setenv("DATASET_MIRROR", str(sample))
    source = obtain(named("tiny"), tmp_path / "raw")
    arrays = decode(tmp_path / "raw", source)
    assert arrays.train_inputs.shape == (2000, 28, 28, 1)
    assert arrays.test_inputs.shape == (1909, 28, 28, 1)


def test_a_data_set_is_added_by_one_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.arange(12, dtype=np.uint8).reshape(6, 2, 1, 1)
    labels = np.arange(6, dtype=np.uint8) % 2
    made = RawArrays(images[:4], labels[:4], images[4:], labels[4:])

    def mine(dataset: DatasetParams, folder: Path) -> Source:
        RAW_ARRAYS.write(folder, made)
        return Source(
            dataset.name, "npz", ("me",), ("even", "odd"), (RawFile("arrays.npz", 0, ""),)
        )

    monkeypatch.setitem(DATASETS, "mine", mine)
    source = obtain(named("mine"), tmp_path / "raw")
    decoded = decode(tmp_path / "raw", source)
    np.testing.assert_equal(asdict(decoded), asdict(made))
