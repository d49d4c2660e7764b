"""Where the patients of a run come from: a folder of events, a cohort's folder, or a cohort by name."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from visitwise._checks import check_whole
from visitwise._explain import explained
from visitwise._ragged import trusted
from visitwise.cohort import Cohort
from visitwise.definition import CohortDefinition
from visitwise.run.choices import Choices
from visitwise.run.scores import KnownHazard
from visitwise.study import Study
from visitwise.visits import CHUNK

NAMED = ("small", "nafld", "pbc")
STUDY = "study"

Kind = Literal["events", "cohort", "name"]


@explained
def kind_of(source: str) -> Kind:
    """What a source is: `"events"` (a MEDS folder), `"cohort"` (a saved one) or `"name"`.

    Raises:
        ValueError: It is none of them; says what was expected.

    Examples:
        >>> kind_of("small")
        'name'
    """
    path = Path(source)
    if source in NAMED and not path.exists():
        return "name"
    expected = f"a folder written by `visitwise simulate`, a MEDS folder, or {', '.join(NAMED)}"
    if not path.exists():
        raise ValueError(f"there is no {source}; expected {expected}")
    if (path / "cohort.json").is_file():
        return "cohort"
    if (path / "data").is_dir():
        return "events"
    if path.is_dir():
        raise ValueError(f"{source} holds neither cohort.json nor a folder data of events; expected {expected}")
    raise ValueError(f"{source} is a file; expected {expected} (visitwise.tables makes a cohort of a table)")


@explained
def resolved(source: str) -> str:
    """The same source under a name that holds in any folder.

    Examples:
        >>> resolved("small")
        'small'
    """
    return source if kind_of(source) == "name" else str(Path(source).resolve())


@explained
def open_cohort(source: str) -> Cohort:
    """A cohort by name or from its folder.

    Raises:
        ValueError: The source is something else.

    Examples:
        >>> open_cohort("small")
        Cohort(2,000 patients, 22,830 visits, 69,356 codes, 22,830 rows at risk, 604 events)
    """
    kind = kind_of(source)
    if kind == "events":
        raise ValueError(f"{source} holds events; expected a cohort, or the choices that make one of them")
    if kind == "cohort":
        return Cohort.load(source)
    from visitwise import datasets

    named: Cohort = getattr(datasets, source)()
    return named


@explained
def open_study(choices: Choices, folder: Path, *, progress: bool = True, split: bool = True) -> Study:
    """The patients of a run, split; of events, the study is prepared in `folder/study` unless it is there.

    Args:
        choices: Where they come from, and how.
        folder: The run's folder.
        progress: Whether to show a progress bar.
        split: Whether to split a cohort that has no split of its own; without, all are held out.

    Raises:
        ValueError: The choices do not fit the source.

    Examples:
        >>> open_study(Choices("small"), Path("nowhere"))
        Study(2,000 patients: 1,400 train, 300 tuning, 300 held out; 22,830 visits, 604 events)
    """
    if choices.definition is not None and (folder / STUDY).exists():  # the events may be gone by now
        return Study.load(folder / STUDY)
    kind = kind_of(choices.source)
    if kind == "events":
        if choices.definition is None:
            raise ValueError(f"{choices.source} holds events; expected at least --outcome and --end-of-follow-up")
        from visitwise import meds

        return meds.prepare(choices.source, choices.definition, folder / STUDY, progress=progress)
    if choices.definition is not None:
        raise ValueError(f"{choices.source} is a cohort already; an outcome and the like are chosen for events only")
    if kind == "cohort" and (Path(choices.source) / "split.npy").is_file():
        return Study.load(choices.source)
    cohort = open_cohort(choices.source)
    if not split:
        return Study(cohort, torch.full((len(cohort),), 2, dtype=torch.int8))
    return Study.of(cohort, seed=choices.training.seed)


@explained
def by_lot_at_most(cohort: Cohort, most: int) -> Cohort:
    """The cohort, or so many of its patients drawn by lot, always the same ones.

    Examples:
        >>> len(by_lot_at_most(open_cohort("small"), 100))
        100
    """
    check_whole(most, "most")
    if not isinstance(cohort, Cohort):
        raise TypeError(f"cohort is a {type(cohort).__name__}; expected a Cohort")
    if len(cohort) <= most:
        return cohort
    drawn = np.random.default_rng(0).permutation(len(cohort))[:most]
    return cohort.select(torch.from_numpy(np.sort(drawn)))


@explained
def first_cause_only(study: Study) -> Study:
    """The study of the outcome that was asked for: an event of a competing cause ends follow-up without it.

    That is the cause-specific hazard: of those who have had neither so far. Without competing causes in the definition
    nothing changes, and an event of any cause counts.

    Examples:
        >>> from visitwise.simulate import TEACHING
        >>> study = Study.of(TEACHING.draw(50, seed=0).cohort)
        >>> first_cause_only(study) is study
        True
    """
    if study.definition is None or not study.definition.competing:
        return study
    outcome = study.cohort.outcome
    alone = replace(outcome, cause=torch.where(outcome.cause == 1, 1, torch.zeros_like(outcome.cause)))
    return replace(study, cohort=trusted(Cohort, visits=study.cohort.visits, outcome=alone))


@explained
def outcome_codes(definition: CohortDefinition | None) -> list[str]:
    """All codes that record the event or a competing one.

    Examples:
        >>> outcome_codes(CohortDefinition(("STROKE",), "last record", competing=(("MEDS_DEATH",),)))
        ['STROKE', 'MEDS_DEATH']
    """
    return [] if definition is None else [name for names in definition.causes for name in names]


@explained
def true_hazard(source: str, cohort: Cohort) -> KnownHazard | None:
    """The true hazards that lie beside a simulated cohort, or None.

    Raises:
        ValueError: There are more or fewer than visits.

    Examples:
        >>> true_hazard("small", open_cohort("small")) is None
        True
    """
    file = Path(source) / "true_hazard.npy"
    if not file.is_file():
        return None
    hazard = torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
    if len(hazard) != cohort.visits.n_visits:
        raise ValueError(f"{file} holds {len(hazard)} hazards; expected {cohort.visits.n_visits}, one for each visit")
    return KnownHazard(cohort, hazard)


# ------------------------------------------------------------------------------------------------- who was seen


@explained
def fingerprints(cohort: Cohort) -> Int[np.ndarray, "patient 2"]:
    """Each patient's id beside a number made of the first visit: ids alone may be 0, 1, 2, ... in any cohort.

    Somebody else with the same id and an equal first visit is taken for the same patient.

    Examples:
        >>> fingerprints(open_cohort("small"))[:2, 0].tolist()
        [20000000000, 20000000001]
    """
    return np.concatenate(list(_fingerprints(cohort)))


@explained
def seen_by(folder: Path, cohort: Cohort) -> Bool[Tensor, " patient"]:
    """True for the patients that the model in this folder was trained on or stopped by.

    Raises:
        ValueError: The folder does not say who they are.

    Examples:
        >>> seen_by(Path("nowhere"), open_cohort("small"))
        Traceback (most recent call last):
        ValueError: nowhere holds no patients_seen.npy; expected a folder written by `visitwise train`
    """
    file = folder / "patients_seen.npy"
    if not file.is_file():
        raise ValueError(f"{folder} holds no patients_seen.npy; expected a folder written by `visitwise train`")
    known = {tuple(row) for row in np.load(file, allow_pickle=False).tolist()}
    return torch.tensor([tuple(row) in known for some in _fingerprints(cohort) for row in some.tolist()])


def _fingerprints(cohort: Cohort) -> Iterator[np.ndarray]:
    for patients in torch.arange(len(cohort)).split(CHUNK):
        # The first visit alone: a later extract goes on from it, and its patients are the same.
        visits = cohort.visits.select(patients, torch.ones_like(patients))
        of_code = torch.repeat_interleave(visits.code_offsets.diff())
        number = (visits.day * 1024).long() * 2654435761
        number = number.index_add(0, of_code, (visits.codes.long() + 7) ** 3 * 2246822519)
        yield torch.stack([visits.patient_id, number], 1).numpy()
