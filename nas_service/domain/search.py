"""The search file: what a user submits, validated as a whole, all faults named together."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from nas_service.domain.architecture import Architecture, IllegalArchitecture, TaskShape
from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs, known_costs
from nas_service.domain.faults import Fault, faults_of
from nas_service.domain.objectives import OBJECTIVE_KINDS, QUALITIES, Objective
from nas_service.domain.stopping import FACTOR, rungs_of
from nas_service.domain.tasks import Dataset, Task, task_shape
from nas_service.domain.transfer import LrTransfer, transfer_fault
from nas_service.domain.values import Value

OptunaSampler = Literal["tpe", "nsga2", "nsga3", "gp", "random"]
SamplerName = Literal["frontier", OptunaSampler]
ArmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

DEFAULT_OBJECTIVES = (Objective(name="parameters_trainable", scale="log"), Objective(name="psnr_db"))


class Recipe(Value):
    """How every trial of a search trains."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    batch_size: int = Field(default=128, ge=2, le=65_536)
    optimizer: Literal["adamw"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    schedule: Literal["linear", "linear_per_step", "constant"] = "linear"  # linear: lr (1 - e/E) in epoch e of E
    augment: Literal[1, 2, 4] = 1  # visits of every image in an epoch: as is, + both flips, + each flip alone
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    replicates: int = Field(default=1, ge=1, le=100)  # seeds of every trial; the mean is the trial's


class Limits(Value):
    """Known costs above which a proposal is refused."""

    max_parameters: int | None = Field(default=None, ge=1, lt=2**63)  # parameters_trainable
    max_macs: int | None = Field(default=None, ge=1, lt=2**63)  # multiply-adds per example

    def excess(self, costs: Costs) -> float:
        """By what share the costs exceed the limits: 0.0 within them, 0.5 when half too much."""
        pairs = ((costs.parameters_trainable, self.max_parameters), (costs.macs, self.max_macs))
        return max((cost / limit - 1 for cost, limit in pairs if limit is not None and cost > limit), default=0.0)

    def fault(self, costs: Costs) -> str | None:
        """Say by which costs a network exceeds the limits; None within them."""
        if self.excess(costs) == 0:
            return None
        return (
            f"the search's limits allow {self.text} (this has {costs.parameters_trainable:,} parameters "
            f"and {costs.macs:,} multiply-adds)"
        )

    @property
    def text(self) -> str:
        """The limits in words."""
        return ", ".join(f"{name} {value:,}" for name, value in self if value is not None)

    def of(self, objective: str) -> int | None:
        """The limit on that objective, if there is one."""
        return {"parameters_trainable": self.max_parameters, "macs": self.max_macs}.get(objective)


class Budget(Value):
    """What each arm may spend; exactly one of the three."""

    trials_per_arm: int | None = Field(default=None, ge=1, le=10_000_000)
    epochs_per_arm: int | None = Field(default=None, ge=1, lt=2**63)
    train_flops_per_arm: float | None = Field(default=None, gt=0, le=1e30)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(
                "a budget is exactly one of trials_per_arm, epochs_per_arm, train_flops_per_arm "
                f"(got {' and '.join(given) or 'none'})"
            )
        return self

    @property
    def total(self) -> float:
        """The budget of one arm, in its own unit."""
        return float(self.trials_per_arm or self.epochs_per_arm or self.train_flops_per_arm or 0)


class Search(Value):
    """A task, the rival arms, their spaces, the objectives and a budget."""

    name: str = Field(min_length=1, max_length=200)
    seed: int = Field(default=0, ge=0, le=4_000_000)  # numpy's seeds, 42 + 1000 * seed + r, end at 2**32
    dataset: Dataset
    task: Task
    # whose costs are measured: a worker's device by its name or kind (cpu, cuda, mps); None: any worker trains it
    device: str | None = Field(default=None, min_length=1, max_length=200)
    recipe: Recipe = Recipe()
    arms: Annotated[dict[ArmName, Arm], Field(min_length=1, max_length=50)]
    objectives: Annotated[tuple[Objective, ...], Field(min_length=2, max_length=3)] = DEFAULT_OBJECTIVES
    limits: Limits = Limits()
    budget: Budget
    sampler: SamplerName = "frontier"
    random_fraction: float = Field(default=0.1, ge=0, le=1)  # share of each arm's proposals drawn at random
    stopping: Literal["none", "halving"] = "none"  # halving: see `domain/stopping.py`
    allocation: Literal["equal", "adaptive"] = "equal"  # adaptive: one purse, spent where the union's front grows
    lr_transfer: LrTransfer = LrTransfer.NONE  # width_depth: see `domain/transfer.py`
    keep_networks: Literal["front", "all", "none"] = "front"
    priority: int = Field(default=0, ge=-1000, le=1000)  # higher is leased first
    max_failures: int = Field(default=20, ge=0, le=10_000_000)  # failed trials replaced before the search fails
    stall_seconds: float = Field(default=600, gt=0, le=1e9)  # a trial without a new step for so long is taken back

    @field_validator("name")
    @classmethod
    def _name_is_one_line(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError(f"must be one line of text that can be read (got {name!r})")
        return name

    @model_validator(mode="wrap")
    @classmethod
    def _name_all_faults(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        faults: list[Fault] = []
        search: Self | None = None
        try:
            search = validate(given)
        except ValidationError as error:
            faults = faults_of(error)
            with suppress(ValidationError):  # hold what is left against each other, to name those faults too
                search = validate(_sound_parts(given, error))
        if search is not None:
            faults += _cross_faults(search)
        if search is None or faults:
            text = "; ".join(f"{fault.field or 'search'}: {fault.message}" for fault in faults)
            raise PydanticCustomError("search_faults", "{text}", {"text": text, "faults": faults})
        return search

    @property
    def shape(self) -> TaskShape:
        """Widths of input and output."""
        return task_shape(self.task, self.dataset)

    @property
    def trial_seed(self) -> int:
        """Replicate r of every trial trains with this plus r; search seed 0 gives the published seeds 42 + r."""
        return 42 + 1000 * self.seed

    @property
    def quality(self) -> Objective:
        """The first objective that is measured on the evaluation split."""
        return next(objective for objective in self.objectives if objective.is_quality)

    @property
    def objective_names(self) -> list[str]:
        """The objectives in their order, by name."""
        return [objective.name for objective in self.objectives]

    @property
    def measured_costs(self) -> tuple[str, ...]:
        """The objectives that a worker's device measures."""
        return tuple(objective.name for objective in self.objectives if objective.is_measured_cost)

    @property
    def directions(self) -> list[str]:
        """`minimize` or `maximize` for each objective."""
        return [objective.direction for objective in self.objectives]

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs after which a trial may be stopped early, in order; none unless the search asks for it."""
        return rungs_of(self.recipe.epochs) if self.stopping == "halving" else ()

    def epochs_per_trial(self, arm: str) -> int:
        """Epochs of one whole trial of that arm: of all its learning rates and replicates."""
        return self.recipe.epochs * self.recipe.replicates * len(self.arms[arm].lr_values or (0,))

    def planned_spending(self, arm: str, costs: Costs) -> float:
        """What one whole trial of that arm takes from its budget, in the budget's unit."""
        if self.budget.trials_per_arm is not None:
            return 1.0
        epochs = float(self.epochs_per_trial(arm))
        if self.budget.epochs_per_arm is not None:
            return epochs
        return epochs * train_flops_per_epoch(self, costs)

    def costs_of(self, architecture: Architecture) -> Costs:
        """The known costs of an architecture as this search trains it.

        Raises:
            IllegalArchitecture: when the network does not fit the task.
        """
        costs = known_costs(architecture, self.shape)
        if self.dataset.images_per_epoch is None:
            return costs
        return costs.model_copy(update={"train_flops": self.recipe.epochs * round(train_flops_per_epoch(self, costs))})

    def known_reference(self, objective: Objective) -> float | None:
        """The reference of a hypervolume as far as it is known without training.

        It is the objective's own, which a measured cost always has, else the limit on it, else the largest legal cost
        of any arm. A quality without its own gets the task's trivial answer, which the first result brings: None here.
        """
        if objective.reference is not None or not objective.is_known:
            return objective.reference
        if (limit := self.limits.of(objective.name)) is not None:
            return float(limit)
        corners = [self.costs_of(arm.largest(self.shape)) for arm in self.arms.values()]
        return float(max(getattr(costs, objective.name) for costs in corners))

    def reference_point(self, trivial: Mapping[str, float] | None) -> list[float | None]:
        """The worst value that counts for each objective, see `known_reference`.

        Args:
            trivial: metrics of the task's trivial answer, which the first result brings.

        Returns:
            None where it needs the first result, or where the trivial answer's value has no place on a log scale.
        """
        point: list[float | None] = []
        for objective in self.objectives:
            known = self.known_reference(objective)
            value = (trivial or {}).get(objective.name) if known is None else known
            point.append(None if value is not None and objective.scale == "log" and value <= 0 else value)
        return point


def _sound_parts(given: Any, error: ValidationError) -> Any:
    """A search file without its faulty fields and arms; a name and a budget stand in where there are none."""
    if not isinstance(given, dict):
        return given
    locs = [row["loc"] for row in error.errors()]
    faulty = {loc[0] for loc in locs if loc[0] != "arms" or len(loc) == 1}
    sound = {name: value for name, value in given.items() if name not in faulty}
    if "arms" in sound:
        faulty_arms = {loc[1] for loc in locs if loc[0] == "arms"}
        sound["arms"] = {name: arm for name, arm in sound["arms"].items() if name not in faulty_arms}
    return {"name": "unnamed", "budget": {"trials_per_arm": 1}} | sound


def train_flops_per_epoch(search: Search, costs: Costs) -> float:
    """Floating-point operations of one training epoch: 2 per multiply-add, forward once and backward twice."""
    images = search.dataset.images_per_epoch
    assert images is not None, "checked when the search was made"
    return 6.0 * costs.macs * images * search.recipe.augment


def _cross_faults(search: Search) -> list[Fault]:
    faults = _objective_faults(search) + _stopping_faults(search) + _transfer_faults(search)
    if search.budget.train_flops_per_arm is not None and search.dataset.images_per_epoch is None:
        message = "a budget in FLOPs needs dataset.train_images, the number of images in the training split"
        faults.append(Fault(field="budget.train_flops_per_arm", message=message))
    try:
        shape = search.shape
    except ValueError as error:
        return [*faults, Fault(field="task.factor", value=getattr(search.task, "factor", None), message=str(error))]
    for name, arm in search.arms.items():
        if (fault := _arm_fault(arm, shape, search.limits)) is not None:
            faults.append(Fault(field=f"arms.{name}", value=arm.model_dump(mode="json"), message=fault))
    return faults


def _arm_fault(arm: Arm, shape: TaskShape, limits: Limits) -> str | None:
    try:
        smallest = arm.smallest(shape)
    except IllegalArchitecture as error:
        return str(error)
    costs = known_costs(smallest, shape)
    if limits.excess(costs) > 0:
        return (
            f"its smallest network has {costs.parameters_trainable:,} parameters and {costs.macs:,} multiply-adds, "
            f"over the limits ({limits.text})"
        )
    return None


def _objective_faults(search: Search) -> list[Fault]:
    names = search.objective_names
    faults = []
    if len(set(names)) != len(names):
        faults.append(Fault(field="objectives", value=names, message="every objective may stand there once"))
    if not any(objective.is_quality for objective in search.objectives):
        message = f"at least one objective must be a quality: {', '.join(QUALITIES)}"
        faults.append(Fault(field="objectives", value=names, message=message))
    for position, name in enumerate(names):
        tasks = OBJECTIVE_KINDS[name].tasks
        if tasks is not None and search.task.kind not in tasks:
            message = f"{name} is measured by {', '.join(tasks)} only (this task is {search.task.kind})"
            faults.append(Fault(field=f"objectives.{position}.name", value=name, message=message))
    for position, objective in enumerate(search.objectives):
        if objective.scale == "log" and objective.reference is not None and objective.reference <= 0:
            message = "a reference on a log scale must be above 0"
            faults.append(Fault(field=f"objectives.{position}.reference", value=objective.reference, message=message))
    return faults + _cost_faults(search)


def _stopping_faults(search: Search) -> list[Fault]:
    """What keeps trials from being judged before their end."""
    if search.stopping == "none":
        return []
    reasons = []
    if search.measured_costs:
        reasons.append(f"{' and '.join(search.measured_costs)} is measured after training")
    if lists := [name for name, arm in search.arms.items() if arm.lr_values]:
        reasons.append(f"the listed learning rates of {' and '.join(lists)} train one after the other, give a range")
    if not search.rungs:
        reasons.append(f"{search.recipe.epochs} epochs are too few, give {FACTOR} or more")
    message = f"halving cannot judge before the end: {'; '.join(reasons)}"
    return [Fault(field="stopping", value=search.stopping, message=message)] if reasons else []


def _transfer_faults(search: Search) -> list[Fault]:
    """What keeps the rule from being followed: one fault for all arms."""
    found = {name: transfer_fault(search.lr_transfer, arm.branch_scale) for name, arm in search.arms.items()}
    faulty = {name: fault for name, fault in found.items() if fault is not None}
    if not faulty:
        return []
    message = f"{next(iter(faulty.values()))}, in every arm: change {' and '.join(faulty)}"
    return [Fault(field="lr_transfer", value=search.lr_transfer, message=message)]


def _cost_faults(search: Search) -> list[Fault]:
    """What an objective needs of the search that is a cost of time or memory."""
    faults = []
    for position, objective in enumerate(search.objectives):
        name = objective.name
        if objective.is_measured_cost and objective.reference is None:
            message = (
                f"{name} has no worst value by itself; write the one that counts, in {objective.unit}: reference: 100"
            )
            faults.append(Fault(field=f"objectives.{position}.reference", message=message))
        if name == "train_flops" and search.dataset.images_per_epoch is None:
            message = "train_flops needs dataset.train_images, the number of images in the training split"
            faults.append(Fault(field=f"objectives.{position}.name", value=name, message=message))
    if search.measured_costs and search.device is None:
        message = (
            f"a search that uses {' and '.join(search.measured_costs)} names one kind of device, for example device: "
            "cpu, or device: NVIDIA H200 as its workers announce it"
        )
        faults.append(Fault(field="device", message=message))
    return faults
