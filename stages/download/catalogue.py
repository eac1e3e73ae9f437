"""The data sets and where they come from.

To add one, write a function that fills a folder and returns its `Source`, or call `_published` with
the files of a data set in MNIST's format; then name it in `DATASETS`.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stages.common.data import RAW_ARRAYS, RawArrays, RawFile, Source
from stages.common.errors import InputError, quoted
from stages.common.files import Array
from stages.common.memory import check_fits
from stages.common.params import DatasetParams
from stages.download.custom import obtain_custom
from stages.download.fetch import fetch
from stages.download.raw import IDX_NAMES, write_raw

Obtain = Callable[[DatasetParams, Path], Source]

_DIGITS = tuple("0123456789")


def obtain(dataset: DatasetParams, folder: Path) -> Source:
    """Puts the data set's files into the folder, each under its name only once it is verified.

    Raises:
        InputError: If the name is not in the catalogue, or no mirror has a file.
    """
    if dataset.name not in DATASETS:
        known = ", ".join(DATASETS)
        raise InputError(
            f"params.yaml: dataset.name: no data set {quoted(dataset.name)}; known: {known}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return DATASETS[dataset.name](dataset, folder)


def _published(
    class_names: Sequence[str], mirrors: Sequence[str], files: Sequence[tuple[int, str]]
) -> Obtain:
    """A data set in MNIST's four files, given as (bytes, SHA-256) in the order of `IDX_NAMES`."""
    raw_files = tuple(RawFile(name, *file) for name, file in zip(IDX_NAMES, files, strict=True))

    def download(dataset: DatasetParams, folder: Path) -> Source:
        first = os.environ.get("DATASET_MIRROR")
        for file in raw_files:
            fetch(file, [first, *mirrors] if first else mirrors, folder)
        return Source(dataset.name, "idx", tuple(mirrors), tuple(class_names), raw_files)

    return download


def digits(dataset: DatasetParams, folder: Path) -> Source:
    """The 1,797 digits of 8 x 8 pixels, 0 to 16, that scikit-learn carries.

    They come without a test part, so every fifth image is held out: 359 to test on, 1,438 to train.

    Source: E. Alpaydin and C. Kaynak, 1998, Optical Recognition of Handwritten Digits, UCI
        Machine Learning Repository, doi:10.24432/C50P49 (its test part).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    labels = bunch.target.astype(np.int32)
    is_test = np.arange(len(labels)) % 5 == 4
    arrays = RawArrays(images[~is_test], labels[~is_test], images[is_test], labels[is_test])
    return _made(dataset, folder, arrays, _DIGITS, "scikit-learn, sklearn.datasets.load_digits")


def simulated(dataset: DatasetParams, folder: Path) -> Source:
    """One random prototype image per class, plus normal noise; labels uniform and balanced."""
    settings = dataset.simulated
    # For each image: its pixels three times as float32 and once as uint8, and its label.
    n_pixels = settings.height * settings.width
    n_images = max(settings.n_train, settings.n_test)
    n_bytes = n_images * (13 * n_pixels + 24) + settings.n_classes * 12 * n_pixels
    check_fits(n_bytes, "dataset.simulated", "making the images")
    generator = np.random.default_rng(settings.seed)
    shape = (settings.height, settings.width, 1)
    prototypes = generator.uniform(0, 255, (settings.n_classes, *shape)).astype(np.float32)

    def draw(n: int) -> tuple[Array, Array]:
        labels = generator.permutation(np.arange(n) % settings.n_classes).astype(np.int32)
        images = generator.standard_normal((n, *shape), dtype=np.float32)
        images *= 255 * settings.noise
        images += prototypes[labels]
        return np.clip(images, 0, 255).astype(np.uint8), labels

    arrays = RawArrays(*draw(settings.n_train), *draw(settings.n_test))
    class_names = tuple(f"class {index}" for index in range(settings.n_classes))
    return _made(dataset, folder, arrays, class_names, "simulated")


def _made(
    dataset: DatasetParams,
    folder: Path,
    arrays: RawArrays,
    class_names: tuple[str, ...],
    origin: str,
) -> Source:
    file = write_raw(folder, RAW_ARRAYS.name, RAW_ARRAYS.encode(arrays))
    return Source(dataset.name, "npz", (origin,), class_names, (file,))


DATASETS: dict[str, Obtain] = {
    "digits": digits,
    # H. Xiao, K. Rasul and R. Vollgraf, 2017, arXiv:1708.07747.
    "fashion_mnist": _published(
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        files=(
            (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    # Y. LeCun, C. Cortes and C. J. C. Burges, 1998. Sizes and hashes as TensorFlow Datasets
    # publishes them.
    "mnist": _published(
        class_names=_DIGITS,
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        files=(
            (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    # T. Clanuwat et al., 2018, arXiv:1812.01718. Sizes and hashes as TensorFlow Datasets publishes
    # them.
    "kmnist": _published(
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        files=(
            (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ),
    ),
    "simulated": simulated,
    "custom": obtain_custom,
}
