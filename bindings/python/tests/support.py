"""What the tests share: the shipped model, loaded as a test wishes."""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any, Callable, Iterable, List, Type, TypeVar

import rekindle

try:
    import numpy as numpy
except ImportError:
    numpy = None  # type: ignore[assignment]

#: The folder of the project; the wheel's test gives it, since the package lies elsewhere then.
ROOT = Path(os.environ.get("REKINDLE_ROOT", Path(__file__).resolve().parents[3]))
MODEL = ROOT / "models/bible-5M-Q8_0.gguf"
FIXTURES = ROOT / "tests/fixtures"
PROMPT = "And God said"

E = TypeVar("E", bound=BaseException)


def needs_numpy(test: Any) -> Any:
    """Marks a test that numpy is needed for."""
    return test if numpy else unittest.skip("SKIPPED: numpy is not installed")(test)


def floats(row: Iterable[float]) -> List[float]:
    return [float(x) for x in row]


class Case(unittest.TestCase):
    """A test with the model; each test closes what it opens."""

    def context(self, devices: str = "cpu") -> rekindle.Context:
        context = rekindle.Context(devices, 2)
        self.addCleanup(context.close)
        return context

    def model(self, file: str = "", **options: Any) -> rekindle.Model:
        """The shipped model, or a fixture, with the options of a plan."""
        context = self.context()
        path = FIXTURES / file if file else MODEL
        with context.open(path) as opened, context.plan(opened, **{"n_ctx": 64, **options}) as plan:
            model = context.load(plan)
        self.addCleanup(model.close)
        return model

    def fails(self, kind: Type[E], call: Callable[[], object], *words: str) -> E:
        """The error of a call, whose text or subject has these words."""
        with self.assertRaises(kind) as caught:
            call()
        for word in words:
            self.assertIn(word, f"{caught.exception} {getattr(caught.exception, 'subject', '')}")
        return caught.exception
