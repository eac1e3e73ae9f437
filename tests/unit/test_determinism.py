"""Results that do not depend on the processor."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from stages.train.environment import describe_environment
from tests.conftest import PROJECT

# Prints a hash of the weights after an epoch of a network with 784 inputs.
TRAIN = """
import hashlib, sys
from dataclasses import replace
import stages.train
import keras, numpy as np
from stages.common.artifacts import Examples
from stages.common.params import Model
from stages.train.loop import Slot, resolve_jit_compile, to_tensors
from stages.train.models import build_model
from stages.train.optimizers import build_optimizer
from tests.examples import COMMITTED, DATASET

network, name = sys.argv[1:]
generator = np.random.default_rng(0)
images = generator.integers(256, size=(80, 28, 28, 1), dtype=np.uint8)
data = to_tensors(Examples(images, generator.integers(4, size=80, dtype=np.uint8)))
settings = Model(name=network, hidden_units=(100,), activation="relu", dropout=0.0)
model = build_model(settings, replace(DATASET, height=28, width=28))
factor = keras.Variable(1.0, trainable=False)
optimizer = build_optimizer(name, COMMITTED.optimizers[name], factor)
jit_compile = resolve_jit_compile(model, "auto", ["CPU"])
slot = Slot(model, optimizer, factor, data, data, batch_size=32, jit_compile=jit_compile)
slot.reset(1, 1.0)
scores = slot.train_epoch(generator.permutation(80).astype(np.int32)), slot.validate()
weights = b"".join(weight.tobytes() for weight in model.get_weights())
print(scores, hashlib.sha256(weights).hexdigest())
"""


def train(*arguments: str, before: tuple[str, ...] = (), **environment: str) -> list[str]:
    """The lines that TRAIN prints in an interpreter of its own."""
    site_packages = sysconfig.get_path("purelib")
    return subprocess.run(
        # Not the virtual environment's own link: an emulator takes programs, and follows none.
        (*before, os.path.realpath(sys.executable), "-c", TRAIN, *arguments),
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": site_packages, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()


@pytest.mark.parametrize(("network", "may_be_wide"), [("mlp", False), ("cnn", True)])
def test_onednn_uses_avx512_only_where_xla_is_not_used(network: str, may_be_wide: bool) -> None:
    lines = train(network, "sgd", ONEDNN_VERBOSE="1")
    told = {"AVX-512" in line for line in lines if "info,cpu,isa" in line}
    assert told == {may_be_wide and "AVX512_SKX" in describe_environment().processor}


@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian's qemu-user)"
)
@pytest.mark.parametrize(
    ("name", "processor"),
    [("nesterov", "EPYC-Rome"), ("rmsprop", "EPYC-Rome"), ("adam", "Haswell")],
)
def test_another_processor_gives_the_same_bits(name: str, processor: str) -> None:
    emulated = train("mlp", name, before=("qemu-x86_64", "-cpu", processor))
    assert emulated == train("mlp", name)
