"""Family E of the claims: keepdim, broadcasting, and labels with an axis too many."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.ledger import Evidence, claim
from tests.oracles import Largest
from visitwise.functional import hazard_nll, logits_from_hazard
from visitwise.textbook import TextbookLSTM


def outcome(b: int, v: int, e: int) -> str:
    """What becomes of `[b, v, e] / [b, v]`, with counts of which no two are alike."""
    sums, counts = torch.ones(b, v, e), torch.arange(2.0, 2 + b * v).reshape(b, v)
    try:
        result = sums / counts
    except RuntimeError:
        return "raises"
    if result.shape != sums.shape:
        return "shape"
    return "right" if torch.equal(result, sums / counts[..., None]) else "numbers"


SIZES = list(itertools.product(range(1, 6), repeat=3))


def tally(largest: int) -> Counter[str]:
    return Counter(outcome(*size) for size in itertools.product(range(1, largest + 1), repeat=3))


def notes_nll(hazard: Tensor, event_time: Tensor, event_indicator: Tensor, mask: Tensor) -> Tensor:
    """The notes' loss: rows before the event time survived, the row at it an event if there was one. No checks."""
    row = torch.arange(hazard.shape[1])[None]
    time = event_time.unsqueeze(1)
    survived = (torch.log(1 - hazard) * ((row < time).double() * mask)).sum(1)
    event = (torch.log(hazard) * ((row == time).double() * mask)).sum(1) * event_indicator
    return -(survived + event).mean()


