"""Chapter 4: wrong shapes of a division, wrong means over the codes of a visit, labels with an axis too many."""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from visitwise.check import Mistake

# -------------------------------------------------------------------------------- wrong shape of a division's result


def from_the_left(sums: Shaped[Tensor, "*sums"], counts: Shaped[Tensor, "*counts"]) -> Int[Tensor, " axis"]:
    """The larger size of each axis, the first axis of one tensor with the first of the other."""
    longest = max(sums.dim(), counts.dim())
    first, second = (torch.tensor([*t.shape, *[1] * (longest - t.dim())]) for t in (sums, counts))
    return torch.maximum(first, second)


def as_the_counts(sums: Shaped[Tensor, "*sums"], counts: Shaped[Tensor, "*counts"]) -> Int[Tensor, " axis"]:
    """The shape of what is divided by."""
    return torch.tensor(counts.shape)


def ones_vanish(sums: Shaped[Tensor, "*sums"], counts: Shaped[Tensor, "*counts"]) -> Int[Tensor, " axis"]:
    """The shape of what is divided, without its axes of size 1."""
    return torch.tensor([size for size in sums.shape if size != 1])


SHAPE = {
    "from_the_left": Mistake("that lines the axes up from the left; PyTorch begins at the right", from_the_left),
    "as_the_counts": Mistake("the result has as many axes as the tensor with more of them", as_the_counts),
    "ones_vanish": Mistake("an axis of size 1 is stretched, it does not vanish", ones_vanish),
}
"""Wrong shapes of `sums / counts`, of the two tensors."""


# ------------------------------------------------------------------- wrong rules for when a division runs without error


def last_sizes_alone(
    patients: Int[Tensor, "*case"], visits: Int[Tensor, "*case"], entries: Int[Tensor, "*case"]
) -> Bool[Tensor, "*case"]:
    """Entries meet visits, and that is all that is asked."""
    return (entries == visits) | (entries == 1) | (visits == 1)


def equal_or_refused(
    patients: Int[Tensor, "*case"], visits: Int[Tensor, "*case"], entries: Int[Tensor, "*case"]
) -> Bool[Tensor, "*case"]:
    """Sizes that meet must be equal; nothing is stretched."""
    return (entries == visits) & (visits == patients)


def only_counts_are_stretched(
    patients: Int[Tensor, "*case"], visits: Int[Tensor, "*case"], entries: Int[Tensor, "*case"]
) -> Bool[Tensor, "*case"]:
    """The smaller tensor may have sizes of 1, the larger may not."""
    return ((visits == entries) | (visits == 1)) & ((patients == visits) | (patients == 1))


def always(
    patients: Int[Tensor, "*case"], visits: Int[Tensor, "*case"], entries: Int[Tensor, "*case"]
) -> Bool[Tensor, "*case"]:
    """Patients meet patients and visits meet visits, so that nothing ever clashes."""
    return torch.ones_like(patients, dtype=torch.bool)


RUNS = {
    "last_sizes_alone": Mistake("you lined up the last axes alone; then visits meet patients", last_sizes_alone),
    "equal_or_refused": Mistake("sizes that meet need not be equal; a size of 1 is stretched", equal_or_refused),
    "only_counts_are_stretched": Mistake(
        "you stretched the counts alone; a size of 1 in the sums is stretched, too", only_counts_are_stretched
    ),
    "always": Mistake("that lines the axes up from the left; PyTorch begins at the right", always),
}
"""Wrong rules for whether `[patients, visits, entries] / [patients, visits]` runs, of the three sizes."""


# ------------------------------------------------------------------------------ wrong mean over the codes of a visit


def without_keepdim(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "..."]:
    """Sums divided by counts that lost their last axis: in a cube each entry meets the count of another visit."""
    return _sums(embedded, code_mask) / code_mask.sum(2).clamp(min=1)


def across_patients(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "..."]:
    """Entry `e` divided by the count of patient `e` at this visit: `counts` turned, where it should stay as it is."""
    return _sums(embedded, code_mask) / code_mask.sum(2).clamp(min=1).T


def padding_counted(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "patient visit feature"]:
    """The sum divided by the width of the box, as `mean(2)` does."""
    return _sums(embedded, code_mask) / embedded.shape[2]


def padding_summed(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "patient visit feature"]:
    """What stands in the padding added to the sum."""
    return embedded.sum(2) / code_mask.sum(2, keepdim=True).clamp(min=1)


def not_divided(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "patient visit feature"]:
    """The sum, not the mean."""
    return _sums(embedded, code_mask)


def divided_by_nothing(
    embedded: Float[Tensor, "patient visit code feature"], code_mask: Bool[Tensor, "patient visit code"]
) -> Float[Tensor, "patient visit feature"]:
    """0/0, which is NaN, for a visit without codes."""
    return _sums(embedded, code_mask) / code_mask.sum(2, keepdim=True)


def _sums(embedded: Tensor, code_mask: Tensor) -> Tensor:
    return (embedded * code_mask[..., None]).sum(2)


MEAN = {
    "without_keepdim": Mistake(
        "you divided each entry by the number of codes of another visit; the counts lack a last axis of size 1",
        without_keepdim,
    ),
    "across_patients": Mistake("you divided each entry by the number of codes of another patient", across_patients),
    "padding_counted": Mistake("you divided by the width of the box, padding included", padding_counted),
    "padding_summed": Mistake("what stands in the padding got into the sum; mask it first", padding_summed),
    "not_divided": Mistake("that is the sum over the codes; divide it by their number", not_divided),
    "divided_by_nothing": Mistake("a visit without codes is 0/0, which is NaN; divide it by 1", divided_by_nothing),
}
"""Wrong means over the codes of each visit, of `embedded` and `code_mask`."""


# ------------------------------------------------------------------------------- wrong binary cross-entropy of labels


def column_of_labels(probability: Float[Tensor, " patient"], label: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """Labels of shape `[patient, 1]`: the mean over all pairs of a prediction and somebody's label."""
    return _cross_entropy(probability, label[:, None]).mean()


def events_alone(probability: Float[Tensor, " patient"], label: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """`-log p` of those with the event, nothing for the others."""
    return -(label * probability.log()).mean()


def labels_swapped(probability: Float[Tensor, " patient"], label: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """The event taken for no event."""
    return _cross_entropy(probability, 1 - label).mean()


def sum_over_patients(probability: Float[Tensor, " patient"], label: Float[Tensor, " patient"]) -> Float[Tensor, ""]:
    """The sum over patients, not their mean."""
    return _cross_entropy(probability, label).sum()


def _cross_entropy(probability: Tensor, label: Tensor) -> Tensor:
    return -(label * probability.log() + (1 - label) * (1 - probability).log())


LABELS = {
    "column_of_labels": Mistake(
        "you compared every prediction with everybody's label; labels and predictions need one shape", column_of_labels
    ),
    "events_alone": Mistake("those without the event cost something, too: -log(1 - p)", events_alone),
    "labels_swapped": Mistake("you took the event for no event", labels_swapped),
    "sum_over_patients": Mistake("that is the sum over patients; their mean is asked for", sum_over_patients),
}
"""Wrong values of the mean binary cross-entropy, of `probability` and `label`."""
