"""What the figures are told that run the trained models: their weights, the true hazard's settings, their loss."""

from base64 import b64encode
from dataclasses import asdict
from typing import Any, get_args

from visitwise import simulate, trained
from visitwise.simulate import SCHEMA


def given(*models: trained.Name) -> dict[str, Any]:
    """Codes by their place in the schema, and for each model its files by epoch (base64), its world and its loss.

    `epochs` are those that the causal model was kept after; the other models were kept after the last of them alone.
    """
    names = models or get_args(trained.Name)
    return {
        "codes": list(SCHEMA.codes),
        "epochs": list(trained.EPOCHS["causal"]),
        "files": {name: {str(epoch): _text(name, epoch) for epoch in trained.EPOCHS[name]} for name in names},
        "worlds": {name: world_of(name) for name in names},
        "curves": {name: trained.curve(name) for name in names},
    }


def world_of(name: trained.Name) -> dict[str, Any]:
    """The settings of the simulator that a model was trained on, as `teaching.js` reads them."""
    world = trained.world(name)
    code = {
        "diabetes": simulate.DIABETES,
        "kidney_disease": simulate.KIDNEY_DISEASE,
        "kidney_injury": simulate.KIDNEY_INJURY,
        "heart_failure": simulate.HEART_FAILURE,
        "lung_cancer": simulate.LUNG_CANCER,
        "furosemide": simulate.FUROSEMIDE,
        "statin": simulate.STATIN,
    }
    return {
        "effects": asdict(world.effects),
        "scale": world.scale,
        "intercepts": trained.intercepts(name),
        "second": {"age": simulate.SECOND_AGE, "statin": simulate.SECOND_STATIN},
        "decay_days": simulate.DECAY_DAYS,
        "fading_visits": simulate.FADING_VISITS,
        "chronic": [_place(name) for name in simulate.CHRONIC],
        "acute": [_place(name) for name in simulate.ACUTE],
        "code": {short: _place(name) for short, name in code.items()},
    }


def _place(code: str) -> int:
    return SCHEMA.codes.index(code)


def _text(name: trained.Name, epoch: int) -> str:
    return b64encode(trained.file_of(name, epoch).read_bytes()).decode("ascii")
