"""Claims about the notes' own programs, links and references: re-created in a few lines, or recorded when looked up."""

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.ledger import Evidence, claim

LOOKED_UP = json.loads(Path(__file__).with_name("looked_up_13_scale.json").read_text(encoding="utf-8"))


class Hazards(nn.Module):
    """A hazard at each visit from one number about it; `predict` knows nothing else."""

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, 4, batch_first=True)
        self.head = nn.Linear(4, 1)
        random = np.random.default_rng(0)
        with torch.no_grad():
            for parameter in self.double().parameters():
                parameter.copy_(torch.from_numpy(random.uniform(-0.8, 0.8, parameter.shape)))
            self.head.bias.fill_(-2.0)

    def forward(self, visits: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.lstm(visits)[0])[..., 0])

    @torch.no_grad()
    def predict(self, visits: Tensor) -> Tensor:
        return (1 - self(visits)).cumprod(1)


class HazardsWithTimes(Hazards):
    """The same with the years since the visit before, zeros where they are not given; `predict` is inherited."""

    def __init__(self) -> None:
        super().__init__(inputs=2)

    def forward(self, visits: Tensor, years: Tensor | None = None) -> Tensor:
        years = torch.zeros_like(visits) if years is None else years
        return super().forward(torch.cat([visits, years], -1))


@claim(
    "H17",
    "`predict_survival` of the model that knows when visits happen gives that model's survival.",
    source="lstm code",
    verdict="FALSE",
    shows="Five visits, three months or ten years apart: the model's own hazards leave a survival of {often:.3f} or "
    "{rarely:.3f}, and the inherited method says {said:.3f} for both. Given the times, it raises {error}.",
    teaches="A method that is inherited calls the new `forward` with the old arguments, and an optional input becomes "
    "zeros without a word. Ask for what the model was trained on.",
    chapter="13-scale#small-before-large",
)
def test_an_inherited_prediction_forgets_the_times(evidence: Evidence) -> None:
    model, visits = HazardsWithTimes(), torch.ones(1, 5, 1, dtype=torch.float64)
    quarter, decade = torch.full_like(visits, 0.25), torch.full_like(visits, 10.0)
    with torch.no_grad():
        often, rarely = (float((1 - model(visits, gap)).prod()) for gap in (quarter, decade))
        without = float((1 - model(visits)).prod())
    said = float(model.predict(visits)[0, -1])
    assert said == pytest.approx(without, abs=1e-12)
    assert min(abs(said - often), abs(said - rarely), abs(often - rarely)) > 0.005
    with pytest.raises(TypeError) as raised:
        model.predict(visits, quarter)
    evidence(often=often, rarely=rarely, said=said, error=raised.typename)


def trainers_loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """What a trainer for classifiers asks of a model and of a batch."""
    outputs: Any = model(batch["visits"])
    return nn.functional.binary_cross_entropy_with_logits(outputs["logits"], batch["labels"])


class Classifier(nn.Module):
    def forward(self, visits: Tensor) -> dict[str, Tensor]:
        return {"logits": visits.sum((1, 2))}


