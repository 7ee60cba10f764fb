"""Models: loading, decoding, rows, sequences, saves."""

from __future__ import annotations

import array
import gc
import os
import random
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, List

import rekindle
from rekindle import Limit, Pooling, _rows

from .support import FIXTURES, MODEL, PROMPT, Case, floats, needs_numpy, numpy


class TestModel(Case):
    def test_load(self) -> None:
        context = self.context()
        plan = context.plan(context.open(MODEL), n_ctx=64)
        done: List[float] = []
        model = context.load(plan, done.append)
        self.assertEqual((done == sorted(done), done[-1]), (True, 1.0))
        self.assertEqual(model.plan.json(), plan.json())
        self.assertEqual((model.info.n_ctx, model.info.n_vocab, model.info.can_shift), (64, 2048, True))
        device, memory = plan.device(0), model.memory(0)
        self.assertEqual((memory.mapped, memory.kv, memory.compute), (device.mapped, device.kv, device.compute))
        self.fails(ValueError, lambda: model.memory(9))
        self.fails(ValueError, lambda: model.memory(-1), "device")
        self.fails(ValueError, lambda: context.load(plan, on_oom="panic"), "on_oom")
        self.fails(rekindle.CancelledError, lambda: context.load(plan, lambda done: done < 0.5))
        context.load(plan, check_tensors=True).close()

    def test_load_in_one_call(self) -> None:
        with rekindle.load(MODEL, "cpu", 2, n_ctx=64, kv="q8_0") as model:
            self.assertEqual(model.plan.summary.type_k, rekindle.KvType.Q8_0)
            self.assertTrue("".join(model.generate(PROMPT, max_tokens=4)))
        self.fails(rekindle.NotFitError, lambda: rekindle.load(MODEL, "cpu", reserve_bytes=2**62))
        self.fails(rekindle.DeviceError, lambda: rekindle.load(MODEL, "k80:1"))

    def test_decode(self) -> None:
        model = self.model(n_seq_max=2, n_outputs_max=4)
        tokens = model.vocab.tokenize(PROMPT)
        self.assertEqual(model.decode(tokens), 1)
        row = floats(model.logits())
        self.assertEqual(len(row), 2048)
        self.assertEqual(len(model.embeddings()), model.info.n_embd)
        # The same tokens in other clothes, in another sequence and all rows of them.
        self.assertEqual(model.decode(array.array("i", tokens), seqs=1, outputs=[1] * 4), 4)
        self.assertEqual(floats(model.logits(3)), row)
        self.assertEqual(model.seq_length(1), 4)
        self.assertEqual(model.n_free, 64 - 8)
        # One token for each of two sequences.
        self.assertEqual(model.decode([5, 5], seqs=[0, 1], positions=[4, 4]), 2)
        self.assertEqual(floats(model.logits(0)), floats(model.logits(1)))
        model.reset_perf()
        model.decode([5], seqs=0)
        self.assertEqual(model.perf.n_decode_tokens, 1)

    def test_batches_that_cannot_be(self) -> None:
        model = self.model()
        model.decode([5, 6])
        self.fails(ValueError, lambda: model.decode([]), "n_tokens")
        self.fails(ValueError, lambda: model.decode([99999]), "99999")
        self.fails(ValueError, lambda: model.decode([2**32 + 1]))
        self.fails(ValueError, lambda: model.decode([5], seqs=1), "seq")
        self.fails(ValueError, lambda: model.decode([5], seqs=2**32), "seqs")
        self.fails(ValueError, lambda: model.decode([5, 6], seqs=[0]), "seq_ids")
        self.fails(ValueError, lambda: model.decode([5, 6], positions=[2]), "positions")
        self.fails(ValueError, lambda: model.decode([5], positions=[1]), "positions")
        self.fails(ValueError, lambda: model.decode([5], outputs=[1, 1]), "outputs")
        error = self.fails(rekindle.ContextFullError, lambda: model.decode([5] * 63))
        self.assertEqual((error.needed, error.available), (63, 62))
        self.assertEqual(model.seq_length(0), 2)
        model.decode([7])
        self.fails(ValueError, lambda: model.logits(1), "row")
        self.fails(ValueError, lambda: model.logits(-1), "row")

    def test_sequences(self) -> None:
        model = self.model(n_seq_max=3)
        tokens = model.vocab.tokenize("In the beginning God created the heaven")
        n = len(tokens)
        model.decode(tokens)
        row = floats(model.logits())
        model.seq_copy(0, 1)
        self.assertEqual(model.n_free, 64 - n)
        self.assertEqual(model.seq_cut(1, n - 1), n - 1)
        model.decode(tokens[-1:], seqs=1)
        self.assertEqual(floats(model.logits()), row)
        model.seq_remove(1, 2, 4)
        model.seq_shift(1, 4, None, -2)
        self.assertEqual(model.seq_length(1), n - 2)
        model.seq_checkpoint(0)
        model.seq_keep(0)
        self.assertEqual((model.seq_length(0), model.seq_length(1)), (n, 0))
        model.seq_remove()
        self.assertEqual(model.n_free, 64)
        self.fails(ValueError, lambda: model.seq_length(3), "seq")

    def test_saves(self) -> None:
        model = self.model(n_seq_max=2)
        tokens = model.vocab.tokenize(PROMPT)
        model.decode(tokens)
        saved = model.seq_save(0)
        model.seq_load(1, bytearray(saved))
        model.decode([5])
        row = floats(model.logits())
        model.decode([5], seqs=1)
        self.assertEqual(floats(model.logits()), row)
        self.fails(rekindle.BadFileError, lambda: model.seq_load(1, saved[:-1]))
        self.fails(rekindle.BadFileError, lambda: model.seq_load(1, b""))
        other = self.model(n_ctx=128, kv="q8_0")
        self.fails(rekindle.UnsupportedError, lambda: other.seq_load(0, saved))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ä.seq"
            shares: List[float] = []
            model.seq_save_file(0, path, shares.append)
            self.assertEqual(shares[-1], 1.0)
            model.seq_load_file(1, path)
            self.assertEqual(model.seq_length(1), model.seq_length(0))
            self.fails(rekindle.CancelledError, lambda: model.seq_load_file(1, path, lambda _: False))
            self.fails(FileNotFoundError, lambda: model.seq_load_file(1, Path(folder) / "none"), "none")
            self.fails(OSError, lambda: model.seq_save_file(0, Path(folder) / "no/such/folder"))

    def test_pooled_rows_of_texts(self) -> None:
        model = self.model(n_seq_max=2, pooling="mean")
        self.assertEqual(model.info.pooling, Pooling.MEAN)
        texts = [PROMPT, "In the beginning", PROMPT]
        rows = [floats(r) for r in model.embed(texts)]
        self.assertEqual((len(rows), len(rows[0])), (3, model.info.n_embd_out))
        self.assertEqual(rows[0], rows[2])
        self.assertNotEqual(rows[0], rows[1])
        self.assertAlmostEqual(sum(x * x for x in rows[1]), 1.0, places=4)
        self.fails(rekindle.UnsupportedError, model.logits, "pooling")
        self.fails(ValueError, lambda: model.pooled(1), "seq")
        self.assertEqual(model.embed([]), [])
        self.fails(ValueError, lambda: model.embed([[]]))

    def test_adapters_and_a_second_model(self) -> None:
        context = self.context()
        file = context.open(MODEL, adapters=[FIXTURES / "adapters/bible-steer.gguf"])
        model = context.load(context.plan(file, n_ctx=64, n_draft=3, draft_source="model"))

        def logits(scales: List[float]) -> List[float]:
            model.seq_remove()
            model.seq_set_adapters(0, scales)
            model.decode([5, 9, 23])
            return floats(model.logits())

        plain = logits([])
        self.assertNotEqual(logits([3.0]), plain)
        self.assertEqual(logits([0.0]), plain)
        self.fails(ValueError, lambda: model.seq_set_adapters(0, [3.0]), "seq")
        model.seq_remove()
        model.seq_set_adapters(0, [])
        alone = model.complete(PROMPT, max_tokens=12)
        model.seq_remove()
        self.fails(ValueError, lambda: model.set_draft(model), "draft")
        second = context.load(context.plan(context.open(MODEL), n_ctx=64))
        model.set_draft(second)
        second.close()
        drafted = model.complete(PROMPT, max_tokens=12, all_drafts=True)
        self.assertEqual(drafted, alone)
        self.assertGreater(model.perf.n_draft_agreed, 0)
        model.set_draft(None)

    def test_checkpoints_of_recurrent_layers(self) -> None:
        model = self.model("models/jamba-experts.gguf", n_checkpoints=0)
        self.assertFalse(model.info.can_shift)
        self.assertEqual(model.info.n_checkpoints, 0)
        model.decode([5, 6, 7])
        self.fails(rekindle.UnsupportedError, lambda: model.seq_shift(0, 1, None, 1))
        self.assertEqual(self.model("models/jamba-experts.gguf", n_checkpoints=None).info.n_checkpoints, 4)


