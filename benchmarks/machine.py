"""What a figure was measured on: the CPU, its cores, the flags that matter, torch; and how busy all of it is."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16")
CPUINFO, STAT = Path("/proc/cpuinfo"), Path("/proc/stat")
WORKING = 3  # the first numbers of /proc/stat: user, nice, system


@dataclass(frozen=True)
class Machine:
    """One machine as it was when the measurement began."""

    cpu: str
    cores: int  # that this process may use
    flags: tuple[str, ...]
    torch: str
    default_threads: int  # of a torch program as started
    load: float  # runnable processes over the last minute; above 0 the machine is shared

    @property
    def has_bf16(self) -> bool:
        """Whether the CPU multiplies bf16 in hardware."""
        return bool({"avx512_bf16", "amx_bf16"} & set(self.flags))

    @property
    def text(self) -> str:
        """One line."""
        flags = " ".join(self.flags) or "none of the flags known here"
        threads = f"{self.default_threads} threads by default"
        return (
            f"{self.cpu}, {self.cores} cores, {flags}; torch {self.torch}, {threads}; load {self.load:.1f} at the start"
        )


def this_machine() -> Machine:
    """Look at it."""
    lines = dict(_cpuinfo())
    present = set(lines.get("flags", lines.get("Features", "")).split())
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return Machine(
        cpu=lines.get("model name") or platform.processor() or platform.machine(),
        cores=len(affinity(0)) if affinity else os.cpu_count() or 1,
        flags=tuple(flag for flag in FLAGS if flag in present),
        torch=torch.__version__,
        default_threads=torch.get_num_threads(),
        load=os.getloadavg()[0],
    )


def busy_seconds() -> float | None:
    """Core seconds that all programs have used since the machine started; None where nobody says."""
    if not STAT.exists():
        return None
    ticks = STAT.read_text().split(maxsplit=1 + WORKING)[1 : 1 + WORKING]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _cpuinfo() -> list[tuple[str, str]]:
    if not CPUINFO.exists():
        return []
    pairs = (line.partition(":") for line in CPUINFO.read_text().splitlines())
    return [(name.strip(), value.strip()) for name, _, value in pairs]
