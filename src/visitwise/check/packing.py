"""Chapter 6: wrong fields of a packed sequence, wrong counts of its rows, wrong states of the last visit."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from visitwise.check import Mistake

# ----------------------------------------------------------------------------------------------- wrong batch sizes


def lengths_as_they_came(length: Int[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """One number a patient, where one a visit is asked for."""
    return length


def longest_first(length: Int[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """The lengths in the order of the sequence."""
    return length.sort(descending=True).values


def patients_of_each_length(length: Int[Tensor, " patient"]) -> Int[Tensor, " visit"]:
    """How many have their last visit there."""
    return torch.bincount(length - 1)


def patients_gone(length: Int[Tensor, " patient"]) -> Int[Tensor, " visit"]:
    """How many had their last visit before."""
    visit = torch.arange(int(length.max()), device=length.device)
    return (length[:, None] <= visit).sum(0)


def one_visit_early(length: Int[Tensor, " patient"]) -> Int[Tensor, " visit"]:
    """How many have one more visit to come: `n > k + 1` for `n > k`."""
    visit = torch.arange(int(length.max()), device=length.device)
    return (length[:, None] > visit + 1).sum(0)


BATCH_SIZES = {
    "lengths_as_they_came": Mistake(
        "those are the lengths, a number for each patient; batch_sizes has one for each visit", lengths_as_they_came
    ),
    "longest_first": Mistake(
        "those are the lengths, sorted; batch_sizes counts the patients who are still there", longest_first
    ),
    "patients_of_each_length": Mistake(
        "that counts those whose last visit this is; those with more visits are there, too", patients_of_each_length
    ),
    "patients_gone": Mistake("that counts the patients who are gone; count those who are still there", patients_gone),
    "one_visit_early": Mistake("you let each patient go one visit too early", one_visit_early),
}
"""Wrong `batch_sizes`, of the patients' lengths."""


# ------------------------------------------------------------------------------------------- wrong ways to sort back


def the_way_there(length: Int[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """`sorted_indices`: which patient stands at each place."""
    return length.argsort(descending=True, stable=True)


def shortest_first(length: Int[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """The place of each patient, counted from the shortest record."""
    return length.argsort(stable=True).argsort()


def places_from_one(length: Int[Tensor, " patient"]) -> Int[Tensor, " patient"]:
    """The right places, counted from 1."""
    return length.argsort(descending=True, stable=True).argsort() + 1


UNSORTED_INDICES = {
    "the_way_there": Mistake(
        "that is sorted_indices, which patient stands at each place; the place of each patient is asked for",
        the_way_there,
    ),
    "shortest_first": Mistake("you began with the shortest record; the longest one comes first", shortest_first),
    "places_from_one": Mistake("places are counted from 0", places_from_one),
}
"""Wrong `unsorted_indices`, of the patients' lengths."""


# ---------------------------------------------------------------------------------------------- wrong counts of steps


def cells_of_the_box(length: Int[Tensor, " patient"]) -> Int[Tensor, ""]:
    """Patients times the longest record: the padding is counted, too."""
    return length.max() * length.shape[0]


def visits_of_the_longest(length: Int[Tensor, " patient"]) -> Int[Tensor, ""]:
    """The longest record alone."""
    return length.max()


def padding_alone(length: Int[Tensor, " patient"]) -> Int[Tensor, ""]:
    """The cells that hold no visit."""
    return (length.max() - length).sum()


ROWS = {
    "cells_of_the_box": Mistake("that is the padded box; data holds no padding", cells_of_the_box),
    "visits_of_the_longest": Mistake(
        "that is the number of batch_sizes; data has a row for each visit of each patient", visits_of_the_longest
    ),
    "padding_alone": Mistake("that is the padding, which is left out", padding_alone),
}
"""Wrong numbers of rows in `data`, of the patients' lengths."""


# ------------------------------------------------------------------------------------ wrong states of the last visit


def last_column(
    states: Float[Tensor, "patient visit hidden"], length: Int[Tensor, " patient"]
) -> Float[Tensor, "patient hidden"]:
    """`states[:, -1]`: the last visit of the longest record, and padding for everybody else."""
    return states[:, -1]


def one_past_the_last(
    states: Float[Tensor, "patient visit hidden"], length: Int[Tensor, " patient"]
) -> Float[Tensor, "patient hidden"]:
    """The column numbered `length`, which is the first of the padding; the last there is for the longest record."""
    return states[torch.arange(states.shape[0], device=states.device), length.clamp(max=states.shape[1] - 1)]


def one_visit_before(
    states: Float[Tensor, "patient visit hidden"], length: Int[Tensor, " patient"]
) -> Float[Tensor, "patient hidden"]:
    """The visit before the last; the first for who has one visit."""
    return states[torch.arange(states.shape[0], device=states.device), (length - 2).clamp(min=0)]


def mean_over_the_box(
    states: Float[Tensor, "patient visit hidden"], length: Int[Tensor, " patient"]
) -> Float[Tensor, "patient hidden"]:
    """The mean over all columns, padding among them."""
    return states.mean(1)


LAST_STATE = {
    "last_column": Mistake("that is the last column, which for most patients is padding", last_column),
    "one_past_the_last": Mistake(
        "visits are counted from 0: the column numbered length is the first of the padding", one_past_the_last
    ),
    "one_visit_before": Mistake("that is one visit too early", one_visit_before),
    "mean_over_the_box": Mistake("that is the mean over all columns, padding among them", mean_over_the_box),
}
"""Wrong states at each patient's last visit, of padded `states` and the lengths."""
