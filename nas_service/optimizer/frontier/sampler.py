"""An Optuna sampler for objectives of which some are known before a trial runs.

Read `FrontierSampler`, then `_Ask.choose` from top to bottom.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.axes import Axes, Function, Scale
from nas_service.optimizer.frontier.beliefs import Fits
from nas_service.optimizer.frontier.branches import Branches
from nas_service.optimizer.frontier.candidates import Candidates
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
REFERENCE_QUANTILE = 0.7  # of the first values, minimised, where no reference is given


class FrontierSampler(BaseSampler):
    """Proposes the configuration with the greatest expected gain in hypervolume, costs known exactly.

        sampler = FrontierSampler(costs={0: n_parameters}, reference_point=(5e6, 22.0), cost_scale="log", seed=0)
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)

    The first trials are random. Then every objective that `costs` does not name is predicted by a Gaussian process, and
    the expected hypervolume improvement is exact for 2 or 3 objectives, quasi-Monte Carlo for more. What the sampler
    proposes is a function of the study's trials and the seed; it proposes nothing twice.

    Running trials count as if they had reached what is expected of them. Pruned trials make their neighbourhood less
    attractive. Constraints that trials set (`trial.set_constraint`) and that are not among `constraints` are predicted.
    A trial's user attribute `standard_errors` (one number for each objective, None where exact) is the noise of its
    values. Time: hyperparameters are found from at most 256 trials, anew when the completed trials have grown by a
    tenth; predictions use at most 640 (those near the front, and an even share of the others), so an ask costs no more
    after 10,000 trials than after 640, but for reading them.
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
                `constants`) that gives exactly the value that the trial will be told.
            reference_point: for each objective the worst value that counts, in the unit of the values told. Where it is
                None: of a known cost the largest among the completed trials, of any other objective the value that the
                best 70 % of the first completed trials reached (as many as were random). Give it where you know it:
                it says which part of the front matters.
            cost_scale: `log` when hypervolume is over the logarithm of the known costs.
            search_space: all parameters; None: those that trials have suggested, after a random first trial.
            constants: added to the parameters that `costs` and `constraints` are called with.
            constraints: functions like `costs`; above 0 means that the configuration must not be proposed. A completed
                trial that violates one (it was enqueued, or the study knows better) is learned from no more than that.
            n_startup_trials: random trials before the first prediction; None: 3 more than there are parameters, at
                least 6.
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
            ValueError: when a cost function fails or differs from a value that was told, or `costs` or
                `reference_point` do not fit the study's objectives.
        """
        if not search_space:
            return {}
        return _Ask(self, study, trial, search_space).choose()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value: of the first trial, and of a parameter that no trial had before."""
        seed = int(np.random.default_rng((self._seed, trial.number, *param_name.encode())).integers(2**31))
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)


class _Ask:
    """One choice: what the history says of the candidates that are drawn."""

    def __init__(self, sampler: FrontierSampler, study: Study, trial: FrozenTrial, space: Space) -> None:
        self._sampler, self._encoding = sampler, Encoding(space)
        self._seed = (sampler._seed, trial.number)
        self._rng = np.random.default_rng(self._seed)
        self._axes = Axes(study.directions, sampler._costs, sampler._cost_scale, sampler._constants)
        self._given_reference = self._axes.given_reference(sampler._reference_point)
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        self._completed = [
            other for other in others if other.state is TrialState.COMPLETE and self._is_known_legal(other)
        ]
        self._branches = Branches(self._encoding, [other.params for other in self._completed])
        self._pruned = self._in_branches(other for other in others if other.state is TrialState.PRUNED)
        self._running = self._in_branches(other for other in others if not other.state.is_finished())
        self._candidates = Candidates(
            self._encoding,
            self._branches,
            self._is_legal,
            self._axes.costs_of,
            trial.system_attrs.get("fixed_params", {}),
            [other.params for other in others],
            self._rng,
        )

    def choose(self) -> Params:
        """A value for every parameter; none when nothing new was found."""
        startup = self._sampler._n_startup_trials or max(LEAST_STARTUP, len(self._encoding.names) + 3)
        values = self._axes.values_of(self._completed)
        if len(values) < startup or (len(values) < 3 * startup and self._has_untried_choice()):
            return self._first()
        ruled = self._axes.ruled_reference(values, startup, REFERENCE_QUANTILE)
        reference = np.where(np.isnan(self._given_reference), ruled, self._given_reference)
        outlook = Outlook(self._history(values), reference, self._features_of, self._sampler._fits, self._seed[1])
        found = self._candidates.random(RANDOM)
        for scale in NEAR:
            found = found.and_also(self._candidates.near(self._rng.choice(outlook.front_rows, size=AROUND), scale))
        gain = outlook.gain(found)
        for scale in REFINEMENTS:
            best = np.repeat(np.argsort(-gain, kind="stable")[:REFINED], DRAWS)
            nearer = self._candidates.near(found.rows[best], scale)
            found, gain = found.and_also(nearer), np.concatenate([gain, outlook.gain(nearer)])
        return found.params[int(np.argmax(gain))] if len(found) else {}

    def _first(self) -> Params:
        """A random configuration, within the costs that count if one is."""
        found = self._candidates.first(RANDOM)
        beyond = np.any(found.costs >= self._given_reference, axis=1)
        found = found if beyond.all() else found.at(~beyond)
        return found.params[0] if len(found) else {}

    def _history(self, values: Points) -> History:
        names = {name for trial in self._completed for name in trial.constraints} - self._sampler._constraints.keys()
        return History(
            rows=self._rows(self._completed),
            values=values,
            noise={index: self._axes.noise_of(self._completed, index) for index in self._axes.unknown},
            violations={
                name: np.array([trial.constraints.get(name, np.nan) for trial in self._completed])
                for name in sorted(names)
            },
            pruned_rows=self._rows(self._pruned),
            running_rows=self._rows(self._running),
            running_costs=self._axes.costs_of([trial.params for trial in self._running]),
        )

    def _has_untried_choice(self) -> bool:
        rows = self._rows([*self._completed, *self._pruned, *self._running])
        return any(len(set(rows[:, column]) - {np.nan}) < n for column, n in self._encoding.choices.items())

    def _features_of(self, rows: Floats) -> Floats:
        return self._encoding.features(rows, self._branches.conditional)

    def _rows(self, trials: Sequence[FrozenTrial]) -> Floats:
        return self._encoding.rows([trial.params for trial in trials])

    def _in_branches(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that have all parameters of a branch: one that has just begun may not have suggested all."""
        trials = list(trials)
        known = self._branches.of(self._rows(trials)) >= 0
        return [trial for trial, is_known in zip(trials, known, strict=True) if is_known]

    def _is_known_legal(self, trial: FrozenTrial) -> bool:
        return all(trial.constraints.get(name, 0.0) <= 0 for name in self._sampler._constraints)

    def _is_legal(self, params: Params) -> bool:
        configuration = self._sampler._constants | params
        return all(violation(configuration) <= 0 for violation in self._sampler._constraints.values())
