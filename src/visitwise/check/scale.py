"""Chapter 13: wrong means over processes, wrong weights for them, wrong sizes of a cohort in memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visitwise.check import Mistake


def own_mean(loss_sum: Float[Tensor, ""], count: int) -> Float[Tensor, ""]:
    """The mean over a process's own patients or rows: right in each process, wrong once gradients are averaged."""
    return loss_sum / count


# ---------------------------------------------------------------- where the average of several own means comes to rest
#
# One constant hazard for everybody. The gradient of a process's loss, by its logit, is rows * hazard - events.


def all_together(
    rows: Int[Tensor, " process"], events: Int[Tensor, " process"], patients: Int[Tensor, " process"]
) -> Float[Tensor, ""]:
    """Events by rows of all processes: what one process with everybody finds."""
    return events.sum() / rows.sum()


def average_of_rates(
    rows: Int[Tensor, " process"], events: Int[Tensor, " process"], patients: Int[Tensor, " process"]
) -> Float[Tensor, ""]:
    """The mean of the hazards that the processes would find alone."""
    return (events / rows).mean()


def most_patients(
    rows: Int[Tensor, " process"], events: Int[Tensor, " process"], patients: Int[Tensor, " process"]
) -> Float[Tensor, ""]:
    """What the process with the most patients would find alone."""
    return events[patients.argmax()] / rows[patients.argmax()]


def events_by_patients(
    rows: Int[Tensor, " process"], events: Int[Tensor, " process"], patients: Int[Tensor, " process"]
) -> Float[Tensor, ""]:
    """The share of patients with an event."""
    return events.sum() / patients.sum()


RESTS_AT = {
    "all_together": Mistake(
        "that is events by rows of all four, where the gradient over everybody is zero; the average of two means is "
        "another gradient",
        all_together,
    ),
    "average_of_rates": Mistake(
        "that is the mean of what the processes would find alone; gradients are averaged, not hazards", average_of_rates
    ),
    "most_patients": Mistake("that is what the process with the most patients would find alone", most_patients),
    "events_by_patients": Mistake(
        "that is the share of patients with an event; a hazard is a share of rows", events_by_patients
    ),
}
"""Wrong hazards at which training on averaged per-patient means would rest, of rows, events, patients by process."""


# ------------------------------------------------------------------------------------------- wrong weights of a mean


def shares(count: Int[Tensor, " process"]) -> Float[Tensor, " process"]:
    """Each process's share of the whole; the division by their number is forgotten."""
    return count / count.sum()


def equal(count: Int[Tensor, " process"]) -> Float[Tensor, " process"]:
    """One for everybody: the mean of means."""
    return torch.ones_like(count, dtype=torch.get_default_dtype())


def upside_down(count: Int[Tensor, " process"]) -> Float[Tensor, " process"]:
    """The right weight, divided by instead of multiplied with."""
    return count.sum() / (len(count) * count)


def per_process(count: Int[Tensor, " process"]) -> Float[Tensor, " process"]:
    """The share divided by the number of processes, which the averaging does already."""
    return count / count.sum() / len(count)


WEIGHTS = {
    "shares": Mistake(
        "those are the shares of the whole; the average divides by the number of processes, so multiply by it", shares
    ),
    "equal": Mistake("that leaves the own means as they are, and a short share counts as much as a long one", equal),
    "upside_down": Mistake("those are the weights upside down: more patients have to weigh more", upside_down),
    "per_process": Mistake(
        "you divided by the number of processes, which the average does already; multiply by it", per_process
    ),
}
"""Wrong factors for each process's own mean, of the counts by process."""


# ----------------------------------------------------------------------------------------- wrong bytes of a cohort


def real_codes(length: Int[Tensor, " patient"], n_codes: Int[Tensor, " visit"]) -> Int[Tensor, ""]:
    """The codes that were recorded, 4 bytes each: no padding."""
    return 4 * n_codes.sum()


def cells(length: Int[Tensor, " patient"], n_codes: Int[Tensor, " visit"]) -> Int[Tensor, ""]:
    """Cells of the box, of one byte each."""
    return len(length) * length.max() * n_codes.max()


def visits_by_widest(length: Int[Tensor, " patient"], n_codes: Int[Tensor, " visit"]) -> Int[Tensor, ""]:
    """Real visits, each as wide as the widest: only the codes are padded."""
    return 4 * length.sum() * n_codes.max()


def mean_visit(length: Int[Tensor, " patient"], n_codes: Int[Tensor, " visit"]) -> Float[Tensor, ""]:
    """Records as long as the longest, of visits as full as the mean one."""
    return 4 * len(length) * length.max() * n_codes.double().mean()


BOX_BYTES = {
    "real_codes": Mistake("those are the codes recorded; a box has cells for the padding, too", real_codes),
    "cells": Mistake("those are the cells; each takes 4 bytes", cells),
    "visits_by_widest": Mistake(
        "you padded the visits to the widest one; the records have to be padded to the longest, too", visits_by_widest
    ),
    "mean_visit": Mistake("a box is as deep as the fullest visit, not as the mean one", mean_visit),
}
"""Wrong bytes of the padded box of codes, of the visits of each patient and the codes of each visit."""
