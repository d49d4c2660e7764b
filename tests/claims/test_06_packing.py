"""Claims about padding and packing. Times come from the benchmark that was recorded, never from this run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.ledger import Evidence, claim
from visitwise.functional import hazard_nll

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
LENGTH = torch.tensor([3, 12, 7, 1, 9, 5])
REAL = torch.arange(12) < LENGTH[:, None]
FEATURES, HIDDEN = 4, 6
BOUND = 1e-12


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64, with weights that NumPy drew."""
    random, module = np.random.default_rng(seed), module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(random.uniform(-0.7, 0.7, parameter.shape)))
    return module


def box_of(length: Tensor = LENGTH, fill: float = 0.0) -> Tensor:
    """Random visits, the same whatever stands behind them."""
    visits = torch.from_numpy(np.random.default_rng(1).normal(size=(len(length), int(length.max()), FEATURES)))
    real = torch.arange(visits.shape[1]) < length[:, None]
    return visits.where(real[..., None], fill)


def packed(box: Tensor, length: Tensor = LENGTH) -> PackedSequence:
    return pack_padded_sequence(box, length, batch_first=True, enforce_sorted=False)


def packed_states(recurrence: nn.Module, box: Tensor, length: Tensor = LENGTH) -> Tensor:
    return pad_packed_sequence(recurrence(packed(box, length))[0], batch_first=True, total_length=box.shape[1])[0]


def recorded(name: str) -> dict[str, float]:
    return json.loads((RESULTS / f"{name}.json").read_text())["facts"]


def loss_of(states: Tensor, seed: int = 3) -> Tensor:
    """A hazard at every visit, and the likelihood of outcomes at the end of each record."""
    head = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, states.shape[-1]))
    return hazard_nll(states @ head, LENGTH, torch.tensor([True, False, True, True, False, False]))


@claim(
    "D1",
    "Without packing, padding contaminates the hidden states of the survival LSTM; packed, those that its hazards are "
    "made from are more accurate.",
    source="conversation; integration",
    verdict="FALSE",
    shows="With 1, 10 or 100 columns of padding behind them, filled with zeros or with a million, no state at a real "
    "visit of an LSTM or a GRU moves by more than {bound:.0e}.",
    teaches="A recurrence that reads forward, as that LSTM does, has left a visit behind before it meets the padding. "
    "Only states *in* the padding are touched by it; `h_n`, the last state of a padded batch, is one of them.",
    chapter="06-packing#what-packing-does-not-change",
)
def test_padding_behind_a_visit_does_not_reach_its_state(evidence: Evidence) -> None:
    for kind in (nn.LSTM, nn.GRU):
        recurrence = drawn(kind(FEATURES, HIDDEN, batch_first=True))
        alone = packed_states(recurrence, box_of())[REAL]
        for columns in (1, 10, 100):
            for fill in (0.0, 1e6):
                longer, _ = recurrence(pad(box_of(fill=fill), (0, 0, 0, columns), value=fill))
                assert (longer[:, :12][REAL] - alone).abs().max() < BOUND
                assert (longer[:, -1] - alone[LENGTH.cumsum(0) - 1]).abs().max() > 0.01
    evidence(bound=BOUND)


@claim(
    "D2",
    "Read after the padding, in the last column of the batch, the state is no longer that of the patient's last visit.",
    source="variable length",
    verdict="TRUE",
    shows="The same three visits give a probability of {alone:.4f} alone and of {with_40:.4f} in a batch padded to 40 "
    "visits, read from `h_n`, the last state. Packed they give {packed:.4f} in either company.",
    teaches="`h_n` and `states[:, -1]` of a padded batch depend on the longest record in it. Pack, or take each "
    "patient's state at the visit `length - 1`.",
    chapter="06-packing#padding-washes-a-record-away",
)
def test_the_last_state_of_a_box_depends_on_who_else_is_in_it(evidence: Evidence) -> None:
    lstm = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True))
    head = drawn(nn.Linear(HIDDEN, 1), seed=2)
    together, length = box_of(torch.tensor([3, 40])), torch.tensor([3, 40])

    def probability(last: Tensor) -> float:
        return float(torch.sigmoid(head(last[0])).detach())

    alone = probability(lstm(together[:1, :3])[1][0][-1])
    with_40 = probability(lstm(together)[1][0][-1])
    in_company = probability(lstm(packed(together, length))[1][0][-1])
    assert abs(alone - in_company) < BOUND
    assert abs(alone - with_40) > 0.001
    assert probability(lstm(together)[0][:, length - 1][range(2), range(2)]) == pytest.approx(alone, abs=BOUND)
    evidence(alone=alone, with_40=with_40, packed=in_company)


