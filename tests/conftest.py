"""What every test runs under: one thread, no display, and the shapes in our signatures checked at each call.

The import hook has to stand before the first import of `visitwise`, so nothing here may import it at the top.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that tests start
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

pytest_plugins = ["tests.ledger"]
torch.set_num_threads(1)
hypothesis.settings.register_profile("visitwise", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("visitwise")

early = sorted(name for name in sys.modules if name.partition(".")[0] == "visitwise")
if early:
    raise RuntimeError(f"{early} were imported before the shape checks could be installed; expected none")
# A whole number may stand where a signature says float; and beartype cannot read `Self` on a method decorated alone.
CHECKS = "is_pep484_tower=True, hint_overrides=beartype.FrozenDict({beartype.typing.Self: object})"
jaxtyping.install_import_hook("visitwise", f"beartype.beartype(conf=beartype.BeartypeConf({CHECKS}))")


def pytest_configure(config: pytest.Config) -> None:
    """One folder for all processes of a run, where the first that needs the site builds it (`tests/built.py`)."""
    if not hasattr(config, "workerinput"):
        os.environ["VISITWISE_TEST_FOLDER"] = folder = tempfile.mkdtemp(prefix="visitwise-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Shape checks off, as for a user: a wrong call reaches our own error instead of beartype's."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(autouse=True)
def _same_randomness_in_any_order() -> Iterator[None]:
    """Each test starts from the same global random numbers, whichever tests ran before it, and leaves no trace."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)
        yield
    np.random.set_state(before)


@pytest.fixture
def no_global_draws(_same_randomness_in_any_order: None) -> Iterator[None]:
    """For tests of code that has no business with the global generators: neither seeding nor drawing."""
    ours, theirs = torch.get_rng_state(), np.random.get_state()[1:3]
    yield
    assert torch.equal(torch.get_rng_state(), ours), "torch's global generator was seeded or drawn from"
    numbers, position = np.random.get_state()[1:3]
    assert (numbers.tobytes(), position) == (theirs[0].tobytes(), theirs[1]), "NumPy's was seeded or drawn from"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium for the tests of the built site; without one they are skipped, except in CI."""
    from tests.browser import ARGUMENTS, find_chromium

    executable = find_chromium()
    if executable is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium was found, and in CI the browser's tests must run")
        pytest.skip("no Chromium on the PATH and none of Playwright's; `apt-get install chromium` brings one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield started
        started.close()
