"""An Optuna sampler for objectives of which some are known before a trial runs.

Read `FrontierSampler`, then `_Ask.choose` from top to bottom.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.axes import Axes, Function, Scale, value_of
from nas_service.optimizer.frontier.beliefs import Fits
from nas_service.optimizer.frontier.branches import Branches
from nas_service.optimizer.frontier.candidates import Candidates, Configurations
from nas_service.optimizer.frontier.encoding import Encoding, Floats, Params, union
from nas_service.optimizer.frontier.outlook import History, Outlook

Space = dict[str, BaseDistribution]

LEAST_STARTUP = 6
RANDOM = 512  # draws over the whole space for each trial
NEAR = (0.1, 0.03)  # scales of draws around the front, as shares of the cube's side
AROUND = 128  # draws for each of these
REFINED = 8  # the best candidates, around which
REFINEMENTS = (0.1, 0.05, 0.02, 0.01)  # at these scales
DRAWS = 16  # so many are drawn each
MOST_CHOICES = 16  # values of a whole-number parameter that leads to branches, of which each should be tried
PROPOSALS_REMEMBERED = 1000  # of trials that may not have suggested all of it
REFERENCE_QUANTILE = 0.7  # of the first values, minimised, where no reference is given

_TURN = threading.Lock()  # trials of several threads are chosen one after the other, or they would be the same


class FrontierSampler(BaseSampler):
    """Proposes the configuration with the greatest expected gain in hypervolume, costs known exactly.

        sampler = FrontierSampler(costs={0: n_parameters}, reference_point=(5e6, 22.0), cost_scale="log", seed=0)
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)

    The first trials are random. Then every objective that `costs` does not name is predicted by a Gaussian process, and
    the expected hypervolume improvement is exact for 2 or 3 objectives, quasi-Monte Carlo for more. What the sampler
    proposes is a function of the study's trials and the seed; it proposes nothing twice while something new is found.

    Which parameters belong together, and which values lead to them, is learned from the trials (see `branches`). So are
    ranges that depend on other parameters (`suggest_int("d_h", 1, d_z - 1)`): until they are known well, a proposal may
    miss, and the parameter is then random; a constraint that says the same is exact.

    Running trials count as if they had reached what is expected of them. Pruned trials make their neighbourhood less
    attractive. Constraints that trials set (`trial.set_constraint`) and that are not among `constraints` are predicted.
    A trial's user attribute `standard_errors` (one number for each objective, None where exact) is the noise of its
    values. Time: hyperparameters are found from at most 256 trials, anew when the completed trials have grown by a
    tenth; predictions use at most 640 (those near the front, and an even share of the others), so beyond 640 trials an
    ask grows only by reading them and holding them against the front; docs/LOG.md has the figures.
    """

    def __init__(
        self,
        costs: Mapping[int, Function] | None = None,
        *,
        reference_point: Sequence[float | None] | None = None,
        cost_scale: Scale = "linear",
        search_space: Mapping[str, BaseDistribution] | None = None,
        constants: Mapping[str, Any] | None = None,
        constraints: Mapping[str, Function] | None = None,
        n_startup_trials: int | None = None,
        seed: int | None = None,
        fits: Fits | None = None,
    ) -> None:
        """Describe what is known.

        Args:
            costs: for the index of each known objective, a function of a trial's parameters (all of its branch, and
                `constants`) that gives exactly the value that the trial will be told. It may raise a KeyError for
                parameters that are not there: such a configuration is not proposed.
            reference_point: for each objective the worst value that counts, in the unit of the values told. Where it is
                None: of a known cost the largest among the completed trials, of any other objective the value that the
                best 70 % of the first completed trials reached (as many as were random). Give it where you know it:
                it says which part of the front matters.
            cost_scale: `log` when hypervolume is over the logarithm of the known costs.
            search_space: all parameters; None: those that trials have suggested, after a random first trial.
            constants: added to the parameters that `costs` and `constraints` are called with.
            constraints: functions like `costs`; above 0 means that the configuration must not be proposed. A completed
                trial that violates one (it was enqueued, or the study knows better) is learned from no more than that.
            n_startup_trials: random trials before the first prediction, at least 1; None: 3 more than there are
                parameters, at least 6. Choices that no trial has had come first, up to 3 times as many.
            seed: of all draws; None for an unforeseeable one.
            fits: shared by samplers that take turns on a study, so that nothing is fitted twice.
        """
        self._costs, self._constraints = dict(costs or {}), dict(constraints or {})
        self._reference_point, self._cost_scale = reference_point, cost_scale
        self._search_space = None if search_space is None else dict(search_space)
        self._constants = dict(constants or {})
        self._n_startup_trials = n_startup_trials
        self._seed = secrets.randbits(32) if seed is None else seed
        self._fits = fits or Fits()
        self._proposed = OrderedDict[tuple[str, int], Params]()  # by study and number, of the latest trials

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The given space, or the union of what other trials have suggested."""
        if self._search_space is not None:
            return self._search_space
        return union(other.distributions for other in study.get_trials(deepcopy=False) if other.number != trial.number)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A value for every parameter of the space; none when nothing new was found.

        Raises:
            ValueError: when a cost function or a constraint fails, a cost differs from what was told, or `costs`
                or `reference_point` do not fit the study's objectives.
        """
        if not search_space:
            return {}
        fixed = trial.system_attrs.get("fixed_params", {})
        with _TURN:
            chosen = _Ask(self, study, trial, search_space, fixed).choose()
            self._note(study, trial, chosen)
        return dict(chosen.params[0]) if len(chosen) else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value: of the first trial, and of a parameter that no trial had before or had in such a range."""
        seed = int(np.random.default_rng((self._seed, trial.number, *param_name.encode())).integers(2**31))
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)

    def _note(self, study: Study, trial: FrozenTrial, chosen: Configurations) -> None:
        """Remember what a trial was given: others may ask before it has suggested all of it."""
        for own in chosen.own:
            self._proposed[_name(study, trial)] = own
        while len(self._proposed) > PROPOSALS_REMEMBERED:
            self._proposed.popitem(last=False)


