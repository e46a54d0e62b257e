"""Turns an arm's history into its next architecture; the only room that imports optuna.

records     what goes in and out: rows of history, proposals
space       an arm's region as search dimensions, and back
legality    whether a candidate may be trained, and how far it is from the line
samplers    which sampler asks, and its seed
stand_ins   objective values for refused trials
fallback    random legal shapes from the known costs
study       asks, tells, rebuilds
frontier/   the sampler that knows the costs; also for a plain Optuna study
"""

from nas_service.optimizer.frontier import FrontierSampler
from nas_service.optimizer.records import End, Outcome, Proposals, Record, outcome_of
from nas_service.optimizer.study import ArmStudy

__all__ = ["ArmStudy", "End", "FrontierSampler", "Outcome", "Proposals", "Record", "outcome_of"]
