"""How much of what can be known an LSTM learns where the true hazard is known, from twenty thousand patients each."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from visitwise import simulate
from visitwise.baselines import LifeTableHazard, LogisticHazard, current_features, history_features
from visitwise.metrics import nll_per_row, share_explained
from visitwise.model import SurvivalRNN
from visitwise.simulate import Simulation, Simulator
from visitwise.training import evaluate_nll, fit
from visitwise.visits import Visits

Hazards = Callable[[Visits], Tensor]


class World:
    """One simulator's patients: 20,000 to learn from, 5,000 to stop by, 20,000 to be judged on."""

    def __init__(self, simulator: Simulator) -> None:
        self.train = simulator.draw(20_000, seed=1).cohort
        self.validation = simulator.draw(5_000, seed=2).cohort
        self.judges: Simulation = simulator.draw(20_000, seed=3)
        true_logits = self.judges.cohort.visits.pad(torch.logit(self.judges.hazard), torch.nan)
        self.oracle = nll_per_row(true_logits, self.judges.cohort.outcome)
        self.baseline = evaluate_nll(LifeTableHazard.fit(self.train), self.judges.cohort)

    def explained(self, model: Hazards) -> float:
        """0 for the life table, 1 for the true hazards."""
        return share_explained(evaluate_nll(model, self.judges.cohort), self.baseline, self.oracle)

    def lstm(self) -> SurvivalRNN:
        model = SurvivalRNN.for_cohort(self.train)
        fit(model, self.train, self.validation, epochs=10, learning_rate=2e-3, progress=False)
        return model


@pytest.mark.timeout(1800)
def test_the_lstm_recovers_most_of_what_can_be_known_on_the_teaching_cohort() -> None:
    world = World(simulate.TEACHING)
    lstm, current = world.lstm(), LogisticHazard.fit(world.train, current_features)
    assert world.explained(lstm) >= 0.85
    assert world.explained(lstm) > world.explained(current) + 0.1


@pytest.mark.timeout(1800)
def test_only_a_memory_learns_the_order_of_two_diagnoses() -> None:
    world = World(simulate.ORDER_ONLY)
    assert world.explained(world.lstm()) >= 0.95
    assert world.explained(LogisticHazard.fit(world.train, current_features)) < 0.5
    assert world.explained(LogisticHazard.fit(world.train, history_features)) < 0.95


@pytest.mark.timeout(1800)
def test_a_memory_gains_nothing_where_there_is_nothing_to_remember() -> None:
    world = World(simulate.NO_MEMORY)
    memoryless = world.explained(LogisticHazard.fit(world.train, current_features))
    assert memoryless > 0.97
    assert world.explained(world.lstm()) <= memoryless