class TestRows(Case):
    @needs_numpy
    def test_arrays_without_a_copy(self) -> None:
        model = self.model()
        model.decode([5])
        row, same = model.logits(), model.logits()
        self.assertIsInstance(row, numpy.ndarray)
        assert isinstance(row, numpy.ndarray) and isinstance(same, numpy.ndarray)
        self.assertTrue(numpy.may_share_memory(row, same))
        self.assertFalse(row.flags.writeable)
        kept, part, most = model.logits(copy=True), row[:4], int(row.argmax())
        assert isinstance(kept, numpy.ndarray)
        self.assertTrue((kept == row).all() and kept.flags.owndata is False and kept.flags.writeable)
        self.assertIs(type(row + 1), numpy.ndarray)
        self.assertIs(type(row.copy()), numpy.ndarray)
        self.assertEqual(most, int(numpy.argmax(kept)))
        model.decode([most])
        for look in (
            lambda: row[0],
            lambda: row.max(),
            lambda: row.argmax(),
            lambda: row + 1,
            lambda: numpy.argmax(row),
            lambda: numpy.concatenate([row, row]),
            lambda: part.sum(),
            lambda: part.tolist(),
            lambda: str(row),
            lambda: list(row),
        ):
            self.fails(rekindle.StaleViewError, look)
        self.assertEqual(int(kept.argmax()), most)
        self.assertTrue(model.logits()[0] == model.logits()[0])

    @needs_numpy
    def test_a_view_outlives_its_model(self) -> None:
        model = self.model()
        model.decode([5])
        row = model.logits()
        before, part = floats(row), row[:9]
        owner = model._owned()
        memory = weakref.ref(owner)
        del owner
        model.close()
        del row
        self.assertEqual(floats(part), before[:9])
        self.assertIsNotNone(memory())
        del part
        # The last view is gone, and the model's memory with it.
        self.assertIsNone(memory())
        other = self.model()
        owner = other._owned()
        other.decode([5])
        row = other.logits()
        self.assertEqual(len(owner.views), 1)
        del row
        self.assertEqual(len(owner.views), 0)
        other.close()
        self.assertIsNone(owner._end.peek())

    def test_memoryviews_where_numpy_is_absent(self) -> None:
        model = self.model()
        model.decode([5])
        expected = floats(model.logits())
        saved, _rows._array_type[:] = list(_rows._array_type), [None]
        try:
            view = model.logits()
            assert isinstance(view, memoryview)
            self.assertEqual((view.format, view.readonly, floats(view)), ("f", True, expected))
            model.decode([6])
            self.fails(ValueError, lambda: view[0], "released")
            model.close()
        finally:
            _rows._array_type[:] = saved

    def test_the_package_runs_without_numpy(self) -> None:
        code = (
            "import sys; sys.modules['numpy'] = None\n"
            "import rekindle\n"
            f"c = rekindle.Context('cpu', 2); m = c.load(c.plan(c.open({str(MODEL)!r}), n_ctx=32))\n"
            "m.decode([5]); print(type(m.logits()).__name__, type(m.logits(copy=True)).__name__)\n"
        )
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code], capture_output=True, text=True, env=os.environ
        )
        self.assertEqual((done.stdout, done.stderr), ("memoryview memoryview\n", ""))