@claim(
    "D3",
    "In a bidirectional LSTM, padding reaches the states at real visits.",
    source="visitwise",
    verdict="TRUE",
    shows="One column of padding moves the backward half by up to {one:.3f} at real visits, 20 columns by up to "
    "{twenty:.3f}. The forward half moves by less than {bound:.0e}.",
    teaches="The backward half begins at the last column, so it reads the padding first. A bidirectional LSTM has to "
    "be packed. It has also read the visits to come, so its hazards predict nothing.",
    chapter="06-packing#what-packing-does-change",
)
def test_padding_reaches_the_backward_half_at_real_visits(evidence: Evidence) -> None:
    lstm = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True))
    even = torch.full((6,), 12)
    visits = box_of(even)
    right, moved = lstm(visits)[0], {}
    for columns in (1, 20):
        longer = lstm(pad(visits, (0, 0, 0, columns)))[0][:, :12]
        forward, backward = (longer - right).abs().split(HIDDEN, dim=-1)
        assert forward.max() < BOUND
        moved[columns] = float(backward.max().detach())
    assert 0.01 < moved[1] < moved[20]
    ragged = (lstm(box_of())[0] - packed_states(lstm, box_of()))[REAL].abs()
    assert ragged[:, :HIDDEN].max() < BOUND < 0.01 < ragged[:, HIDDEN:].max()
    evidence(one=moved[1], twenty=moved[20], bound=BOUND)


@claim(
    "D4",
    "There are other ways for padding to reach real visits: padding on the left, batch normalisation over the box, "
    "and a second LSTM that reads the padded codes of a visit.",
    source="visitwise",
    verdict="TRUE",
    shows="In small networks with random weights, padding on the left moved states at real visits by up to {left:.2f}, "
    "and batch normalisation over the box moved vectors by up to {norm:.2f}. The last state of an LSTM that goes on "
    "over padded codes was, on average, {code:.0%} of a vector's length away from the state at the last code.",
    teaches="Padding is harmless behind a forward recurrence, and nowhere else without a reason. (The hierarchical "
    "model of the architecture document reads such a last state.) Test it: fill the padding with other numbers, and "
    "look at what moves.",
    chapter="06-packing#what-packing-does-change",
)
def test_padding_on_the_left_and_normalisation_over_the_box_reach_real_visits(evidence: Evidence) -> None:
    lstm, box = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True)), box_of()
    right = lstm(box)[0]
    shift = torch.arange(12) + LENGTH[:, None]
    row = torch.arange(6)[:, None]
    from_left = lstm(box[row, shift % 12])[0][row, (torch.arange(12) - LENGTH[:, None]) % 12]
    left = float((from_left - right)[REAL].abs().max().detach())
    norm = nn.BatchNorm1d(FEATURES, affine=False).double()
    over_box = norm(box.flatten(0, 1)).unflatten(0, (6, 12))[REAL]
    normalised = float((over_box - norm(box[REAL])).abs().max())
    last = right[torch.arange(6), LENGTH - 1]
    relative = (right[:, -1] - last).norm(dim=-1) / last.norm(dim=-1)
    code = float(relative[LENGTH < 12].mean().detach())
    assert left > 0.01
    assert normalised > 0.1
    assert code > 0.1
    evidence(left=left, norm=normalised, code=code)


@claim(
    "D5",
    "Packing gives cleaner gradients, because none flow through padding.",
    source="conversation; integration",
    verdict="FALSE",
    shows="Packed and padded, no entry of the gradient differs by more than {bound:.0e}. The largest gradient that "
    "reaches the padding of the unpacked box is {reaches}.",
    teaches="Behind an LSTM that reads forward, a loss over rows that exist sends nothing back through those that do "
    "not. There is nothing to clean.",
    chapter="06-packing#what-packing-does-not-change",
)
def test_packing_gives_no_cleaner_gradient(evidence: Evidence) -> None:
    lstm, box = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True)), box_of().requires_grad_()
    weights = list(lstm.parameters())
    *padded, to_box = torch.autograd.grad(loss_of(lstm(box)[0]), [*weights, box])
    without = torch.autograd.grad(loss_of(packed_states(lstm, box)), weights)
    for one, other in zip(padded, without, strict=True):
        assert one.abs().max() > 1e-3
        assert (one - other).abs().max() < BOUND
    reaches = float(to_box[~REAL].abs().max())
    assert reaches == 0
    assert to_box[REAL].abs().max() > 1e-3
    evidence(bound=BOUND, reaches=f"exactly {reaches:.0f}")


