"""Contexts, files and plans."""

from __future__ import annotations

import json
import logging
from typing import Any

import rekindle
from rekindle import DeviceKind, KvType, Limit, Question, Source, Status

from .support import FIXTURES, MODEL, Case


class TestFiles(Case):
    def test_keys_and_tensors(self) -> None:
        with self.context().open(MODEL) as file:
            self.assertEqual((file.info.architecture, file.info.n_layer), ("llama", 6))
            self.assertEqual(file.keys["general.architecture"], "llama")
            self.assertEqual(file.keys["llama.block_count"], 6)
            self.assertIs(type(file.keys["llama.attention.layer_norm_rms_epsilon"]), float)
            self.assertEqual(len(file.keys), len(list(file.keys)))
            self.assertIn("tokenizer.ggml.tokens", file.keys)
            self.assertEqual(file.keys.info("tokenizer.ggml.tokens").count, 2048)
            self.assertTrue(file.keys.text("tokenizer.ggml.tokens", 2).startswith("["))
            self.assertNotIn("no.such.key", file.keys)
            self.fails(KeyError, lambda: file.keys["no.such.key"], "no.such.key")
            self.assertEqual(len(file.tensors), file.info.n_tensors)
            first = file.tensors[0]
            self.assertEqual((first.name, first.type_name, first.ne), ("token_embd.weight", "Q8_0", (256, 2048, 1, 1)))

    def test_values_of_the_host(self) -> None:
        with self.context().open(MODEL, {"llama.context_length": 128, "a.new.key": "ü"}) as file:
            self.assertEqual(file.info.n_ctx_train, 128)
            self.assertEqual(file.keys["a.new.key"], "ü")
        self.fails(rekindle.InvalidArgumentError, lambda: self.context().open(MODEL, {"llama.context_length": "x"}))

    def test_files_that_are_not_there_or_no_models(self) -> None:
        context = self.context()
        error = self.fails(FileNotFoundError, lambda: context.open("/no/such/model.gguf"), "/no/such/model.gguf")
        self.assertIsInstance(error, rekindle.Error)
        self.assertEqual(error.filename, b"/no/such/model.gguf")
        self.fails(rekindle.BadFileError, lambda: context.open(__file__))
        self.fails(OSError, lambda: context.open("/"))
        with context.open(MODEL) as file:
            self.fails(FileNotFoundError, lambda: file.adapted(context, [FIXTURES / "no.gguf"]), "no.gguf")

    def test_adapters(self) -> None:
        context = self.context()
        with context.open(MODEL, adapters=[FIXTURES / "adapters/bible-steer.gguf"]) as file:
            (adapter,) = file.adapters
            self.assertEqual(adapter.kind, rekindle.AdapterKind.CONTROL_VECTOR)
            self.assertGreater(adapter.n_bytes, 0)
        with context.open(MODEL) as file:
            self.assertEqual(file.adapters, [])


