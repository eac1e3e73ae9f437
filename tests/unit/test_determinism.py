"""Results that do not depend on the processor."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from stages.engine.environment import describe_environment
from tests.conftest import PROJECT, thorough

# Prints a hash of the weights after an epoch of a network with 784 inputs.
TRAIN = """
import hashlib, sys
from dataclasses import replace
from stages.engine.determinism import set_up_tensorflow
set_up_tensorflow()
import numpy as np
from stages.common.data import Examples
from stages.engine.environment import describe_environment
from stages.engine.loop import to_tensors
from stages.engine.training import build_slot, plan_work
from tests.examples import DATASET, TASK
from tests.parameters import COMMITTED, small_params

network, name = sys.argv[1:]
generator = np.random.default_rng(0)
images = generator.integers(256, size=(80, 28, 28, 1), dtype=np.uint8)
examples = Examples(images, generator.integers(4, size=80, dtype=np.int32))
data = to_tensors(examples, TASK, DATASET.scaling)
params = small_params(
    COMMITTED.optimizers,
    model={"name": network, "hidden_units": [100]},
    train={"batch_size": 32, "jit_compile": "auto"},
)
dataset = replace(DATASET, input_shape=(28, 28, 1), n_train=80)
environment = replace(describe_environment(), devices=("CPU",))
slot = build_slot(plan_work(name, params, dataset, "", environment), data, data)
slot.reset(1, 1.0)
scores = slot.train(generator.permutation(80).astype(np.int32)[np.newaxis])
weights = b"".join(weight.tobytes() for weight in slot.model.get_weights())
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


@pytest.mark.slow
def test_setting_up_leaves_scikit_learn_and_garbage_collection_as_they_were() -> None:
    program = (
        "import gc, sys; from stages.engine.determinism import set_up_tensorflow; "
        "set_up_tensorflow(); assert gc.isenabled() and 'sklearn' not in sys.modules; "
        "import keras, sklearn.linear_model"
    )
    command = (sys.executable, "-c", program)
    done = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(("network", "may_be_wide"), [("mlp", False), *thorough(("cnn", True))])
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
