"""`python -m rekindle`, and the examples of the documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import rekindle

from .support import FIXTURES, MODEL, PROMPT, ROOT, Case


class TestMain(Case):
    def run_main(self, *arguments: Any, code: int = 0, text: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "rekindle", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, input=text, encoding="utf-8")
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def test_plan(self) -> None:
        plan = self.run_main("plan", MODEL, "--devices", "k80:2", "--threads", 2, "--ctx", 64)
        self.assertTrue(plan.stdout.startswith("fits"), plan.stdout)
        context = self.context("k80:2")
        # The host's free memory is of the moment.
        moment = ("\u00b7 others", "  free")
        steady = [line for line in plan.stdout.splitlines() if not line.startswith(moment)]
        text = context.plan(context.open(MODEL), n_ctx=64).text()
        self.assertEqual(steady, [line for line in text.splitlines() if not line.startswith(moment)])
        data = json.loads(self.run_main("plan", MODEL, "--devices", "k80:2", "--json").stdout)
        self.assertIs(data["fits"], True)
        with tempfile.TemporaryDirectory() as folder:
            svg = Path(folder) / "plan.svg"
            self.run_main("plan", MODEL, "--devices", "cpu", "--svg", svg)
            self.assertIn("</svg>", svg.read_text(encoding="utf-8"))
        self.assertIn("family", self.run_main("plan", MODEL, "--devices", "k80:1", "--compare").stdout)
        asked = self.run_main("plan", MODEL, "--devices", "k80:1", "--ask", "kv", "--limit", "0:64:7")
        self.assertEqual(asked.stdout, "f16\n")

    def test_plan_that_does_not_fit(self) -> None:
        done = self.run_main("plan", MODEL, "--devices", "k80:1", "--reserve", 20000, code=1)
        self.assertIn("DOES NOT FIT", done.stdout)
        self.assertIn("does not fit", done.stderr)
        self.assertIn("DOES NOT FIT", self.run_main("run", MODEL, "-p", "x", "--reserve", 1 << 40, code=1).stderr)

    def test_run(self) -> None:
        common = ["run", MODEL, "--devices", "cpu", "--threads", 2, "--ctx", 64, "-n", 6]
        quiet = self.run_main(*common, "-q", "-p", PROMPT).stdout
        self.assertEqual(self.run_main(*common, "-p", PROMPT).stdout, PROMPT + quiet)
        self.assertEqual(self.run_main(*common, "-q", text=PROMPT + "\n").stdout, quiet)
        drawn = [*common, "-q", "-p", PROMPT, "--temp", 2, "--seed", 5]
        self.assertEqual(self.run_main(*drawn).stdout, self.run_main(*drawn).stdout)
        self.assertEqual(self.run_main(*common, "-q", "-p", PROMPT, "--regex", " day").stdout, " day\n")
        steer = FIXTURES / "adapters/bible-steer.gguf"
        self.assertNotEqual(self.run_main(*common, "-q", "-p", PROMPT, "--adapter", f"{steer}=3").stdout, quiet)

    def test_mistakes(self) -> None:
        self.assertIn("/no/such", self.run_main("run", "/no/such", "-p", "x", code=1).stderr)
        self.assertIn("gpu", self.run_main("plan", MODEL, "--devices", "gpu", code=1).stderr)
        self.run_main("plan", MODEL, "--ctx", "many", code=2)
        self.run_main("walk", MODEL, code=2)
        self.run_main(code=2)
        self.assertIn(rekindle.version(), self.run_main("--version").stdout)

    def test_examples_of_the_documentation(self) -> None:
        text = (ROOT / "bindings/python/README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"```python\n(.*?)```", text, re.S)
        self.assertGreaterEqual(len(blocks), 4)
        # Later blocks go on from earlier ones.
        code = "\n".join(blocks)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "model.gguf").symlink_to(MODEL)
            done = subprocess.run(
                [sys.executable, "-X", "dev", "-W", "error", "-c", code],
                capture_output=True,
                text=True,
                cwd=folder,
                env=os.environ,
            )
        self.assertEqual((done.returncode, done.stderr), (0, ""), code)
