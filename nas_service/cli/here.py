"""What commands share that compute on this machine: a device, and one sentence for what may go wrong."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from nas_service.domain.faults import faults_of

if TYPE_CHECKING:
    import torch

BAD_INPUT, FAILED = 2, 1  # exit codes


def torch_device(name: str) -> "torch.device":
    """The device of that name, auto for what there is; raises ValueError where there is none."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no device {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise ValueError(f"device {name} is not available here; use --device cpu")
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # a second thread beside a busy neighbour is many times slower (OpenMP barriers)
    return device


@contextmanager
def one_sentence(console: Console) -> Iterator[None]:
    """Turn what may go wrong into one sentence on stderr and an exit code."""
    try:
        yield
    except ValidationError as error:
        _fail(
            console, "; ".join(f"{fault.field}: {fault.message}".lstrip(": ") for fault in faults_of(error)), BAD_INPUT
        )
    except ValueError as error:
        _fail(console, str(error), BAD_INPUT)
    except (ArithmeticError, OSError, MemoryError, RuntimeError) as error:  # diverged; torch's out of memory
        _fail(console, str(error) or type(error).__name__, FAILED)


def _fail(console: Console, message: str, code: int) -> NoReturn:
    console.print(f"error: {' '.join(message.split())}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