@claim(
    "D7",
    "For the loss of the survival LSTM, which reads forward, to be correct, packing is not needed.",
    source="conversation; integration",
    verdict="TRUE",
    shows="The loss of six patients is {padded:.6f} padded and {packed:.6f} packed. With a bidirectional LSTM it is "
    "{both_padded:.4f} and {both_packed:.4f}.",
    teaches="So it is for every recurrence that reads forward and has its hazards at real visits. A bidirectional one "
    "does need packing, and so does a prediction from `h_n`, the last state of the batch.",
    chapter="06-packing#what-packing-does-not-change",
)
def test_a_forward_lstm_has_the_same_loss_padded_and_packed(evidence: Evidence) -> None:
    losses = []
    for both_ways in (False, True):
        lstm = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=both_ways))
        losses += [float(loss_of(run).detach()) for run in (lstm(box_of())[0], packed_states(lstm, box_of()))]
    assert losses[0] == pytest.approx(losses[1], abs=BOUND)
    assert abs(losses[2] - losses[3]) > 0.001
    evidence(padded=losses[0], packed=losses[1], both_padded=losses[2], both_packed=losses[3])


@claim(
    "D8",
    "Packing makes training about three times as fast: for 32 patients with 15 visits on average and 50 at most, it "
    "takes a third of the steps.",
    source="conversation; integration",
    verdict="FALSE",
    shows="On the CPU of the chapter's table such batches took {steps:.2f} times fewer steps packed, and ran "
    "{small:.2f} times as fast with a hidden size of 64 and {large:.2f} times with 256: slower than padded.",
    teaches="Steps are not seconds. There a padded batch is one fused kernel; a packed one is a chain of small "
    "operations, one visit after the other. A GPU was not measured: measure on your own machine.",
    chapter="06-packing#steps-are-not-seconds",
)
def test_three_times_fewer_steps_were_slower_on_the_recorded_cpu(evidence: Evidence) -> None:
    facts = recorded("packing")
    steps = facts["bench_steps_notes_example_packed"]
    assert steps > 3
    for hidden in (64, 256):
        assert facts[f"bench_speed_notes_example_{hidden}_packed_high"] < 1
    small, large = (facts[f"bench_speed_notes_example_{hidden}_packed"] for hidden in (64, 256))
    evidence(steps=steps, small=small, large=large)


@claim(
    "D9",
    "Pack where lengths vary widely, as from 10 to 100 visits, and batches have more than 32 patients.",
    source="integration",
    verdict="FALSE",
    shows="For batches of 64 patients with 10 to 100 visits, packing ran {packed_small:.2f} and {packed_large:.2f} "
    "times as fast as padding on the CPU of the chapter's table, with hidden sizes of 64 and 256. Sorting the patients "
    "by length ran {sorted_small:.2f} and {sorted_large:.2f} times as fast.",
    teaches="Put patients of like length together before you think of packing. On that CPU packing paid where a few "
    "records are very long and the hidden size is large, or for batches of 256 patients. A GPU was not measured.",
    chapter="06-packing#when-to-pack",
)
def test_for_10_to_100_visits_sorting_was_faster_and_packing_slower(evidence: Evidence) -> None:
    facts, told = recorded("packing"), {}
    for name, hidden in (("small", 64), ("large", 256)):
        speed = f"bench_speed_uniform_10_100_{hidden}"
        assert facts[f"{speed}_packed_high"] < 1 < facts[f"{speed}_sorted_low"]
        told |= {f"packed_{name}": facts[f"{speed}_packed"], f"sorted_{name}": facts[f"{speed}_sorted"]}
    assert facts["bench_speed_heavy_tail_256_packed_low"] > 1
    for hidden in (64, 256):
        assert recorded("packing_settings")[f"bench_speed_batch_256_{hidden}_packed_low"] > 1
    evidence(**told)


