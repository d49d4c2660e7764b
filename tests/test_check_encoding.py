"""Each wrong formula of chapter 5 is wrong, and told apart from the others, on the batch of the chapter."""

import itertools

import pytest
import torch

from visitwise import check
from visitwise.check import encoding
from visitwise.model import SurvivalRNN
from visitwise.visits import Visits

CODES = [[["a", "b"], ["a"], ["c", "b"]], [["a"], ["c", "a"]], [["b"], [], ["d", "b"], ["a"], ["e"]]]
BATCH = Visits.from_lists(CODES, day=[range(3), range(2), range(5)])
LONG = [["a"]] * 199 + [[f"x{n}" for n in range(25)]]
FOUR = Visits.from_lists([*CODES, LONG], day=[range(3), range(2), range(5), range(200)])
OFFSETS = (FOUR.code_offsets, FOUR.visit_offsets)
VECTORS = torch.randn(13, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def step() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The 24 gates, the old cell and the new state of an LSTM at the second visit."""
    cell = torch.nn.LSTMCell(8, 6, dtype=torch.float64)
    numbers = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 8, generator=numbers, dtype=torch.float64)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.copy_(torch.randn(weight.shape, generator=numbers, dtype=torch.float64))
        state, memory = cell(first)
        gates = cell.weight_ih @ second + cell.bias_ih + cell.weight_hh @ state + cell.bias_hh
        return gates, memory, cell(second, (state, memory))[0]


def test_the_wrong_shares_are_what_their_sentences_say():
    by_name = {name: mistake.formula(*OFFSETS).item() for name, mistake in encoding.FILLED.items()}
    assert by_name == pytest.approx(
        {
            "visits_instead_of_codes": 210 / (4 * 200),
            "padded_within_visits_alone": 237 / (210 * 25),
            "box_for_each_patient": 237 / (3 * 2 + 2 * 2 + 5 * 2 + 200 * 25),
            "share_of_padding": 1 - 237 / (4 * 200 * 25),
        }
    )


def test_every_wrong_share_is_named_and_told_apart_from_the_right_one():
    truth = (FOUR.padded().codes > 0).double().mean().item()
    wrong = check.values(encoding.FILLED, *OFFSETS)
    assert len(wrong) == len(encoding.FILLED)
    for sentence, value in wrong.items():
        assert check.near(value, truth, mistakes=wrong).text.endswith(f"is not it: {sentence}.")
    assert check.near(truth, truth, mistakes=wrong).right


def test_the_wrong_means_are_what_their_sentences_say():
    right = torch.stack([VECTORS[b:e].sum(0) for b, e in itertools.pairwise(BATCH.code_offsets.tolist())])
    n_codes, some = BATCH.code_offsets.diff().clamp(min=1)[:, None], BATCH.code_offsets.diff() > 0
    wrong = {name: mistake.formula(VECTORS, BATCH.code_offsets) for name, mistake in encoding.MEAN.items()}
    torch.testing.assert_close(wrong["sum_of_vectors"], right)
    torch.testing.assert_close(wrong["mean_with_padding"], right / 2)
    torch.testing.assert_close(wrong["mean_of_all_codes"], VECTORS.mean(0).expand(10, 4))
    torch.testing.assert_close(wrong["mean_of_nothing"][some], (right / n_codes)[some])
    assert wrong["mean_of_nothing"][6].isnan().all()
    assert all(not torch.allclose(value, right / n_codes) for value in wrong.values())


def test_a_plain_mean_over_the_box_is_the_mean_with_padding():
    encoder = SurvivalRNN(BATCH.schema, embedding=4).double().encoder
    plain = BATCH.unpad(encoder.embedding(BATCH.padded().codes.long()).mean(2))
    vectors = encoder.embedding(BATCH.codes.long())
    torch.testing.assert_close(encoding.mean_with_padding(vectors, BATCH.code_offsets), plain)


@pytest.mark.parametrize("name", sorted(encoding.MEAN))
def test_a_wrong_mean_is_answered_by_its_sentence(name: str):
    truth = torch.nn.functional.embedding_bag(
        torch.arange(13), VECTORS, BATCH.code_offsets, mode="mean", include_last_offset=True
    )
    mistakes = check.values(encoding.MEAN, VECTORS, BATCH.code_offsets)
    wrong = encoding.MEAN[name]
    answer = check.near(wrong.formula(VECTORS, BATCH.code_offsets), truth, mistakes=mistakes)
    assert answer.text == f"That is not it: {wrong.sentence}."


@pytest.mark.parametrize("name", sorted(encoding.LSTM_STEP))
def test_a_wrong_step_is_answered_by_its_sentence(name: str):
    gates, memory, truth = step()
    mistakes = check.values(encoding.LSTM_STEP, gates, memory)
    wrong = encoding.LSTM_STEP[name]
    answer = check.near(wrong.formula(gates, memory), truth, mistakes=mistakes)
    assert answer.text == f"That is not it: {wrong.sentence}."


def test_the_wrong_steps_differ_from_the_right_one_by_what_they_say():
    gates, memory, truth = step()
    i, f, g, o = gates.chunk(4)
    right = {"c": f.sigmoid() * memory + i.sigmoid() * g.tanh()}
    torch.testing.assert_close(o.sigmoid() * right["c"].tanh(), truth)
    named = {name: mistake.formula(gates, memory) for name, mistake in encoding.LSTM_STEP.items()}
    torch.testing.assert_close(named["cell_instead_of_state"], right["c"])
    torch.testing.assert_close(named["cell_without_tanh"], o.sigmoid() * right["c"])
    torch.testing.assert_close(named["nothing_kept"], o.sigmoid() * (i.sigmoid() * g.tanh()).tanh())
    torch.testing.assert_close(named["everything_kept"], o.sigmoid() * (memory + i.sigmoid() * g.tanh()).tanh())
    candidate = f.sigmoid() * memory + i.sigmoid() * g.sigmoid()
    torch.testing.assert_close(named["candidate_by_sigmoid"], o.sigmoid() * candidate.tanh())
    other_order = f.sigmoid()  # in this place another library keeps the output gate
    other = g.sigmoid() * memory + i.sigmoid() * o.tanh()
    torch.testing.assert_close(named["gates_in_the_order_of_onnx"], other_order * other.tanh())


@pytest.mark.parametrize("table", ["FILLED", "MEAN", "LSTM_STEP"])
def test_sentences_begin_small_and_carry_no_full_stop(table: str):
    sentences = [mistake.sentence for mistake in getattr(encoding, table).values()]
    assert len(set(sentences)) == len(sentences)
    for sentence in sentences:
        assert sentence[0].islower()
        assert not sentence.endswith(".")
