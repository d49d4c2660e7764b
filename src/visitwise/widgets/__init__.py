"""Figures to take hold of, in Jupyter and on the site: a Python class and a JavaScript module of the same name each.

`kit.js` is what they are made of, `functional.js` the arithmetic that they share, `tokens.css` their colours.
"""

from visitwise.widgets._figure import Figure
from visitwise.widgets.broadcasting import Broadcasting
from visitwise.widgets.hazard_loom import HazardLoom
from visitwise.widgets.length_leak import LengthLeak
from visitwise.widgets.mask_switchboard import MaskSwitchboard
from visitwise.widgets.packing_bench import PackingBench
from visitwise.widgets.person_period import PersonPeriod
from visitwise.widgets.playground import Playground
from visitwise.widgets.push_map import PushMap
from visitwise.widgets.training_replay import TrainingReplay
from visitwise.widgets.two_doors import TwoDoors
from visitwise.widgets.two_endings import TwoEndings

__all__ = [
    "Broadcasting",
    "Figure",
    "HazardLoom",
    "LengthLeak",
    "MaskSwitchboard",
    "PackingBench",
    "PersonPeriod",
    "Playground",
    "PushMap",
    "TrainingReplay",
    "TwoDoors",
    "TwoEndings",
]
