"""What a network costs, in closed form, before anything is trained.

Weights only: normalisation statistics count in `bytes_stored` and nowhere else. Each form is tested against torch's own
count in tests/workers/training/test_costs_against_torch.py.
"""

from math import isqrt

from nas_service.domain.architecture import Activation, Architecture, Norm, TaskShape, WIn, WOut
from nas_service.domain.values import Value

BYTES_PER_WEIGHT = 4  # networks are stored in float32


class Costs(Value):
    """The known costs of one network."""

    parameters_trainable: int  # weights that the optimizer changes
    parameters_stored: int  # weights in the network's file; a fixed W_in is a seed and counts 0
    parameters_in_memory: int  # weights held when the network runs
    macs: int  # multiply-adds of one example, forward; a sparse W_in counts its non-zeros
    bytes_stored: int  # size of the weights and normalisation statistics in the network's file
    # operations of one training of one network, where a search says how it trains (`Search.costs_of`) and on how many
    # images; else None
    train_flops: int | None = None


def non_zeros_per_row(d_x: int) -> int:
    """Non-zero entries in each row of a `fixed_sparse` W_in: ceil(sqrt(d_x)) (Li, Hastie, Church, KDD 2006)."""
    root = isqrt(d_x)
    return root if root * root == d_x else root + 1


def known_costs(architecture: Architecture, task: TaskShape) -> Costs:
    """Compute the costs of `architecture` between the task's widths.

    Raises:
        IllegalArchitecture: when the network does not fit the task.
    """
    architecture.check_fits(task)
    d_z, d_x, d_y = architecture.d_z, task.d_x, task.d_y
    maps = 3 if architecture.activation is Activation.SWIGLU else 2  # between d_z and d_h, in each block
    blocks = maps * architecture.depth * d_z * architecture.d_h
    w_in = _w_in_weights(architecture.w_in, d_x, d_z)
    w_in_trained = w_in if architecture.w_in.is_trained else 0
    w_in_macs = d_z * non_zeros_per_row(d_x) if architecture.w_in is WIn.FIXED_SPARSE else w_in
    w_out = d_z * d_y if architecture.w_out is WOut.LEARNED else 0
    trainable = w_in_trained + blocks + w_out
    statistics = 2 * architecture.depth * d_z if architecture.norm is Norm.BATCH else 0
    return Costs(
        parameters_trainable=trainable,
        parameters_stored=trainable,
        parameters_in_memory=w_in + blocks + w_out,
        macs=w_in_macs + blocks + _w_out_macs(architecture, w_in_macs, task),
        bytes_stored=BYTES_PER_WEIGHT * (trainable + statistics),
    )


def _w_in_weights(w_in: WIn, d_x: int, d_z: int) -> int:
    if w_in in (WIn.NONE, WIn.IDENTITY):
        return 0
    if w_in is WIn.FIXED_IDENTITY_PADDED:
        return (d_z - d_x) * d_x  # only the random rows are a matrix; the identity is a copy
    return d_x * d_z


def _w_out_macs(architecture: Architecture, w_in_macs: int, task: TaskShape) -> int:
    if architecture.w_out is WOut.TIED:
        return w_in_macs
    return architecture.d_z * task.d_y if architecture.w_out is WOut.LEARNED else 0