@claim(
    "D10",
    "Packing takes about three times less memory.",
    source="conversation; integration",
    verdict="DEPENDS",
    shows="With {steps:.2f} times fewer steps, one training step of an LSTM alone needed {lstm:.2f} times less "
    "memory at its peak. In the notes' whole model with 20 codes a visit that was {codes_20:.2f} times, with 50 codes "
    "{codes_50:.2f} times.",
    teaches="That holds for the LSTM's share alone. If the codes are embedded in a padded box, that box is soon the "
    "larger part, and packing comes after it. Embed the codes that were recorded and no others.",
    chapter="06-packing#steps-are-not-seconds",
)
def test_memory_shrinks_only_where_the_lstm_is_the_larger_part(evidence: Evidence) -> None:
    facts = recorded("packing_memory")
    lstm, codes_20, codes_50 = (facts[f"bench_peak_{name}_ratio"] for name in ("lstm", "textbook_20", "textbook_50"))
    assert lstm > 3 > codes_20 > codes_50 == 1
    assert facts["bench_peak_flat_50_packed"] < facts["bench_peak_textbook_50_packed"] / 5
    evidence(steps=facts["bench_steps_memory"], lstm=lstm, codes_20=codes_20, codes_50=codes_50)


@claim(
    "D17",
    "`pack_padded_sequence` raises an error if the batch is not sorted by length, unless it is given "
    "`enforce_sorted=False`.",
    source="integration",
    verdict="TRUE",
    shows="With the lengths {lengths} it raises. With `enforce_sorted=False` it packs all {rows} visits, and `h_n` "
    "comes back in the order of the batch.",
    teaches="`enforce_sorted` is true unless you say otherwise. The document on variable length, whose lengths these "
    "are, sets it in its step-by-step example and leaves it out in another that it marks as correct.",
    chapter="06-packing#where-it-breaks",
)
def test_unsorted_lengths_raise_unless_told_otherwise(evidence: Evidence) -> None:
    lengths = torch.tensor([3, 7, 10, 5])
    box = box_of(lengths)
    with pytest.raises(RuntimeError, match="sorted in decreasing order"):
        pack_padded_sequence(box, lengths, batch_first=True)
    sequence = pack_padded_sequence(box, lengths, batch_first=True, enforce_sorted=False)
    lstm = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True))
    last = lstm(sequence)[1][0][-1]
    for patient, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(last[patient], lstm(box[patient : patient + 1, :n])[1][0][-1, 0])
    evidence(lengths=", ".join(map(str, lengths.tolist())), rows=len(sequence.data))


@claim(
    "D18",
    "Packing fails if all lengths are zero.",
    source="lstm length",
    verdict="TRUE",
    shows="It does, and with the lengths {lengths} it raises as well: {zeros} empty record among {patients} is enough.",
    teaches="True, and too little said: any patient without a visit stops the batch, and the document's own remedy "
    "looks for any. Refuse such patients where the data is read, by name; `Visits` does.",
    chapter="06-packing#where-it-breaks",
)
def test_one_empty_record_is_enough_to_raise(evidence: Evidence) -> None:
    lengths = torch.tensor([3, 2, 0])
    for refused in (lengths, torch.zeros_like(lengths)):
        with pytest.raises(RuntimeError, match="greater than 0"):
            pack_padded_sequence(torch.zeros(3, 3, 1), refused, batch_first=True)
    pack_padded_sequence(torch.zeros(2, 3, 1), lengths[:2], batch_first=True)
    evidence(lengths=", ".join(map(str, lengths.tolist())), zeros=int((lengths == 0).sum()), patients=len(lengths))


@claim(
    "D19",
    "The true lengths are the sums of the mask, `mask.sum(1)`.",
    source="lstm length",
    verdict="DEPENDS",
    shows="The mask {mask} sums to {length}, so columns {taken} are packed, where columns {real} are real.",
    teaches="A sum is a length only if all real visits come first. With a hole in the mask, the hole is packed and a "
    "real visit is left out, and nothing is raised.",
    chapter="06-packing#where-it-breaks",
)
def test_a_mask_with_a_hole_packs_the_hole_and_drops_a_visit(evidence: Evidence) -> None:
    mask, column = torch.tensor([[1, 0, 1, 1, 0]]), torch.arange(5)[None]
    taken = pack_padded_sequence(column, mask.sum(1), batch_first=True).data.tolist()
    real = column[mask.bool()].tolist()
    assert taken == [0, 1, 2]
    assert real == [0, 2, 3]
    without_hole = torch.tensor([[1, 1, 1, 0, 0]])
    packed_columns = pack_padded_sequence(column, without_hole.sum(1), batch_first=True).data
    assert packed_columns.tolist() == column[without_hole.bool()].tolist()

    def words(values: list[int]) -> str:
        return ", ".join(map(str, values))

    evidence(mask=words(mask[0].tolist()), length=int(mask.sum()), taken=words(taken), real=words(real))


