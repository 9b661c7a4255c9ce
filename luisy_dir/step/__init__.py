"""A step: read, process and write, for one item."""

from luisy_dir.step.attempt import do_here
from luisy_dir.step.definition import Root, Step
from luisy_dir.step.working import Answer, Outcome, StepInWorker

__all__ = ["Answer", "Outcome", "Root", "Step", "StepInWorker", "do_here"]
