"""The model: paths that are equal, predictions that depend on nobody else, and on no later visit."""

import math

import pytest
import torch
from torch import Tensor

from tests.cohorts import random_cohort
from visitwise import functional as F
from visitwise.cohort import Cohort, Outcome
from visitwise.losses import outcome_nll
from visitwise.model import CompetingRisksRNN, HorizonRNN, SurvivalRNN
from visitwise.visits import Schema, Visits

PATHS = ["padded", "packed", "staircase", "rows"]
SETTINGS = [{"cell": cell, "path": path} for cell in ("lstm", "gru") for path in PATHS]


def at_real_visits(model: SurvivalRNN, visits: Visits) -> Tensor:
    return visits.unpad(model(visits))


def test_encoding_flat_codes_equals_embedding_masking_summing_and_dividing() -> None:
    visits = random_cohort(20, seed=0).visits
    encoder = SurvivalRNN.for_cohort(random_cohort(20, seed=0)).encoder.double()
    torch.testing.assert_close(encoder(visits), visits.unpad(encoder.forward_dense(visits)), rtol=0, atol=1e-12)


def test_both_encodings_give_the_embedding_the_same_gradient() -> None:
    visits = random_cohort(20, seed=0).visits
    encoder = SurvivalRNN(visits.schema, time_features=False).encoder.double()
    push = torch.randn(visits.n_visits, encoder.n_features, generator=torch.Generator().manual_seed(0)).double()
    gradients = []
    for vectors in (encoder(visits), visits.unpad(encoder.forward_dense(visits))):
        encoder.zero_grad()
        (vectors * push).sum().backward()
        assert encoder.embedding.weight.grad is not None
        gradients.append(encoder.embedding.weight.grad.clone())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


def test_a_visit_without_codes_is_encoded_as_zeros() -> None:
    visits = Visits.from_lists([[["a"], []]], day=[[0, 30]])
    encoder = SurvivalRNN(visits.schema, time_features=False).encoder
    assert encoder(visits)[1].eq(0).all()


