"""Trains the models of `visitwise.trained` again, in place of those that came with the package: some minutes."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

from visitwise.simulate import CHECK_UP, SCHEMA, Simulator
from visitwise.trained import CURVES, EPOCHS, FOLDER, INTERCEPTS, Name, file_of, train, world
from visitwise.training import Model, save_model
from visitwise.visits import Visits


def main(names: list[str], folder: Path = FOLDER) -> None:
    for name in get_args(Name):
        if names and name not in names:
            continue

        def keep(epoch: int, model: Model, name: Name = name) -> None:
            if epoch in EPOCHS[name]:
                path = folder / file_of(name, epoch).name
                save_model(model, path)
                path.chmod(0o644)  # for all who have the package
                print(f"{name}, epoch {epoch}", flush=True)

        _note(folder / INTERCEPTS.name, name, log_odds_of_nothing(world(name)))
        _note(folder / CURVES.name, name, train(name, keep))


def log_odds_of_nothing(simulator: Simulator) -> list[float]:
    """For each cause, the log-odds of its event after a check-up at the age of 60, with nothing else on record."""
    visits = Visits.from_lists([[[CHECK_UP]]], day=[[0.0]], static=[[0.0, 0.0]], schema=SCHEMA)
    hazard = simulator.cause_hazard(visits)[0]
    odds: list[float] = (hazard / (1 - hazard.sum())).log().tolist()
    return odds


def _note(path: Path, name: Name, found: Any) -> None:
    noted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(noted | {name: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