@claim(
    "D20",
    "A model that packs when it gets a mask and runs plainly when it gets none degrades gracefully.",
    source="lstm length",
    verdict="FALSE",
    shows="Without its mask, the same batch gave probabilities that were off by up to {shift:.3f}, and nothing was "
    "raised. With the mask but without `total_length`, a box of {wide} columns came back with {narrow}.",
    teaches="The mask decides which state is read, so leaving it out gives another answer, not a coarser one. Ask "
    "for it, and pass `total_length` where the width matters.",
    chapter="06-packing#where-it-breaks",
)
def test_a_missing_mask_changes_the_answer_without_a_word(evidence: Evidence) -> None:
    lstm, head = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True)), drawn(nn.Linear(HIDDEN, 1), seed=2)
    box = pad(box_of(), (0, 0, 0, 8))
    with_mask, without = (torch.sigmoid(head(lstm(given)[1][0][-1])) for given in (packed(box), box))
    shift = float((with_mask - without).abs().max().detach())
    assert shift > 0.01
    narrow = pad_packed_sequence(packed(box), batch_first=True)[0].shape[1]
    assert narrow == 12 < box.shape[1] == 20
    assert packed_states(lstm, box).shape[1] == 20
    evidence(shift=shift, wide=box.shape[1], narrow=narrow)


@claim(
    "D21",
    "For a packed batch, `h_n[-1]` is the state at each patient's true last visit; for a bidirectional LSTM "
    "`h_n[-2]` and `h_n[-1]` are the ends of the two directions.",
    source="lstm length; variable length",
    verdict="TRUE",
    shows="Both agree to {bound:.0e} with the states of each of the {patients} patients, run alone and without "
    "padding.",
    teaches="The backward direction ends at the *first* visit, so its last state stands in column 0 of the outputs.",
    chapter="06-packing#what-packing-does-change",
)
def test_h_n_of_a_packed_batch_is_the_state_at_each_true_end(evidence: Evidence) -> None:
    box = box_of()
    forward = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True))
    both = drawn(nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True))
    last, ends = forward(packed(box))[1][0], both(packed(box))[1][0]
    for patient, n in enumerate(LENGTH.tolist()):
        alone = box[patient : patient + 1, :n]
        assert (last[-1, patient] - forward(alone)[0][0, -1]).abs().max() < BOUND
        states = both(alone)[0][0]
        assert (ends[-2, patient] - states[-1, :HIDDEN]).abs().max() < BOUND
        assert (ends[-1, patient] - states[0, HIDDEN:]).abs().max() < BOUND
    evidence(bound=BOUND, patients=len(LENGTH))


@claim(
    "D26",
    "Packed and padded runs are equal in training as well.",
    source="visitwise",
    verdict="DEPENDS",
    shows="With dropout between two layers and the same seed, states at real visits differ by more than {least:.2f} "
    "in training. In evaluation, or without dropout, they agree to {bound:.0e}.",
    teaches="Dropout draws a random number for each cell, and a box has other cells than a packed sequence. The "
    "noise is another one; no padding has leaked.",
    chapter="06-packing#what-packing-does-change",
)
def test_dropout_between_layers_draws_other_noise_for_a_packed_batch(evidence: Evidence) -> None:
    least = 0.01
    with_dropout = drawn(nn.LSTM(FEATURES, HIDDEN, num_layers=2, dropout=0.5, batch_first=True))
    without = drawn(nn.LSTM(FEATURES, HIDDEN, num_layers=2, batch_first=True))

    def apart(lstm: nn.LSTM) -> float:
        torch.manual_seed(0)
        padded = lstm(box_of())[0]
        torch.manual_seed(0)
        return float((padded - packed_states(lstm, box_of()))[REAL].abs().max().detach())

    assert apart(with_dropout.train()) > least
    assert apart(with_dropout.eval()) < BOUND
    assert apart(without.train()) < BOUND
    evidence(least=least, bound=BOUND)
