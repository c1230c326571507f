"""What a job needs, what machines offer, and whether the one fits the other. Pure: nothing here asks a cluster."""

from configs.requirements.capacity import Node, NodeType, Offer, from_json, to_json
from configs.requirements.fit import Fit, Verdict, fit
from configs.requirements.labels import matches
from configs.requirements.requirement import Requirement

__all__ = [
    "Fit",
    "Node",
    "NodeType",
    "Offer",
    "Requirement",
    "Verdict",
    "fit",
    "from_json",
    "matches",
    "to_json",
]
