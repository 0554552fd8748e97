"""Parameters, a workflow folder and a site become a bundle that Pegasus can plan as it is."""

from .bundle import Bundle, load_bundle, render
from .site import Site, find_site, site_names
from .steer import steer
from .workflow import WorkflowFolder, find_workflow, workflow_names

__all__ = [
    "Bundle",
    "Site",
    "WorkflowFolder",
    "find_site",
    "find_workflow",
    "load_bundle",
    "render",
    "site_names",
    "steer",
    "workflow_names",
]
