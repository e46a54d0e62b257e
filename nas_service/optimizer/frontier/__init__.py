"""A sampler that knows what architectures cost, and models only what it does not know.

sampler           FrontierSampler: one ask from top to bottom
axes              objectives as axes to be minimised; what the cost functions and the trials say
encoding          configurations as rows of the unit cube, and back
branches          which parameters of a conditional space belong together
candidates        configurations that are legal and new
outlook           what the history lets one expect of a candidate
beliefs           predictions of the unknown numbers
gaussian_process  their mathematics
improvement       expected hypervolume improvement
"""

from nas_service.optimizer.frontier.axes import STANDARD_ERRORS
from nas_service.optimizer.frontier.beliefs import Fits
from nas_service.optimizer.frontier.sampler import FrontierSampler

__all__ = ["STANDARD_ERRORS", "Fits", "FrontierSampler"]
