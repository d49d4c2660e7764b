"""Figure 10 by torch, with the models that come with the package, and by the simulator's own hazard."""

import itertools
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.figures import Mutant
from visitwise.functional import hazard_nll, logits_from_hazard, survival
from visitwise.simulate import KIDNEY_INJURY, SCHEMA, TEACHING
from visitwise.trained import EPOCHS, curve, load
from visitwise.training import Model
from visitwise.visits import Visits

PAGE = "08-training-and-evaluating"
PARTS = ("patient", "model", "epoch", "length", "visit", "injury", "observed")
PATIENTS = ("Ben", "Ada", "Cleo", "Dan")


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    models = [("bidirectional", 16), *(("causal", epoch) for epoch in EPOCHS["causal"])]
    every = itertools.product(PATIENTS, models, [(1, 0), (8, 4), (10, 9)], [(True, True), (False, False)])
    chosen = [(patient, *model, *cut, *switches) for patient, model, cut, switches in every]
    for _ in range(300):
        model, epoch = models[max(0, random.integers(-3, len(models)))]
        length = int(random.integers(1, 11))
        switches = [bool(one) for one in random.integers(0, 2, 2)]
        chosen.append((str(random.choice(PATIENTS)), model, epoch, length, int(random.integers(length)), *switches))
    return [dict(zip(PARTS, one, strict=True)) for one in chosen]


@cache
def model_of(name: Any, epoch: int) -> Model:
    return load(name, epoch).double()


def record_of(patient: dict[str, Any], length: int, visit: int, injury: bool) -> Visits:
    codes = [[SCHEMA.codes[code] for code in here] for here in patient["codes"]][:length]
    if injury:
        codes[visit].append(KIDNEY_INJURY)
    return Visits.from_lists([codes], [patient["day"][:length]], static=[patient["static"]], schema=SCHEMA)


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    patient, length, visit = given["patients"][state["patient"]], state["length"], state["visit"]

    def learned(upto: int, injury: bool) -> Tensor:
        return model_of(state["model"], state["epoch"]).predict(record_of(patient, upto, visit, injury)).hazard[0]

    def moved(before: Tensor, after: Tensor) -> float:
        both = torch.stack([before / after, after / before])
        return max(1.0, both.amax().item()) if both.numel() else 1.0

    record = record_of(patient, length, visit, state["injury"])
    hazard, truth = learned(length, state["injury"]), TEACHING.hazard(record)
    stop, observed = torch.tensor([length]), torch.tensor([state["observed"]])
    uncut, unharmed = learned(10, state["injury"]), learned(length, False)
    was, now = torch.cat([uncut[:length], unharmed[:visit]]), torch.cat([hazard, hazard[:visit]])
    most = (was.log() - now.log()).abs().argmax()
    fall = curve(state["model"])
    return {
        "hazard": hazard.tolist(),
        "true_hazard": truth.tolist(),
        "unedited": learned(10, False).tolist(),
        "mean_factor": torch.maximum(hazard / truth, truth / hazard).prod().item() ** (1 / length),
        "worst_factor": moved(hazard, truth),
        "survival": survival(logits_from_hazard(hazard)).tolist(),
        "true_survival": survival(logits_from_hazard(truth)).tolist(),
        "nll": hazard_nll(torch.logit(hazard)[None], stop, observed).item(),
        "oracle_nll": hazard_nll(torch.logit(truth)[None], stop, observed).item(),
        "moved_by_cut": moved(uncut[:length], hazard),
        "moved_by_injury": moved(unharmed[:visit], hazard[:visit]),
        "moved": [was[most].item(), now[most].item()] if moved(was, now) > 1 + 1e-9 else None,
        "validation": fall["validation"][state["epoch"]],
        "oracle": fall["oracle"],
    }


MUTANTS = [
    Mutant("the last epoch whatever is chosen", "given.files[model][epoch]", "given.files[model][16]"),
    Mutant("one model for all that were read", "models.set(file, model)", "models.get = () => model"),
    Mutant("the injury one visit late", "injury && k === visit ?", "injury && k === visit + 1 ?"),
    Mutant("the injury at every visit from then on", "injury && k === visit ?", "injury && k >= visit ?"),
    Mutant("the days not cut", "day: day.slice(0, length)", "day: day.slice(0, length).reverse()"),
    Mutant("a visit too few kept", ".slice(0, length)\n", ".slice(0, Math.max(1, length - 1))\n"),
    Mutant("a factor below one", "Math.abs(Math.log(p / q))", "Math.log(p / q)"),
    Mutant(
        "a mean of factors",
        "Math.exp(sum(hazard.map((p, k) => gap(p, truth[k]))) / length)",
        "sum(hazard.map((p, k) => Math.exp(gap(p, truth[k])))) / length",
    ),
    Mutant("the mean for the worst", "worst_factor: factor(hazard, truth)", "worst_factor: factor([hazard[0]], truth)"),
    Mutant("the smallest move told", "gap(p, q) - gap(a, b)", "gap(a, b) - gap(p, q)"),
    Mutant("a move told backwards", "=> [p, hazard[k]]", "=> [hazard[k], p]"),
    Mutant("rounding told as a move", "> 1e-9 ? moved", ">= 0 ? moved"),
    Mutant("differences for factors", "Math.abs(Math.log(p / q))", "Math.abs(p - q)"),
    Mutant("a mean over all ten visits", "/ length)", "/ VISITS)"),
    Mutant("the ending left out", "nll: hazardNll(hazard, length, observed)", "nll: hazardNll(hazard, length, true)"),
    Mutant("the true record without the injury", "visit, code), world)", "visit, 0), world)"),
    Mutant(
        "the injury's own visit counted", "learned(length, 0).slice(0, visit)", "learned(length, 0).slice(0, visit + 1)"
    ),
    Mutant("training loss for validation", "curves[model].validation[epoch]", "(curves[model].train[epoch] ?? 0)"),
    Mutant("the injury in what is untouched", "unedited: learned(VISITS, 0)", "unedited: learned(VISITS, code)"),
    Mutant("a cut compared with no injury", "uncut = learned(VISITS, code)", "uncut = learned(VISITS, 0)"),
    Mutant("injuries fade as fast as they like", "-gap / decay_days", "-gap", "teaching"),
    Mutant("beside counts as after", "now(code.kidney_injury) &&", "now(code.kidney_injury) ||", "teaching"),
]
