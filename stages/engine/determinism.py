"""Sets up TensorFlow by environment variables, so that equal inputs give equal bits."""

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

from stages.common.errors import InputError, one_line

# Make results independent of the processor: no instructions beyond AVX2, no library or splitting of
# products that depends on the processor, and no division by a square root turned into a product
# with the reciprocal, which each manufacturer approximates in its own way (algsimp).
_XLA_FLAGS = (
    "--xla_cpu_max_isa=AVX2",
    "--xla_cpu_enable_platform_dependent_math=false",
    "--xla_cpu_multi_thread_eigen=false",
)
# Computed tile by tile, a sum of arrays takes four times as long; the bits are the same.
_WITHOUT_TILES = "--xla_backend_extra_options=xla_cpu_disable_tiled_emitter"
# Without `cse_barrier_expander`, barriers last until operations are fused; see `loop.py`.
_XLA_FLAGS_WITHOUT_GPU = ("--xla_disable_hlo_passes=algsimp,cse_barrier_expander",)
_SETTING_UP = threading.Lock()
_NOISE = ("oneDNN custom operations are on", "before absl::InitializeLog()")


def set_up_tensorflow() -> None:
    """Sets TensorFlow's environment and imports it; call it before any other import of it or Keras.

    Each operation uses one thread, because splitting a sum over threads changes its rounding, also
    in what XLA compiles. Different operations run in parallel.

    Raises:
        InputError: If there is no room for temporary files, which TensorFlow needs.
        RuntimeError: If TensorFlow was imported without this.
    """
    with _SETTING_UP:
        if "tensorflow" not in sys.modules:
            os.environ |= _environment()
            _check_temporary_folder()
            with _importing_quickly():
                _import_quietly("tensorflow")
        elif os.environ.get("TF_DETERMINISTIC_OPS") != "1":
            raise RuntimeError("TensorFlow was imported before it was set up")


def _environment() -> dict[str, str]:
    # A child process inherits our flags, so dict.fromkeys below removes duplicates.
    given = os.environ.get("XLA_FLAGS", "").split()
    without_gpu = () if has_nvidia_gpu() else _XLA_FLAGS_WITHOUT_GPU
    xla_flags = (*given, *_XLA_FLAGS, _WITHOUT_TILES, *without_gpu)
    return {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": str(os.cpu_count()),
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": " ".join(dict.fromkeys(xla_flags)),
    }


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidiactl").exists()


def _check_temporary_folder() -> None:
    try:
        gettempdir()
    except OSError as error:
        raise InputError(f"{one_line(error.strerror)}; make room, or set TMPDIR") from None


def allow_avx512() -> None:
    """Lets oneDNN use AVX-512, which makes convolutions about 1.5 times as fast but changes bits.

    oneDNN reads this setting when it is first used, so call this before anything is computed.
    """
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE"


@contextmanager
def _importing_quickly() -> Iterator[None]:
    """Makes importing TensorFlow take a third less time.

    Garbage collection is off, because an import leaves no garbage. scikit-learn is hidden, because
    Keras imports it only for wrappers of models, which are not used here, and can do without it.
    """
    is_hidden = "sklearn" not in sys.modules
    if is_hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        if is_hidden:
            del sys.modules["sklearn"]


def _import_quietly(module: str) -> None:
    """Imports the module and hides two notices that no log level hides."""
    terminal = os.dup(2)
    with TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import_module(module)
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines():
                if not any(noise in line for noise in _NOISE):
                    print(line, file=sys.stderr)