def test_the_number_of_codes_is_given_back_to_a_mean_that_forgets_it() -> None:
    visits = Visits.from_lists([[["a"], ["a", "a", "a"]]], day=[[0, 30]])
    once, thrice = SurvivalRNN(visits.schema, time_features=False).encoder(visits)
    torch.testing.assert_close(once[:-1], thrice[:-1])
    torch.testing.assert_close(thrice[-1] - once[-1], torch.tensor(2.0).log())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_all_paths_agree_at_every_real_visit_and_in_every_slope(cell: str) -> None:
    cohort = random_cohort(30, seed=1)
    found = []
    for path in PATHS:
        model = SurvivalRNN.for_cohort(cohort, cell=cell, path=path).double()
        hazard_logits = at_real_visits(model, cohort.visits)
        outcome_nll(model(cohort.visits), cohort.outcome, "sum").backward()
        found.append([hazard_logits, *(parameter.grad for parameter in model.parameters())])
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_bucketed_batches_predict_what_the_whole_cohort_predicts(settings: dict[str, str]) -> None:
    cohort = random_cohort(40, seed=2)
    model = SurvivalRNN.for_cohort(cohort, **settings).double()
    whole = {int(who): row for who, row in zip(cohort.visits.patient_id, model(cohort.visits), strict=True)}
    for batch in cohort.batches(7, seed=0, window=6):
        for who, row in zip(batch.visits.patient_id, model(batch.visits), strict=True):
            torch.testing.assert_close(row, whole[int(who)][: len(row)], rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_prediction_does_not_depend_on_who_shares_the_batch(settings: dict[str, str]) -> None:
    cohort = random_cohort(12, seed=3)
    model = SurvivalRNN.for_cohort(cohort, **settings).double()
    together = model(cohort.visits)
    for place in range(len(cohort)):
        alone = model(cohort.select(torch.tensor([place])).visits)[0]
        torch.testing.assert_close(alone, together[place, : len(alone)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_no_hazard_moves_when_later_visits_are_cut_off(settings: dict[str, str]) -> None:
    cohort = random_cohort(12, seed=4)
    model = SurvivalRNN.for_cohort(cohort, **settings).double()
    whole = model(cohort.visits)
    everyone = torch.arange(len(cohort))
    for keep in (1, 2, 3):
        cut = cohort.visits.select(everyone, cohort.visits.length.clamp(max=keep))
        torch.testing.assert_close(
            at_real_visits(model, cut), cut.unpad(whole[:, : int(cut.length.max())]), rtol=0, atol=1e-12
        )


def test_a_bidirectional_model_moves_earlier_hazards_when_later_visits_are_cut_off() -> None:
    cohort = random_cohort(12, seed=4)
    model = SurvivalRNN.for_cohort(cohort, bidirectional=True, demonstration=True, path="packed").double()
    cut = cohort.visits.select(torch.arange(len(cohort)), cohort.visits.length.clamp(max=2))
    moved = at_real_visits(model, cut) - cut.unpad(model(cohort.visits)[:, :2])
    assert moved.abs().max() > 1e-3


def test_a_bidirectional_model_is_refused_unless_for_a_demonstration() -> None:
    schema = random_cohort(2, seed=0).visits.schema
    with pytest.raises(ValueError, match="reads the future"):
        SurvivalRNN(schema, bidirectional=True)


def test_untrained_hazards_begin_at_the_base_rate() -> None:
    cohort = random_cohort(200, seed=5)
    base_rate = int(cohort.outcome.observed.sum()) / cohort.outcome.n_rows
    hazard = SurvivalRNN.for_cohort(cohort).predict(cohort.visits).hazard.nanmean()
    assert abs(hazard.item() - base_rate) < 0.3 * base_rate


def test_predict_sees_the_time_features_that_training_saw() -> None:
    visits = random_cohort(10, seed=6).visits
    model = SurvivalRNN(visits.schema)
    later = Visits(**{**vars(visits), "day": visits.day * 3})
    assert (model.predict(visits).hazard - model.predict(later).hazard).abs().nan_to_num().max() > 1e-4
    blind = SurvivalRNN(visits.schema, time_features=False)
    torch.testing.assert_close(blind.predict(visits).hazard, blind.predict(later).hazard, equal_nan=True)


def test_the_times_a_visit_is_encoded_with_are_its_gap_the_time_since_the_first_and_its_index() -> None:
    visits = Visits.from_lists([[["a"]] * 3, [["a"]]], day=[[5, 35, 95], [400]])
    times = SurvivalRNN(visits.schema, embedding=2).encoder(visits)[:, 3:]
    by_hand = torch.tensor([[0, 0, 0], [1, 30 / 365.25, 1], [2, 90 / 365.25, 2], [0, 0, 0]]).log1p()
    torch.testing.assert_close(times, by_hand)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_gap_alone_moves_the_hazard_at_its_visit_and_at_no_visit_before(settings: dict[str, str]) -> None:
    """The middle visit is moved; the total time is not, and the model is made deaf to all times but the gap."""
    early, late = (Visits.from_lists([[["a"]] * 3], day=[[0, middle, 100]]) for middle in (10, 60))
    model = SurvivalRNN(early.schema, embedding=2, **settings)
    with torch.no_grad():
        model.recurrence.weight_ih_l0[:, 4:] = 0.0
    moved = (model.predict(early).hazard - model.predict(late).hazard)[0].abs()
    assert moved[0] == 0
    assert moved[1] > 1e-4
    assert moved[2] > 1e-4


def test_predict_in_small_batches_equals_predict_at_once() -> None:
    visits = random_cohort(25, seed=7).visits
    model = SurvivalRNN(visits.schema)
    for small, at_once in zip(model.predict(visits, batch_size=4), model.predict(visits), strict=True):
        torch.testing.assert_close(small, at_once, equal_nan=True)


@pytest.mark.parametrize("training", [True, False])
def test_predict_leaves_the_mode_as_it_was(training: bool) -> None:
    visits = random_cohort(5, seed=7).visits
    model = SurvivalRNN(visits.schema).train(training)
    model.predict(visits)
    assert {module.training for module in model.modules()} == {training}


def test_predict_that_fails_leaves_the_mode_as_it_was() -> None:
    cohort = random_cohort(9, seed=4)
    model = SurvivalRNN(cohort.visits.schema, embedding=4, hidden=5).train()
    other = Visits.from_lists([[["a"]]], day=[[0]])
    with pytest.raises(ValueError, match="another schema"):
        model.predict(other)
    assert model.training


def test_prediction_is_nan_after_the_last_visit_and_nowhere_else() -> None:
    visits = random_cohort(25, seed=8).visits
    for values in SurvivalRNN(visits.schema).predict(visits):
        assert torch.equal(values.isnan(), ~visits.mask)


def test_history_is_read_and_nothing_is_predicted_for_it() -> None:
    cohort = random_cohort(25, seed=8)
    model, start = SurvivalRNN(cohort.visits.schema), cohort.outcome.start
    whole, prediction = model.predict(cohort.visits), model.predict(cohort.visits, start=start)
    for place, first in enumerate(start.tolist()):
        hazard = whole.hazard[place, first:]
        assert prediction.hazard[place, :first].isnan().all()
        torch.testing.assert_close(prediction.hazard[place, first:], hazard, equal_nan=True)
        torch.testing.assert_close(prediction.survival[place, first:], (1 - hazard).cumprod(0), equal_nan=True)


def test_a_measurement_keeps_its_last_value_and_never_one_from_another_patient_or_the_future() -> None:
    nan = float("nan")
    visits = Visits.from_lists(
        [[["a"]] * 3, [["a"]] * 2],
        day=[[0, 1, 2], [0, 1]],
        measurements=[[[nan], [5.0], [nan]], [[nan], [7.0]]],
        schema=random_cohort(1, seed=0).visits.schema.__class__.of(["a"], measurements=["weight"]),
    )
    encoder = SurvivalRNN(visits.schema, embedding=1, time_features=False).encoder
    encoder.fit_scaling(visits)
    _, _, value, known = encoder(visits).T
    assert known.tolist() == [0, 1, 1, 0, 1]
    torch.testing.assert_close(value, torch.tensor([0.0, -1.0, -1.0, 0.0, 1.0]))


def test_scaling_comes_from_the_cohort_the_model_was_made_for() -> None:
    cohort = random_cohort(50, seed=9)
    model = SurvivalRNN.for_cohort(cohort)
    torch.testing.assert_close(model.encoder.centre[-1], cohort.visits.static[:, 0].mean())
    torch.testing.assert_close(model.encoder.scale[-1], cohort.visits.static[:, 0].std(correction=0))


def test_same_seed_same_first_weights_and_the_global_generator_is_left_alone() -> None:
    schema = random_cohort(2, seed=0).visits.schema
    state = torch.get_rng_state()
    first, again, other = (SurvivalRNN(schema, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_visits_of_another_schema_are_refused() -> None:
    model = SurvivalRNN(random_cohort(2, seed=0).visits.schema)
    with pytest.raises(ValueError, match="another schema"):
        model(Visits.from_lists([[["a"]]], day=[[0]]))


@pytest.mark.parametrize(("setting", "value"), [("cell", "rnn"), ("path", "dense"), ("base_rate", 0.0)])
def test_an_unknown_setting_is_refused(setting: str, value: object, unchecked: None) -> None:
    with pytest.raises(ValueError, match=f"{setting} is"):
        SurvivalRNN(random_cohort(2, seed=0).visits.schema, **{setting: value})


def test_a_column_that_never_varies_in_training_does_not_shout_later() -> None:
    visits = random_cohort(20, seed=1).visits
    same_age = Visits(**{**vars(visits), "static": torch.full_like(visits.static, 70.0)})
    older = Visits(**{**vars(visits), "static": torch.full_like(visits.static, 71.0)})
    model = SurvivalRNN(visits.schema)
    model.encoder.fit_scaling(same_age)
    assert model.encoder(older)[:, -1].abs().max() <= 1.0


def test_a_measurement_known_once_is_centred_on_itself() -> None:
    schema = Schema.of(["a"], measurements=["weight"])
    visits = Visits.from_lists([[["a"]]], day=[[0]], measurements=[[[300.0]]], schema=schema)
    encoder = SurvivalRNN(schema, embedding=1, time_features=False).encoder
    encoder.fit_scaling(visits)
    assert encoder(visits)[0, 2:].tolist() == [0.0, 1.0]


def test_a_bidirectional_model_on_the_padded_path_is_refused() -> None:
    with pytest.raises(ValueError, match="reads padding backwards"):
        SurvivalRNN(random_cohort(2, seed=0).visits.schema, bidirectional=True, demonstration=True)


def test_a_model_in_float64_reads_times_and_counts_in_float64() -> None:
    """Against Python's own logarithms: what float32 would leave of them differs in the eighth digit."""
    visits = Visits.from_lists([[["a"], ["a", "b", "c"], []]], day=[[3.5, 40, 1000]])
    encoder = SurvivalRNN(visits.schema, embedding=2).encoder
    numbers = encoder.double()(visits)[:, 2:]
    counts, gaps, since = [1, 3, 0], [0, 36.5, 960], [0, 36.5, 996.5]
    expected = [
        [math.log1p(one) for one in row]
        for row in zip(counts, [gap / 30 for gap in gaps], [days / 365.25 for days in since], range(3), strict=True)
    ]
    assert numbers.dtype == torch.float64
    torch.testing.assert_close(numbers, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)
    rounded = encoder.float()(visits)[:, 2:]
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, numbers.float())


def test_a_model_in_float64_predicts_in_float64() -> None:
    visits = random_cohort(10, seed=2).visits
    model = SurvivalRNN(visits.schema)
    exact = model.double().predict(visits).hazard
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), model.float().predict(visits).hazard, equal_nan=True)


def test_a_start_that_is_not_one_number_a_patient_is_refused(unchecked: None) -> None:
    visits = random_cohort(4, seed=2).visits
    with pytest.raises(ValueError, match=r"start has shape \[4, 1\]; expected \[4\]"):
        SurvivalRNN(visits.schema).predict(visits, start=torch.zeros(4, 1, dtype=torch.long))


# ------------------------------------------------------------------------------------------------------- other heads


def test_a_head_for_one_cause_or_one_interval_says_what_the_hazard_head_says() -> None:
    cohort = random_cohort(20, seed=3)
    hazard = SurvivalRNN.for_cohort(cohort)
    for other in (CompetingRisksRNN.for_cohort(cohort), HorizonRNN.for_cohort(cohort, horizon=1)):
        torch.testing.assert_close(other(cohort.visits)[..., 0], hazard(cohort.visits), equal_nan=True)


def test_untrained_heads_begin_at_the_base_rates() -> None:
    schema = random_cohort(5, seed=3).visits.schema
    causes = CompetingRisksRNN(schema, base_rates=(0.1, 0.02))
    torch.testing.assert_close(F.cause_hazard(causes.head.bias.detach()[None])[0], torch.tensor([0.1, 0.02]))
    horizon = HorizonRNN(schema, horizon=3, base_rate=0.07)
    torch.testing.assert_close(torch.sigmoid(horizon.head.bias.detach()), torch.full((3,), 0.07))


@pytest.mark.parametrize("path", PATHS)
def test_predictions_of_other_heads_do_not_depend_on_the_batch_and_leave_out_history(path: str) -> None:
    cohort = random_cohort(23, seed=4)
    visits, start = cohort.visits, cohort.outcome.start
    for model in (
        CompetingRisksRNN(visits.schema, base_rates=(0.1, 0.02, 0.03), path=path).double(),
        HorizonRNN(visits.schema, horizon=4, path=path).double(),
    ):
        whole, alone = (model.predict(visits, start=start, batch_size=size) for size in (64, 1))
        for name, ours, theirs in zip(whole._fields, whole, alone, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12, equal_nan=True, msg=name)
            known = visits.mask & (torch.arange(visits.mask.shape[1]) >= start[:, None])
            missing = ours.isnan() if ours.dim() == 2 else ours.isnan().all(-1)
            assert torch.equal(missing, ~known), name


def test_cause_predictions_count_from_the_start_and_sum_to_one() -> None:
    cohort = random_cohort(23, seed=4)
    start = cohort.outcome.start
    model = CompetingRisksRNN(cohort.visits.schema, base_rates=(0.1, 0.2)).double()
    prediction = model.predict(cohort.visits, start=start)
    whole = (prediction.cumulative_incidence.sum(-1) + prediction.survival)[~prediction.survival.isnan()]
    torch.testing.assert_close(whole, torch.ones_like(whole))
    first = torch.arange(23), start
    torch.testing.assert_close(prediction.cumulative_incidence[first], prediction.cause_hazard[first])


def test_a_forecast_is_a_survival_curve_from_each_visit() -> None:
    visits = random_cohort(23, seed=4).visits
    prediction = HorizonRNN(visits.schema, horizon=4).double().predict(visits)
    torch.testing.assert_close(prediction.survival[..., 0], 1 - prediction.hazard[..., 0], equal_nan=True)
    expected = (1 - prediction.hazard).cumprod(-1)
    torch.testing.assert_close(prediction.survival, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("stop", "cause", "expected"),
    [
        ([2, 1, 3, 4], [1, 2, 2, 0], [0.1, 0.2]),
        ([1, 1, 1, 1], [1, 2, 2, 2], [0.25, 0.75]),  # nothing is left for "nothing", and a logit has to be
        ([2, 2, 2, 2], [0, 0, 2, 0], [1e-6, 0.125]),  # a cause that nobody had, below one that somebody had
    ],
)
def test_each_cause_begins_at_its_own_share_of_the_rows(
    stop: list[int], cause: list[int], expected: list[float]
) -> None:
    visits = Visits.from_lists([[["a"]] * 4] * 4, day=[range(4)] * 4)
    causes = torch.tensor(cause)
    model = CompetingRisksRNN.for_cohort(Cohort(visits, Outcome.of(torch.tensor(stop), causes > 0, cause=causes)))
    rates = model.settings["base_rates"]
    assert rates == pytest.approx(expected, rel=2e-6)
    assert sum(rates) < 1
    assert F.cause_hazard(model.head.bias.detach().double()[None])[0].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_heads_that_cannot_be_are_refused() -> None:
    cohort = random_cohort(9, seed=4)
    schema = cohort.visits.schema
    with pytest.raises(
        ValueError, match=r"base_rates are \[0.6, 0.4\]; expected shares above 0 that sum to less than 1"
    ):
        CompetingRisksRNN(schema, base_rates=(0.6, 0.4))
    for rates in ((0.1, float("nan")), (float("nan"), 0.1), (0.0, 0.1), ()):
        with pytest.raises(ValueError, match="expected shares above 0 that sum to less than 1"):
            CompetingRisksRNN(schema, base_rates=rates)
    with pytest.raises(ValueError, match="horizon is 0; expected at least 1 interval"):
        HorizonRNN(schema, horizon=0)
    with pytest.raises(ValueError, match="n_causes is 0 and the highest cause seen is 1"):
        CompetingRisksRNN.for_cohort(cohort, n_causes=0)
    with pytest.raises(ValueError, match="cell is 'rnn'"):
        HorizonRNN(schema, cell="rnn")  # type: ignore[arg-type]
