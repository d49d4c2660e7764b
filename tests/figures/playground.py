"""The playground by the package: its trained models, its likelihoods, and the simulator's own hazard."""

from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.figures import Mutant
from visitwise import functional as F
from visitwise import simulate, trained
from visitwise.model import SurvivalRNN
from visitwise.simulate import SCHEMA
from visitwise.visits import Visits
from visitwise.widgets.playground import SAMPLES, START

PAGE = "playground"
BEGIN = START | {"epoch": 7, "model": "causal"}
N_CODES = len(SCHEMA.codes) - 1


def states(random: np.random.Generator) -> list[dict[str, Any]]:
    """The samples under each model, and random patients of 1 to 60 visits over all models and epochs."""
    models = ["causal", "bidirectional", "competing", "mine"]
    begun = [BEGIN | sample.state | {"model": model} for sample in SAMPLES for model in models]
    some = [BEGIN | {"visit": visit, "epoch": epoch} for visit in range(6) for epoch in range(8)]
    return [*begun, *some, *edited(random), *(drawn(random, k) for k in range(500))]


def edited(random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One patient, changed at one visit after the other: what was said of the visits before is not computed again."""
    state = BEGIN
    for turn in range(60):
        visit = int(random.integers(1, 6))
        day, codes = list(state["day"]), list(state["codes"])
        if turn % 2:
            codes[visit] ^= 1 << int(random.integers(N_CODES))
        else:
            day[visit] = int(random.integers(day[visit - 1] + 1, day[visit + 1] if visit < 5 else 400))
        state = state | {"day": day, "codes": codes}
        yield state


def drawn(random: np.random.Generator, number: int) -> dict[str, Any]:
    n_visits = int(random.integers(1, 61))
    longest = int(random.choice([2, 60, 166]))  # days between two visits: none in 60 is then beyond the last day
    day = np.cumsum([0, *random.integers(1, longest + 1, n_visits - 1)])
    share = random.choice([0.03, 0.1, 0.3, 1.0])
    bits = (random.random((n_visits, N_CODES)) < share) @ (1 << np.arange(N_CODES))
    model = ["causal", "causal", "bidirectional", "competing", "mine"][number % 5]
    return {
        "day": day.tolist(),
        "codes": bits.tolist(),
        "age": int(random.integers(35, 86)),
        "female": bool(random.integers(2)),
        "observed": bool(random.integers(2)),
        "visit": int(random.integers(n_visits)),
        "epoch": int(random.integers(8)),
        "model": model,
    }


def visits_of(state: dict[str, Any], codes: list[list[list[str]]]) -> Visits:
    """Patients with this one's days, age and sex, whose records are these."""
    static = [[(state["age"] - 60) / 10, float(state["female"])]] * len(codes)
    return Visits.from_lists(codes, [state["day"][: len(names)] for names in codes], schema=SCHEMA, static=static)


@cache
def model_of(name: trained.Name, epoch: int) -> Any:
    return trained.load(name, epoch).double()


@cache
def world_of(name: trained.Name) -> simulate.Simulator:
    return trained.world(name)  # one object, because its intercepts are found anew for each


@torch.no_grad()
def logits_of(model: Any, visits: Visits) -> Tensor:
    """For each cause, `[patient, visit, cause]`."""
    logits: Tensor = model(visits)
    return logits[..., None] if isinstance(model, SurvivalRNN) else logits


def oracle(state: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    name = "causal" if state["model"] == "mine" else state["model"]  # none was loaded
    epoch = trained.EPOCHS["causal"][state["epoch"] if name == "causal" else -1]
    model = model_of(name, epoch)
    world, chosen, n_visits = world_of(name), state["visit"], len(state["day"])
    codes = [[SCHEMA.codes[j + 1] for j in range(N_CODES) if bits >> j & 1] for bits in state["codes"]]
    visits = visits_of(state, [codes])
    logits = logits_of(model, visits)
    hazard = F.cause_hazard(logits)[0]
    truth = world.cause_hazard(visits)
    true_logits = torch.from_numpy(simulate._cause_logits(world, visits) + np.array(simulate._intercepts(world)))[None]

    reads = simulate._recall(visits)
    effects = {field.name: getattr(world.effects, field.name) for field in fields(world.effects)}
    terms = [world.scale * effect * reads[part][chosen] for part, effect in effects.items()]

    def nll(of: Tensor) -> Tensor:
        stop, cause = torch.tensor([n_visits]), torch.tensor([int(state["observed"])])
        if of.shape[-1] == 1:
            return F.hazard_nll(of[..., 0], stop, cause > 0)
        return F.competing_risks_nll(of, stop, cause)

    taken_off = [[*codes[:chosen], [one for one in codes[chosen] if one != code], *codes[chosen + 1 :]]
                 for code in codes[chosen]]  # fmt: skip
    others = visits_of(state, taken_off) if taken_off else None
    then = hazard.sum(-1)
    # That later visits move nothing in the other models is tested in test_model.py; of them the short records will do.
    if name == "bidirectional" or n_visits < 12:
        cut = visits_of(state, [codes[: k + 1] for k in range(n_visits)])
        then = F.cause_hazard(logits_of(model, cut)).sum(-1).diagonal()
    moved = (hazard.sum(-1) - then).abs()
    most = moved.argmax().item() if name == "bidirectional" else 0
    curve = trained.curve(name)
    return {
        "hazard": hazard.sum(-1).tolist(),
        "cause_hazard": hazard.tolist(),
        "true_hazard": world.hazard(visits).tolist(),
        "true_cause_hazard": truth.tolist(),
        "survival": F.survival(F.all_cause_logits(logits))[0].tolist(),
        "true_survival": F.survival(F.all_cause_logits(true_logits))[0].tolist(),
        "incidence": F.cumulative_incidence(logits)[0].tolist(),
        "true_incidence": F.cumulative_incidence(true_logits)[0].tolist(),
        "nll": nll(logits).item(),
        "oracle_nll": nll(true_logits).item(),
        "push": torch.autograd.functional.jacobian(nll, logits)[0, :, 0].tolist(),  # the slope of each logit of cause 1
        "terms": [simulate._intercepts(world)[0], *(float(term) for term in terms)],
        "without": [
            [SCHEMA.codes.index(code), learned, true]
            for code, learned, true in zip(
                codes[chosen],
                F.cause_hazard(logits_of(model, others))[:, chosen].sum(-1).tolist() if others else [],
                others.pad(world.hazard(others))[:, chosen].tolist() if others else [],
                strict=True,
            )
        ],
        "known_then": then.tolist(),
        "most_moved": moved.max().item(),
        "moved_visit": most,
        "epochs": epoch,
        "loss": curve["validation"][epoch],
        "oracle_loss": curve["oracle"],
    }


MUTANTS = [
    Mutant("codes one place off", "bits & (1 << (code - 1))", "bits & (1 << (code % 29))"),
    Mutant("age in double precision", "Math.fround((age - 60) / 10)", "(age - 60) / 10"),
    Mutant("age in years", "Math.fround((age - 60) / 10)", "Math.fround(age - 60)"),
    Mutant("men for women", "Number(female)]", "Number(!female)]"),
    Mutant("the last epoch whatever is chosen", 'name === "causal" ? epoch : given', 'name === "" ? epoch : given'),
    Mutant("an epoch of the other models", "models[name + epoch]", "models[epoch]"),
    Mutant("changed codes not read again", "`${last.patient.codes[k]}` === `${patient.codes[k]}` &&", ""),
    Mutant("a moved visit not read again", "last.patient.day[k] === patient.day[k] &&", ""),
    Mutant("another age not read again", "&& `${last.patient.static}` === `${patient.static}`", ""),
    Mutant("another model not read again", "last?.model === model &&", "last &&"),
    Mutant("one visit too many kept", "last.result : undefined, first);", "last.result : undefined, first + 1);"),
    Mutant("with and without begun afresh", "[states[k - 1]] :", "[undefined] :"),
    Mutant("the visit read twice", "[states[k - 1]] :", "[states[k]] :"),
    Mutant("nothing remembered from later visits", ", states[k + 1]?.both?.[1]]", ", undefined]"),
    Mutant("later visits in the wrong order", "states[k + 1]?.both", "states[states.length - 2 - k]?.both"),
    Mutant("what comes later remembered from before", "states[k - 1]?.both?.[0]", "states[k - 1]?.both?.[1]"),
    Mutant("known then, and later, too", "[memories[k][0]])", "memories[k])"),
    Mutant("known then without the past", "[memories[k][0]])", "[])"),
    Mutant("known then as learned", "? hazard\n      :", "? hazard\n      : model ? hazard :"),
    Mutant("with for without", "filter((one) => one !== code)", "filter((one) => one)"),
    Mutant("without all the others", "filter((one) => one !== code)", "filter((one) => one === code)"),
    Mutant(
        "true hazard without it at the first visit",
        "recall(other, world)[visit]",
        "recall(other, world)[0]",
    ),
    Mutant("event of either cause", "logits[logits.length - 1][0] : 0", "sum(logits[logits.length - 1]) : 0"),
    Mutant("the event at the first visit", "logits[logits.length - 1][0] : 0", "logits[0][0] : 0"),
    Mutant("the event survived, too", "(observed ? logits[", "(observed ? 2 * logits["),
    Mutant("nothing that can happen forgotten", "Math.exp(-top) + sum(", "sum("),
    Mutant(
        "the oracle by the learned hazards",
        "recordNll(trueSaid, observed)",
        "recordNll(result.logits, observed)",
    ),
    Mutant("one world for all models", '? "causal" : "competing"]', '? "causal" : "causal"]'),
    Mutant("true incidence as learned", "cumulativeIncidence(truth)", "cumulativeIncidence(result.hazard)"),
    Mutant("incidence without survival", "hazard[c] * (k ? left[k - 1] : 1)", "hazard[c]"),
    Mutant("incidence with the survival after it", "(k ? left[k - 1] : 1)", "left[k]"),
    Mutant("every visit pushed as by the event", "observed && k === hazard.length - 1", "observed"),
    Mutant("the push the other way round", "risk - Number(observed", "-risk + Number(observed"),
    Mutant("the push of all causes", "map(([risk], k) => risk -", "map((all, k) => sum(all) -"),
    Mutant("terms of the first visit", "termsOf(reads[visit]", "termsOf(reads[0]"),
    Mutant("the base of the other cause", "[intercepts[0], ...", "[intercepts.at(-1), ..."),
    Mutant("what is read for what it adds", "scale * effects[name] * reads", "reads"),
    Mutant("the loss of the epoch before", ".epoch] : null", ".epoch - 1] : null"),
    Mutant("signed moves", "Math.abs(risk - known_then[k])", "risk - known_then[k]"),
]