class TestLifetimes(Case):
    def test_every_order_of_closing_and_dropping(self) -> None:
        for seed in range(12):
            context = rekindle.Context("cpu", 1)
            file = context.open(MODEL)
            plan = context.plan(file, n_ctx=64)
            model = context.load(plan)
            vocab = model.vocab
            grammar = rekindle.Grammar(vocab, "regex", "a+")
            sampler = rekindle.Sampler(temperature=1.0, vocab=vocab)
            generation = model.start(PROMPT, sampler=sampler, grammar=grammar)
            objects: List[Any] = [context, file, plan, model, vocab, grammar, sampler, generation]
            objects += [vocab.stream(), rekindle.Reply(vocab), grammar.copy(), sampler.copy(), model.plan]
            del context, file, plan, model, vocab, grammar, sampler, generation
            order = random.Random(seed)
            order.shuffle(objects)
            while objects:
                last = objects.pop()
                if order.random() < 0.5:
                    last.close()
                del last
                gc.collect()

    def test_objects_may_be_closed_in_any_order(self) -> None:
        context = rekindle.Context("cpu", 2)
        file = context.open(MODEL)
        plan = context.plan(file, n_ctx=64, limits={0: Limit()})
        model = context.load(plan)
        vocab, generation = model.vocab, model.start(PROMPT, max_tokens=4)
        context.close()
        file.close()
        plan.close()
        model.decode([5])
        model.close()
        self.assertEqual(vocab.detokenize(vocab.tokenize(PROMPT)), PROMPT)
        self.assertEqual(generation.info.n_prompt, 4)
        generation.close()
        vocab.close()
        vocab.close()
        for closed in (context, file, plan, model, vocab, generation):
            self.assertTrue(closed.closed)
            self.assertIn("(closed)", repr(closed))
        self.fails(rekindle.ClosedError, lambda: model.decode([5]), "Model is closed")
        self.fails(rekindle.ClosedError, lambda: context.open(MODEL), "Context is closed")
        self.fails(rekindle.ClosedError, vocab.__enter__, "Vocab is closed")
        self.fails(ValueError, lambda: plan.fits)
