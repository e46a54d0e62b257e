"""The names in tables of published runs (arXiv 2510.01796), read as our values: arms, budgets and tasks.

    conventional_fixed_identity_in  ->  conventional, W_in identity, W_out learned
    bs128_ep100_aug2                ->  batches of 128, 100 epochs, each image visited as is and with both flips
    mnist_denoising                 ->  the dataset mnist, the task denoising

Leaves out the table itself (`published_table.py`).
"""

import re

from pydantic import TypeAdapter

from nas_service.domain.architecture import Architecture, Family, WIn, WOut
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import KNOWN_DATASETS, Dataset, Task, TaskKind
from nas_service.domain.values import Value

BASE_SEED = 42  # the published run r is seeded 42 + r

# What each name means follows from the published counts of weights and, for the last two, from equal PSNRs: a frozen
# identity at d_z = d_x computes what no W_in computes, and trains to the same 0.01 dB.
W_INS = {
    "learned_in": WIn.LEARNED,  # counts d_x d_z weights
    "identity_in": WIn.IDENTITY_INIT,  # counts them too, so it is trained from the identity
    "fixed_in": WIn.FIXED_UNIFORM,  # counts none
    "fixed_identity_in": WIn.IDENTITY,  # counts none
    "no_in": WIn.NONE,  # counts none
}
NO_OUT = "_no_out"
BUDGET = re.compile(r"bs(?P<batch_size>\d+)_ep(?P<epochs>\d+)(?:_aug(?P<augment>[124]))?")


class PublishedArm(Value):
    """What the name of a published arm says; sizes and learning rate stand in columns of their own."""

    family: Family
    w_in: WIn
    w_out: WOut

    def architecture(self, d_z: int, d_h: int, depth: int) -> Architecture:
        """The network of this arm with these sizes; norm, activation and branch scale are the published ones.

        Raises:
            pydantic.ValidationError: when the sizes are not of the arm's family.
        """
        return Architecture(family=self.family, d_z=d_z, d_h=d_h, depth=depth, w_in=self.w_in, w_out=self.w_out)


def published_arm(name: str) -> PublishedArm:
    """Read an arm's name: family, W_in, and `no_out` where W_out is missing.

    Raises:
        ValueError: when it is none of the published names.
    """
    family, _, projections = name.removesuffix(NO_OUT).partition("_")
    if family not in list(Family) or projections not in W_INS:
        raise ValueError(f"no published arm is called {name!r}; expected FAMILY_W[_no_out], W of {', '.join(W_INS)}")
    w_out = WOut.NONE if name.endswith(NO_OUT) else WOut.LEARNED
    return PublishedArm(family=Family(family), w_in=W_INS[projections], w_out=w_out)


def published_recipe(budget: str) -> Recipe:
    """Read a budget: batch size, epochs and augmentation; the rest is the published recipe of MNIST.

    Raises:
        ValueError: when it is not of the published form.
    """
    if (found := BUDGET.fullmatch(budget)) is None:
        raise ValueError(f"a published budget reads bs128_ep30 or bs128_ep100_aug2 (got {budget!r})")
    given = {name: int(number) for name, number in found.groupdict(default="1").items()}
    return Recipe.model_validate(given)


def published_task(name: str) -> tuple[Dataset, Task]:
    """Read a table's task: a dataset's name and what is asked of it.

    Raises:
        ValueError: when either is unknown here.
    """
    for kind in TaskKind:
        dataset = name.removesuffix(f"_{kind}")
        if dataset != name and dataset in KNOWN_DATASETS:
            adapter: TypeAdapter[Task] = TypeAdapter(Task)
            return Dataset(name=dataset), adapter.validate_python({"kind": kind})
    raise ValueError(f"no published task is called {name!r} here; expected DATASET_KIND as in mnist_denoising")