class TestPlans(Case):
    def test_described_dies(self) -> None:
        context = self.context("k80:2")
        devices = context.devices
        self.assertEqual([d.kind for d in devices], [DeviceKind.CUDA, DeviceKind.CUDA, DeviceKind.CPU])
        self.assertTrue(devices[0].described and devices[0].takes_layers and not devices[2].takes_layers)
        file = context.open(MODEL)
        plan = context.plan(file, n_ctx=512)
        summary = plan.summary
        self.assertTrue(plan.fits)
        self.assertEqual((summary.n_ctx, summary.n_ctx_source, summary.type_k), (512, Source.CALLER, KvType.F16))
        self.assertEqual(summary.estimator, "measured")
        self.assertGreater(summary.predicted_decode, 0)
        self.assertEqual(sum(d.n_layers for d in plan.devices), summary.n_layer)
        self.assertEqual(len(plan.layers), summary.n_layer + 1)
        self.assertTrue(plan.layers[0].reason)
        self.assertEqual(len(plan.reasons), summary.n_reasons)
        self.assertEqual(len(plan.remedies), plan.summary.n_remedies)
        self.fails(rekindle.NotFoundError, lambda: plan.layer(99))
        error = self.fails(rekindle.DeviceError, lambda: context.load(plan), "Tesla K80")
        self.assertEqual(error.status, Status.DEVICE)

    def test_the_whole_plan(self) -> None:
        plan = self.context().plan(self.context().open(MODEL), n_ctx=64)
        self.assertEqual(str(plan), plan.text())
        self.assertIs(plan.as_dict()["fits"], True)
        self.assertEqual(json.loads(plan.json()), plan.as_dict())
        self.assertTrue(plan.svg().startswith("<svg") or plan.svg().startswith("<?xml"))

    def test_wishes(self) -> None:
        context = self.context("k80:2")
        file = context.open(MODEL)
        limits = {0: Limit(1 << 20, 1), 2: Limit(max_layers=0)}
        plan = context.plan(file, n_seq_max=2, objective="throughput", kv="q8_0", limits=limits)
        self.assertLessEqual(plan.device(0).n_layers, 1)
        self.assertEqual((plan.summary.type_v, plan.summary.n_seq_max), (KvType.Q8_0, 2))
        self.assertEqual(context.plan(file, limits={0: Limit(max_layers=0)}).device(0).n_layers, 0)
        family = context.plan(file, n_ctx=512, estimator="family", margin=2)
        self.assertIn("family", context.plan(file, n_ctx=512).compare(family))
        placed = context.plan(file, placements=r"^blk\.=CUDA1")
        self.assertEqual(placed.device(1).n_layers, 6)

    def test_wishes_that_cannot_be(self) -> None:
        context = self.context()
        file = context.open(MODEL)

        def plan(**options: Any) -> rekindle.Plan:
            return context.plan(file, **options)

        self.fails(ValueError, lambda: plan(n_ctx=-1), "n_ctx")
        self.fails(ValueError, lambda: plan(n_ctx=2**32), "n_ctx")
        self.fails(ValueError, lambda: plan(n_ctx=1.5), "n_ctx")
        self.fails(ValueError, lambda: plan(n_seq_max=300), "n_seq_max")
        self.fails(ValueError, lambda: plan(kv="q9"), "q9")
        self.fails(ValueError, lambda: plan(margin="much"), "margin")
        self.fails(ValueError, lambda: plan(placements="("), "placements")
        self.fails(ValueError, lambda: plan(limits={7: Limit()}), "limits")
        for name in ("no_such_wish", "struct_size", "reserved", "n_limits", "placements_len"):
            self.fails(TypeError, lambda: plan(**{name: 1}), name)

    def test_one_that_does_not_fit(self) -> None:
        context = self.context()
        plan = context.plan(context.open(MODEL), reserve_bytes=2**62)
        self.assertFalse(plan.fits)
        self.assertGreater(plan.device(0).shortfall, 0)
        self.assertIn("DOES NOT FIT", plan.text())
        self.assertTrue(plan.remedies)
        self.fails(rekindle.NotFitError, lambda: context.load(plan))

    def test_questions(self) -> None:
        context = self.context("k80:2")
        file = context.open(MODEL)
        self.assertEqual(rekindle.ask(context, file, "largest_context"), 512)
        self.assertEqual(rekindle.ask(context, file, Question.FEWEST_DEVICES, n_ctx=512), 1)
        self.assertIs(rekindle.ask(context, file, "best_kv_type", n_ctx=512), KvType.F16)
        self.assertIsNone(rekindle.ask(context, file, "fewest_devices", reserve_bytes=2**62))
        self.fails(ValueError, lambda: rekindle.ask(context, file, 99), "question")  # type: ignore[arg-type]


class TestContexts(Case):
    def test_specs(self) -> None:
        self.assertEqual(self.context().info.n_threads, 2)
        self.fails(ValueError, lambda: rekindle.Context("gpu:everything"), "devices")
        self.fails(ValueError, lambda: rekindle.Context(threads=-1), "threads")
        self.assertEqual(rekindle.version(), rekindle.__version__)
        self.assertTrue(any(line.startswith("REKINDLE_CPU:") for line in rekindle.environment()))

    def test_log(self) -> None:
        logger = logging.getLogger("rekindle.tests")
        with self.assertLogs(logger, logging.DEBUG) as told:
            with rekindle.Context("cpu", 2, logger) as context:
                context.load(context.plan(context.open(MODEL), n_ctx=64)).close()
        self.assertTrue(told.records)