def patients(n_patients: int, n_visits: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hazards, event times, indicators and a mask for `notes_nll`; about half of the patients have the event."""
    random = np.random.default_rng(11)
    hazard = torch.from_numpy(random.uniform(0.05, 0.5, (n_patients, n_visits)))
    time = torch.from_numpy(random.integers(0, n_visits, n_patients))
    return hazard, time, torch.from_numpy(random.random(n_patients) < 0.5).double(), torch.ones(n_patients, n_visits)


# ----------------------------------------------------------------------------------------------------------- keepdim


@claim(
    "E1",
    "With `keepdim=True` the numbers of codes of B patients' V visits have the shape [B, V, 1], and the sums "
    "[10, 15, 20, 25] over five codes become the mean [2, 3, 4, 5].",
    source="keepdim; conversation",
    verdict="TRUE",
    shows="With 2 patients, 3 visits and vectors of 4 entries the counts have {axes} axes, the last of size "
    "{last}, and the visit becomes {mean}.",
    teaches="An axis of size 1 at the right end lets one count serve all entries of its own visit.",
    chapter="04-broadcasting#line-up-from-the-right",
)
def test_with_keepdim_one_count_divides_all_entries_of_its_visit(evidence: Evidence) -> None:
    mask = torch.arange(6) < torch.tensor([[5, 2, 4], [1, 3, 2]])[..., None]
    embedded = torch.ones(2, 3, 6, 4) * torch.tensor([2.0, 3.0, 4.0, 5.0])
    sums, counts = (embedded * mask[..., None]).sum(2), mask.sum(2, keepdim=True)
    assert sums[0, 0].tolist() == [10, 15, 20, 25]
    assert counts.shape == (2, 3, 1)
    mean = (sums / counts)[0, 0].int().tolist()
    assert mean == [2, 3, 4, 5]
    torch.testing.assert_close(sums / counts, torch.tensor([2.0, 3.0, 4.0, 5.0]).expand(2, 3, 4))
    evidence(axes=counts.dim(), last=counts.shape[-1], mean=mean)


@claim(
    "E2",
    "In the mean over a visit's codes, without `keepdim`, each entry of the visit's vector is divided by a different "
    "value.",
    source="keepdim; conversation",
    verdict="DEPENDS",
    shows="Of {cases} combinations of 1 to 5 patients, visits and entries, {numbers} give the right shape and another "
    "divisor for each entry; {raises} raise an error, {shape} give another shape.",
    teaches="It happens where sizes agree by chance. With one patient, entry e of any visit is divided by the count of "
    "her visit e; with as many patients as visits and entries, entry e of visit v by that of visit e of patient v.",
    chapter="04-broadcasting#who-divides-whom",
)
def test_each_entry_gets_another_divisor_only_where_sizes_agree(evidence: Evidence) -> None:
    told = tally(5)
    assert told == {"raises": 84, "shape": 28, "numbers": 8, "right": 5}
    for b, v, e in itertools.product(range(1, 6), repeat=3):
        silent = outcome(b, v, e) == "numbers"
        assert silent == (v == e > 1 and b in (1, v))
        if silent:
            counts = torch.arange(2.0, 2 + b * v).reshape(b, v)
            divided_by = 1 / (torch.ones(b, v, e) / counts)
            for i, k, j in itertools.product(range(b), range(v), range(e)):
                whose = 0 if b == 1 else k
                assert divided_by[i, k, j].item() == pytest.approx(counts[whose, j].item())
    evidence(cases=sum(told.values()), numbers=told["numbers"], raises=told["raises"], shape=told["shape"])


@claim(
    "E3",
    "Without `keepdim` PyTorch takes the division for one of [B, V] by [B, V], B patients with V visits each, which "
    "fails or gives something unexpected.",
    source="keepdim; conversation",
    verdict="FALSE",
    shows="For 2 patients, 3 visits and 4 entries the error names the sizes {a} and {b} at dimension {place}: entries "
    "meet visits. [B, V] divided by [B, V] runs in {equal} of {tried} sizes tried.",
    teaches="Shapes are lined up from the right, so that the visits of the counts stand below the entries of the "
    "sums, and patients below visits.",
    chapter="04-broadcasting#line-up-from-the-right",
)
def test_the_error_comes_because_entries_meet_visits(evidence: Evidence) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3, 4) / torch.ones(2, 3)
    a, b, place = map(int, re.findall(r"\d+", str(caught.value)))
    assert (a, b, place) == (4, 3, 2)
    alike = [(torch.ones(n, v) / torch.ones(n, v)).shape == (n, v) for n in range(1, 6) for v in range(1, 6)]
    assert all(alike)
    evidence(a=a, b=b, place=place, equal=sum(alike), tried=len(alike))


@claim(
    "E4",
    "A division of shapes [B, V, E] / [B, V] (B patients, V visits, vectors of E entries) raises no error if and only "
    "if E = V or one of them is 1, and V = B or one of them is 1.",
    source="visitwise",
    verdict="TRUE",
    shows="Tried in PyTorch for all {cases} sizes from 1 to 6, the rule is wrong {mismatches} times. {raises} raise an "
    "error, {shape} give a wrong shape, {numbers} the right shape with wrong numbers, {right} are right.",
    teaches="That it runs says little. In danger are batches with as many patients as visits and entries, a single "
    "patient with as many visits as entries, and batches with one visit each.",
    chapter="04-broadcasting#all-sizes-from-1-to-5",
)
def test_the_closed_rule_agrees_with_pytorch_at_every_size(evidence: Evidence) -> None:
    mismatches = 0
    for b, v, e in itertools.product(range(1, 7), repeat=3):
        runs = (e == v or e == 1 or v == 1) and (v == b or v == 1 or b == 1)
        mismatches += runs != (outcome(b, v, e) != "raises")
        if runs:
            assert (torch.ones(b, v, e) / torch.ones(b, v)).shape == (b, max(b, v), max(e, v))
        assert (outcome(b, v, e) == "right") == (b == v == 1)
    told = tally(6)
    assert mismatches == 0
    assert told == {"raises": 160, "shape": 40, "numbers": 10, "right": 6}
    evidence(cases=sum(told.values()), mismatches=mismatches, **told)


class Forgetful(TextbookLSTM):
    def visit_vectors(self, codes: Tensor, code_mask: Tensor) -> Tensor:
        embedded = self.embedding(codes) * code_mask[..., None]
        return embedded.sum(2) / code_mask.sum(2).clamp(min=1)


def hazards_of(kind: type[TextbookLSTM], n_patients: int, n_visits: int, embedding: int) -> Tensor:
    """An untrained model's, from the same weights and records for either kind."""
    random = np.random.default_rng(1)
    n_codes = torch.from_numpy(random.integers(1, 10, (n_patients, n_visits)))
    code_mask = torch.arange(9) < n_codes[..., None]
    codes = torch.from_numpy(random.integers(1, 200, code_mask.shape)) * code_mask
    model = kind(200, embedding, 16, seed=0).double()
    return model(codes, code_mask, torch.ones(n_patients, n_visits, dtype=torch.bool)).detach()


def reaches_the_loss(b: int, v: int, e: int) -> bool:
    """Whether hazards come out of the network, and a number out of the loss."""
    try:
        hazard = hazards_of(Forgetful, b, v, e)
    except RuntimeError as problem:
        assert "input.size(-1) must be equal to input_size" in str(problem)  # noqa: PT017
        assert e == 1
        return False
    nll = hazard_nll(logits_from_hazard(hazard), torch.full((b,), v), torch.ones(b, dtype=torch.bool))
    return bool(nll.isfinite())


@claim(
    "E5",
    "A mean over codes that was divided by the wrong counts reaches the loss without an error.",
    source="visitwise",
    verdict="DEPENDS",
    shows="Of the {wrong} wrong sizes from 1 to 5, {reach} reach the loss; in the others, whose vectors have one "
    "entry, the recurrent network refuses. With 16 patients, visits and entries the hazards of an untrained model are "
    "off by up to {at_16:.3f}, with 32 by up to {at_32:.3f}. Eight patients with one visit each get {invented} more "
    "that never were.",
    teaches="With vectors longer than 1 nothing later compares the shapes. Check the shape of what goes into a "
    "division, and try code at sizes that all differ.",
    chapter="04-broadcasting#what-reaches-the-loss",
)
def test_a_wrong_mean_reaches_the_loss(evidence: Evidence, unchecked: None) -> None:
    off = {
        size: float((hazards_of(Forgetful, size, size, size) - hazards_of(TextbookLSTM, size, size, size)).abs().max())
        for size in (16, 32)
    }
    assert min(off.values()) > 0.03
    right, wrong = (hazards_of(kind, 8, 1, 4) for kind in (TextbookLSTM, Forgetful))
    assert right.shape == (8, 1)
    assert wrong.shape == (8, 8)
    after_first = torch.ones(8, dtype=torch.long), torch.arange(8) < 4
    losses = [hazard_nll(logits_from_hazard(hazard), *after_first) for hazard in (right, wrong)]
    assert losses[1].isfinite()
    assert losses[0] != losses[1]
    reached = Counter(reaches_the_loss(*size) for size in SIZES if outcome(*size) in ("shape", "numbers"))
    assert reached == {True: 28, False: 8}
    evidence(
        wrong=reached.total(),
        reach=reached[True],
        at_16=off[16],
        at_32=off[32],
        invented=wrong.shape[1] - right.shape[1],
    )


@claim(
    "E6",
    "Labels of the shape [B, 1] do to a loss what counts without `keepdim` do to a mean.",
    source="visitwise",
    verdict="TRUE",
    shows="In the notes' loss six patients cost {right:.3f}; with event indicators of the shape [6, 1] they cost "
    "{column:.3f}, and nothing is said. Event times of that shape raise an error, unless there are six visits, too: "
    "then {times:.3f} comes out in place of {square:.3f}.",
    teaches="[6] against [6, 1] makes 36 pairs: every patient's term with everybody's label. Compare the shapes first, "
    "as this package's losses do, or use a loss that does.",
    chapter="04-broadcasting#the-same-trap-in-labels",
)
def test_labels_with_an_axis_too_many_are_paired_with_everybody(evidence: Evidence, unchecked: None) -> None:
    hazard, time, seen, mask = patients(6, 4)
    right = notes_nll(hazard, time, seen, mask).item()
    column = notes_nll(hazard, time, seen[:, None], mask).item()
    survived, event = notes_nll(hazard, time, seen * 0, mask), notes_nll(hazard, time, seen * 0 + 1, mask)
    assert column == pytest.approx((survived + (event - survived) * seen.mean()).item())
    assert abs(column - right) > 0.01
    with pytest.raises(RuntimeError, match="must match the size"):
        notes_nll(hazard, time[:, None], seen, mask)
    square = patients(6, 6)
    square_right = notes_nll(*square).item()
    times = notes_nll(square[0], square[1][:, None], square[2], square[3]).item()
    assert abs(times - square_right) > 0.01
    with pytest.raises(ValueError, match=r"observed has shape \[6, 1\]; expected \[6\]"):
        hazard_nll(torch.logit(hazard), time + 1, seen[:, None].bool())
    with pytest.raises(ValueError, match="must be the same as input size"):
        F.binary_cross_entropy_with_logits(hazard[:, 0], seen[:, None])
    with pytest.warns(UserWarning, match="likely lead to incorrect results"):
        F.mse_loss(hazard[:, 0], seen[:, None])
    evidence(right=right, column=column, times=times, square=square_right)


@claim(
    "E7",
    "To divide the sums over each visit's codes rightly, the numbers of codes need `keepdim=True`.",
    source="keepdim; conversation",
    verdict="FALSE",
    shows="{ways} other ways give the same means, no entry off by more than {bound:.0e}.",
    teaches="What is needed is an axis of size 1 where the entries stand, which `[..., None]` and `unsqueeze(-1)` "
    "give as well, or a line that lines nothing up: `einsum`, or a matrix product of weights and vectors.",
    chapter="04-broadcasting#five-ways-to-write-it",
)
def test_keepdim_is_one_way_of_several(evidence: Evidence) -> None:
    random = np.random.default_rng(3)
    n, bound = torch.from_numpy(random.integers(1, 8, (5, 5))), 1e-14
    mask = torch.arange(7) < n[..., None]
    embedded = torch.from_numpy(random.normal(size=(5, 5, 7, 5)))
    sums = (embedded * mask[..., None]).sum(2)
    with_keepdim = sums / mask.sum(2, keepdim=True)
    ways = [
        sums / n[..., None],
        sums / n.unsqueeze(-1),
        torch.einsum("bve,bv->bve", sums, 1 / n.double()),
        ((mask / n[..., None].double())[:, :, None] @ embedded)[:, :, 0],
    ]
    assert all((way - with_keepdim).abs().max() < bound for way in ways)
    assert (sums / n - with_keepdim).abs().max() > 0.1  # and the cube would have hidden the mistake
    evidence(ways=len(ways), bound=bound)


# ----------------------------------------------------------------------------------------------- memory, weighted sums


@claim(
    "E8",
    "Broadcasting takes no extra memory; to expand the weights first does, unless by a view as `expand` makes it.",
    source="broadcasting",
    verdict="DEPENDS",
    shows="Expanded to {shown:,} numbers, the weights still hold {stored:,} in memory. Their product with the vectors "
    "holds {product:,}, either way; the largest tensor that `einsum` or `@` makes holds {summed:,}.",
    teaches="It holds for the smaller tensor: neither way copies it, it is read again and again along the stretched "
    "axis. But both write out the full product before it is summed; `einsum` and `@` do not.",
    chapter="04-broadcasting#five-ways-to-write-it",
)
def test_expand_stores_nothing_and_the_product_is_stored_in_full(evidence: Evidence) -> None:
    weights, vectors = torch.ones(32, 20, 1), torch.ones(32, 20, 128)
    expanded = weights.expand_as(vectors)
    assert expanded.data_ptr() == weights.data_ptr()
    assert expanded.stride() == (20, 1, 0)
    stored = expanded.untyped_storage().nbytes() // 4
    made = {}
    for name, way in {
        "broadcast": lambda: (vectors * weights).sum(1),
        "expand": lambda: (vectors * expanded).sum(1),
        "einsum": lambda: torch.einsum("bce,bc->be", vectors, weights[..., 0]),
        "@": lambda: (weights.mT @ vectors)[:, 0],
    }.items():
        with Largest() as largest:
            result = way()
        assert torch.equal(result, torch.full((32, 128), 20.0))
        made[name] = largest.numbers
    assert stored == weights.numel() == 640
    assert made == {"broadcast": 81_920, "expand": 81_920, "einsum": 4_096, "@": 4_096}
    evidence(shown=expanded.numel(), stored=stored, product=made["broadcast"], summed=made["einsum"])


@claim(
    "E9",
    "For a weighted sum of a visit's code vectors a matrix product, `@`, is wrong.",
    source="broadcasting",
    verdict="DEPENDS",
    shows="With {codes} codes and {entries} entries `vectors @ weights` raises an error. `weights.mT @ vectors` "
    "differs from the weighted sum by less than {bound:.0e}.",
    teaches="A matrix product sums over the last axis of the left and the last but one of the right, so the codes have "
    "to stand there. In the wrong order it still runs, and is wrong, where a visit has as many codes as entries.",
    chapter="04-broadcasting#five-ways-to-write-it",
)
def test_a_matrix_product_in_the_right_order_is_the_weighted_sum(evidence: Evidence) -> None:
    random = np.random.default_rng(7)
    bound = 1e-14
    vectors = torch.from_numpy(random.normal(size=(2, 3, 4)))
    weights = torch.from_numpy(random.dirichlet(np.ones(3), 2))[..., None]
    weighted = (vectors * weights).sum(1)
    assert ((weights.mT @ vectors)[:, 0] - weighted).abs().max() < bound
    with pytest.raises(RuntimeError, match="Expected size"):
        vectors @ weights
    square = torch.from_numpy(random.normal(size=(2, 3, 3)))
    assert ((square @ weights)[..., 0] - (square * weights).sum(1)).abs().max() > 0.1
    evidence(codes=vectors.shape[1], entries=vectors.shape[2], bound=bound)