def _name(study: Study, trial: FrozenTrial) -> tuple[str, int]:
    return study.study_name, trial.number


class _Ask:
    """One choice: what the history says of the candidates that are drawn."""

    def __init__(self, sampler: FrontierSampler, study: Study, trial: FrozenTrial, space: Space, fixed: Params) -> None:
        """Read the history.

        Args:
            sampler: what is known.
            study: the history.
            trial: which to choose for.
            space: all parameters.
            fixed: values that the trial has already, of some of them.
        """
        self._sampler, self._encoding = sampler, Encoding(space)
        self._seed = (sampler._seed, trial.number)
        self._rng = np.random.default_rng(self._seed)
        self._axes = Axes(study.directions, sampler._costs, sampler._cost_scale, sampler._constants)
        self._given_reference = self._axes.given_reference(sampler._reference_point)
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        self._completed = [
            other for other in others if other.state is TrialState.COMPLETE and self._is_known_legal(other)
        ]
        self._values = self._axes.values_of(self._completed)
        if self._completed:
            self._is_legal(self._completed[-1].params)  # a constraint that fails at all does so here
        self._branches = Branches(self._encoding, [other.params for other in self._completed])
        self._pruned = self._of_known_branch([other.params for other in others if other.state is TrialState.PRUNED])
        given = [sampler._proposed.get(_name(study, other), {}) | other.params for other in others]
        running = [
            whole if self._of_known_branch([whole]) else other.params
            for whole, other in zip(given, others, strict=True)
            if not other.state.is_finished() and self._is_known_legal(other)
        ]
        self._running, self._running_costs = self._with_costs(self._of_known_branch(running))
        tried = [*given, *(other.params for other in others)]
        self._candidates = Candidates(
            self._encoding, self._branches, self._is_legal, self._axes, fixed, tried, self._rng
        )

    def choose(self) -> Configurations:
        """The best configuration that was found; none when nothing new was."""
        startup = self._sampler._n_startup_trials
        startup = max(LEAST_STARTUP, len(self._encoding.names) + 3) if startup is None else max(1, startup)
        if len(self._values) < startup:
            return self._first()
        if len(self._values) < 3 * startup and (tried := self._choices_tried()):
            found = self._first()
            if len(found) and self._is_untried(found.rows, tried)[0]:
                return found
        ruled = self._axes.ruled_reference(self._values, startup, REFERENCE_QUANTILE)
        reference = np.where(np.isnan(self._given_reference), ruled, self._given_reference)
        outlook = Outlook(self._history(), reference, self._features_of, self._sampler._fits, self._seed[1])
        found = self._candidates.random(RANDOM)
        for scale in NEAR if len(outlook.front_rows) else ():
            found = found.and_also(self._candidates.near(self._rng.choice(outlook.front_rows, size=AROUND), scale))
        if not len(found):
            return self._first()
        gain = outlook.gain(found)
        for scale in REFINEMENTS:
            best = np.repeat(np.argsort(-gain, kind="stable")[:REFINED], DRAWS)
            nearer = self._candidates.near(found.rows[best], scale)
            found, gain = found.and_also(nearer), np.concatenate([gain, outlook.gain(nearer)])
        return found.at(int(np.argmax(gain)))

    def _first(self) -> Configurations:
        """A random configuration; if there is one, within the costs that count, and then of a choice never tried."""
        found = self._candidates.first(RANDOM)
        counts = ~np.any(found.costs >= self._given_reference, axis=1)
        untried = self._is_untried(found.rows, self._choices_tried())
        return found.at(int(np.argmax(2 * counts + untried))) if len(found) else found

    def _history(self) -> History:
        names = {name for trial in self._completed for name in trial.constraints} - self._sampler._constraints.keys()
        return History(
            rows=self._encoding.rows([trial.params for trial in self._completed]),
            values=self._values,
            noise={index: self._axes.noise_of(self._completed, index) for index in self._axes.unknown},
            violations={
                name: np.array([trial.constraints.get(name, np.nan) for trial in self._completed])
                for name in sorted(names)
            },
            limits=self._encoding.limits([trial.distributions for trial in self._completed]),
            pruned_rows=self._encoding.rows(self._pruned),
            running_rows=self._encoding.rows(self._running),
            running_costs=self._running_costs,
        )

    def _choices_tried(self) -> dict[int, Floats]:
        """Places tried of the columns of which every value should be: choices, and what leads to branches."""
        rows = self._encoding.rows([*(trial.params for trial in self._completed), *self._pruned, *self._running])
        sizes = self._encoding.sizes
        columns = [c for c in self._branches.leading if sizes[c] <= MOST_CHOICES] + list(self._encoding.choices)
        tried = {column: np.unique(rows[~np.isnan(rows[:, column]), column]) for column in columns}
        return {column: places for column, places in tried.items() if len(places) < sizes[column]}

    def _is_untried(self, rows: Floats, tried: Mapping[int, Floats]) -> NDArray[np.bool_]:
        """Whether rows (q, P) have a value that is not among those tried of its column: (q,)."""
        untried = np.zeros(len(rows), dtype=np.bool_)
        for column, places in tried.items():
            untried |= ~np.isnan(rows[:, column]) & ~np.isin(rows[:, column], places)
        return untried

    def _features_of(self, rows: Floats) -> Floats:
        return self._encoding.features(rows, self._branches.conditional)

    def _of_known_branch(self, configurations: Sequence[Params]) -> list[Params]:
        """Those that have all parameters of a branch: a trial that has just begun may not have suggested all."""
        known = self._branches.of(self._encoding.rows(configurations)) >= 0
        return [params for params, is_known in zip(configurations, known, strict=True) if is_known]

    def _with_costs(self, configurations: Sequence[Params]) -> tuple[list[Params], Points]:
        """Those whose costs are known, and these: what is wrong with the others is said once they are told."""
        found, told = list[Params](), list[list[float]]()
        for params in configurations:
            with suppress(ValueError):
                told.append(self._axes.costs_told(params))
                found.append(params)
        return found, self._axes.points(told)

    def _is_known_legal(self, trial: FrozenTrial) -> bool:
        return all(trial.constraints.get(name, 0.0) <= 0 for name in self._sampler._constraints)

    def _is_legal(self, params: Params) -> bool:
        configuration = self._sampler._constants | params
        constraints = self._sampler._constraints.items()
        return all(value_of(f"constraints[{name!r}]", violation, configuration) <= 0 for name, violation in constraints)
