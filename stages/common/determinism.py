"""What TensorFlow is told, by its environment, before a stage imports it."""

import os


def prepare_environment() -> None:
    """Makes equal inputs give equal bits; takes effect only before TensorFlow is imported.

    One thread inside an operation, since splitting a sum over threads changes its rounding, and
    no instructions beyond AVX2, so that processors with and without AVX-512 agree.
    """
    os.environ |= {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_DETERMINISTIC_OPS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2".strip(),
    }