@claim(
    "H18",
    "The generic trainer trains the project's models on the project's data set.",
    source="trainer code",
    verdict="FALSE",
    shows="Asked for `outputs['logits']`, the hazards of a survival model raise {model_error}. A data set that calls "
    "the outcome `label`, where the trainer asks for `{key}`, raises {data_error}. A classifier with the right key "
    "gives a loss of {loss:.3f}.",
    teaches="Two parts that were written apart agree on names and shapes only if something has run them together. A "
    "batch of two patients is enough.",
    chapter="13-scale#small-before-large",
)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_a_trainer_for_classifiers_cannot_train_a_survival_model(evidence: Evidence) -> None:
    visits, outcome = torch.ones(2, 3, 1, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    with pytest.raises(IndexError) as of_model:
        trainers_loss(Hazards(), {"visits": visits, "labels": outcome})
    with pytest.raises(KeyError) as of_data:
        trainers_loss(Classifier(), {"visits": visits, "label": outcome})
    key = of_data.value.args[0]
    assert key == "labels"
    loss = float(trainers_loss(Classifier(), {"visits": visits, "labels": outcome}))
    evidence(model_error=of_model.typename, data_error=of_data.typename, key=key, loss=loss)


@claim(
    "H19",
    "The demo script trains, and evaluates after each epoch.",
    source="demo code; training code",
    verdict="FALSE",
    shows="It joins the hazards of all validation batches, each padded to its own longest record. With {patients} "
    "patients in batches of {batch}, that raised in {raised} of {draws} draws of record lengths.",
    teaches="It works where all batches happen to be equally wide. Take the padding out, then join; and evaluate once "
    "before the first epoch, when it costs nothing to find out.",
    chapter="13-scale#where-it-breaks",
)
def test_boxes_of_other_widths_do_not_join(evidence: Evidence) -> None:
    random, patients, batch, draws = np.random.default_rng(0), 96, 32, 100
    raised = 0
    for _ in range(draws):
        lengths = torch.from_numpy(random.lognormal(np.log(11), 0.8, patients).round().clip(1, 100).astype(int))
        widths = [int(part.max()) for part in lengths.split(batch)]
        boxes = [torch.zeros(batch, width) for width in widths]
        if len(set(widths)) == 1:
            continue
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            torch.cat(boxes)
        raised += 1
        real = [
            torch.arange(box.shape[1]) < part[:, None] for box, part in zip(boxes, lengths.split(batch), strict=True)
        ]
        assert len(torch.cat([box[mask] for box, mask in zip(boxes, real, strict=True)])) == int(lengths.sum())
    assert raised > 0.9 * draws
    assert torch.cat([torch.zeros(batch, 7), torch.zeros(batch, 7)]).shape == (2 * batch, 7)
    evidence(patients=patients, batch=batch, raised=raised, draws=draws)


@claim(
    "H21",
    "To read and to use: five references on such models, `pyhealth.models.DeepSurv` and `pycox.models.LogisticHazard`.",
    source="loss; tutorial 3",
    verdict="DEPENDS",
    shows="On {date}, authors, years and places of {agree} of {references} references were found as given; {other} of "
    "them, {name}, predicts {tasks} kinds of yes-or-no outcomes, no times. `LogisticHazard` is there; of the "
    "{exported} names that `pyhealth.models` {version} exports, {surv} has to do with survival.",
    teaches="The papers exist; one of the two classes does not. pycox has DeepSurv, under the name `CoxPH`. Try an "
    "import before you pass it on.",
    chapter="13-scale#small-before-large",
)
def test_the_references_exist_and_one_of_two_classes(evidence: Evidence) -> None:
    references = LOOKED_UP["references"]["list"]
    agree = [each for each in references if each["said"] == each["found"]]
    (other,) = [each for each in references if not each["survival"]]
    pyhealth = LOOKED_UP["software"]["pyhealth"]
    exported = pyhealth["models"]
    assert len(set(exported)) == len(exported)
    assert "DeepSurv" not in exported
    surv = sum("surv" in name.lower() for name in exported)
    models = importlib.import_module("pycox.models")
    assert hasattr(models, "LogisticHazard")
    assert not hasattr(models, "DeepSurv")
    assert "essentially the DeepSurv method" in models.CoxPH.__doc__
    evidence(
        date=LOOKED_UP["date"],
        agree=len(agree),
        references=len(references),
        other=1,
        name=f"{other['said'][0]} and others ({other['said'][1]})",
        tasks=len(other["tasks"]),
        exported=len(exported),
        version=pyhealth["version"],
        surv=surv or "none",
    )


@claim(
    "H22",
    "The documents link to the code that they explain.",
    source="integration; loss; demo code",
    verdict="FALSE",
    shows="On {date}, all {local} of {links} links of the document on loss and LSTM led to a folder on its author's "
    "computer, {moved} of them to a script that has moved. The lines given for `{promised}` hold `{there}` in a later "
    "version. And the moved script still tells you to call it by its old name with `{option}`, which its parser "
    "refuses.",
    teaches="Link to a file at a commit, or to a name, not to lines; and have something follow the links.",
    chapter="13-scale#small-before-large",
)
def test_links_to_a_folder_of_the_author_and_to_lines_go_stale(evidence: Evidence) -> None:
    links = LOOKED_UP["links"]
    local = [target for target in links["targets"] if target.startswith("(a folder of its author)/")]
    moved = [target for target in links["targets"] if target.partition(":")[0].endswith(links["moved"]["from"])]
    assert len(local) == len(links["targets"])
    lines = links["lines"]
    then, later = lines["begins_there"].values()
    assert then == lines["promises"] != later
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in links["moved"]["parser_options"]:
        parser.add_argument(option, required=option in links["moved"]["parser_requires"])
    told = [word for option in links["moved"]["usage_options"] for word in (option, "1")]
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parser.parse_args(told)
    assert links["moved"]["usage_names"] == links["moved"]["from"] != links["moved"]["to"]
    refused = [option for option in links["moved"]["usage_options"] if option not in links["moved"]["parser_options"]]
    evidence(
        date=LOOKED_UP["date"],
        local=len(local),
        links=len(links["targets"]),
        moved=len(moved),
        promised=lines["promises"],
        there=later,
        option=refused[0],
    )
