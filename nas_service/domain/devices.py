"""What a search may call the device that its costs are measured on.

A worker announces its device by name: a GPU's own ("NVIDIA H200"), else the kind and the machine ("cpu (x86_64)"). A
search names it so, or by its kind alone.
"""

KINDS = ("cpu", "cuda", "mps")


def names_of(device: str) -> tuple[str, str]:
    """The name of a worker's device and its kind: either of them in a search means this device."""
    first = device.partition(" (")[0]
    return device, first if first in KINDS else "cuda"
