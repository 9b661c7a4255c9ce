"""A lineage: what a file was made from, why, and what was made of it, as manifests tell it."""

from luisy_dir.lineage.explaining import Why, why
from luisy_dir.lineage.graph import Edge, Node, Trace
from luisy_dir.lineage.making import Making
from luisy_dir.lineage.places import FileNow
from luisy_dir.lineage.tracing import trace

__all__ = ["Edge", "FileNow", "Making", "Node", "Trace", "Why", "trace", "why"]
