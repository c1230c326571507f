"""What a job requires, what the nodes have, and whether the one fits the other. Pure: nothing here asks a cluster."""

from configs.requirements.capacity import Capacity, Node, NodeType, from_json, to_json
from configs.requirements.fit import Fit, FitResult, fit
from configs.requirements.labels import matches
from configs.requirements.requirement import Requirement

__all__ = [
    "Fit",
    "Node",
    "NodeType",
    "Capacity",
    "Requirement",
    "FitResult",
    "fit",
    "from_json",
    "matches",
    "to_json",
]
