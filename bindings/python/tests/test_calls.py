"""Calls that are ended: by exceptions in callbacks, by Ctrl-C, from other threads, while another one runs."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import List, Optional

import rekindle
from rekindle import Status

from .support import MODEL, PROMPT, Case


class Mine(BaseException):
    """Not even an Exception."""


class TestCallbacks(Case):
    def test_what_a_callback_raises_ends_the_call(self) -> None:
        context = self.context()
        plan = context.plan(context.open(MODEL), n_ctx=64)

        def progress(done: float) -> None:
            raise Mine("in progress")

        self.fails(Mine, lambda: context.load(plan, progress), "in progress")
        model = context.load(plan)

        def piece(token: int, text: str) -> Optional[bool]:
            raise Mine("in a piece")

        self.fails(Mine, lambda: model.complete(PROMPT, on_piece=piece), "in a piece")
        # Nothing is left of it.
        model.seq_remove()
        model.decode([5])

    def test_the_object_is_busy_in_its_callback(self) -> None:
        model = self.model()

        def piece(token: int, text: str) -> Optional[bool]:
            self.assertEqual(model.info.n_ctx, 64)
            model.decode([5])
            return None

        self.fails(rekindle.BusyError, lambda: model.complete(PROMPT, on_piece=piece))

    def test_a_callback_may_close_its_model(self) -> None:
        model = self.model()

        def piece(token: int, text: str) -> None:
            model.close()
            model.decode([5])

        self.fails(rekindle.ClosedError, lambda: model.complete(PROMPT, on_piece=piece))

    def test_a_callback_may_cancel(self) -> None:
        model = self.model()
        error = self.fails(
            rekindle.CancelledError, lambda: model.complete(PROMPT, on_piece=lambda t, p: model.cancel())
        )
        self.assertEqual(error.status, Status.CANCELLED)

    def test_what_a_logger_raises(self) -> None:
        class Failing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise Mine("in a log")

        logger = logging.Logger("failing", logging.DEBUG)
        logger.addHandler(Failing())

        def load() -> None:
            with rekindle.Context("cpu", 1, logger) as context:
                context.load(context.plan(context.open(MODEL), n_ctx=64))

        self.fails(Mine, load, "in a log")
        self.model()


class TestErrors(Case):
    def test_particulars(self) -> None:
        context = self.context()
        plan = context.plan(context.open(MODEL), reserve_bytes=2**62)
        error = self.fails(rekindle.NotFitError, lambda: context.load(plan))
        self.assertEqual((error.status, error.device), (Status.NOT_FIT, 0))
        self.assertGreater(error.needed, 0)
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((type(again), str(again), again.needed), (type(error), str(error), error.needed))

    def test_every_status_has_a_class(self) -> None:
        from rekindle.errors import CLASSES

        self.assertEqual(set(CLASSES), set(Status) - {Status.OK})
        self.assertEqual(len(set(CLASSES.values())), len(CLASSES))
        self.assertIs(type(Status(77)), Status)
        self.assertEqual(Status(77).name, "UNKNOWN_77")


class TestThreads(Case):
    def test_each_thread_has_its_own_error(self) -> None:
        model = self.model(n_seq_max=4)
        vocab = model.vocab
        wrong: List[str] = []

        def work(number: int) -> None:
            for _ in range(200):
                try:
                    vocab.token(5000 + number)
                except ValueError as e:
                    if str(5000 + number) not in str(e):
                        wrong.append(str(e))
                if vocab.detokenize(vocab.tokenize(f"{number}")) != f"{number}":
                    wrong.append("text")

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])

    def test_one_of_two_is_busy_and_another_thread_cancels(self) -> None:
        model = self.model(n_ctx=512)
        inside = threading.Event()
        results: List[object] = []

        def piece(token: int, text: str) -> None:
            inside.set()
            time.sleep(0.01)

        def write() -> None:
            try:
                results.append(model.complete(PROMPT, on_piece=piece, ignore_eog=True))
            except rekindle.Error as e:
                results.append(e)

        thread = threading.Thread(target=write)
        thread.start()
        inside.wait(60)
        self.fails(rekindle.BusyError, lambda: model.decode([5]))
        # It reads only, and does not wait.
        self.assertEqual(model.info.n_ctx, 512)
        model.cancel()
        thread.join(60)
        self.assertIsInstance(results[0], rekindle.CancelledError)

    def test_a_model_closed_by_another_thread(self) -> None:
        model = self.model(n_ctx=512)
        inside = threading.Event()
        results: List[object] = []

        def write() -> None:
            results.append(model.complete(PROMPT, max_tokens=30, on_piece=lambda t, p: inside.set()))

        thread = threading.Thread(target=write)
        thread.start()
        inside.wait(60)
        model.close()
        thread.join(60)
        self.assertEqual(len(results), 1)


class TestInterrupt(Case):
    """Ctrl-C, as a signal to this process."""

    def interrupt_soon(self, after: float = 0.05) -> None:
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        self.addCleanup(timer.join)

    def setUp(self) -> None:
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, former)

    def ended(self) -> None:
        """Afterwards all is as it was."""
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def test_decode(self) -> None:
        model = self.model("models/gemma3-62-layers.gguf", n_ctx=30000, n_batch=30000)
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            model.decode([5] * 30000)
        self.ended()
        # It was ended, not waited for.
        self.assertEqual(model.seq_length(0), 0)
        model.decode([5, 6])

    def test_generate_and_complete(self) -> None:
        model = self.model(n_ctx=512)
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            while True:
                list(model.generate(PROMPT, max_tokens=400, ignore_eog=True))
        self.ended()
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            while True:
                model.seq_remove(0)
                model.complete(PROMPT, max_tokens=400, ignore_eog=True)
        self.ended()
        model.seq_remove()
        self.assertEqual(len(list(model.generate(PROMPT, max_tokens=4))), 4)

    def test_nothing_is_left_of_it(self) -> None:
        model = self.model(n_ctx=512)
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            while True:
                list(model.generate(PROMPT, max_tokens=400, ignore_eog=True))
        # Neither here nor in another thread, nor while the host has a handler of its own.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.model().close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        thread = threading.Thread(target=lambda: self.model().complete(PROMPT, max_tokens=2))
        thread.start()
        thread.join()
        self.model().complete(PROMPT, max_tokens=2)

    def test_a_text_that_was_ended_leaves_its_sequence(self) -> None:
        model = self.model(n_ctx=512, n_seq_max=1)
        self.interrupt_soon()
        try:
            while True:
                list(model.generate(PROMPT, max_tokens=400, ignore_eog=True))
        except KeyboardInterrupt:
            self.assertEqual(len(list(model.generate(PROMPT, max_tokens=4))), 4)

    def test_load(self) -> None:
        context = self.context()
        plan = context.plan(context.open(MODEL), n_ctx=64)
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            while True:
                context.load(plan).close()
        self.ended()
        # Nor is it lost while a model ends because nobody refers to it.
        for after in (0.03, 0.04, 0.05):
            self.interrupt_soon(after)
            with self.assertRaises(KeyboardInterrupt):
                while True:
                    context.load(plan)

    def test_in_a_callback_of_the_host(self) -> None:
        model = self.model()
        self.interrupt_soon()
        with self.assertRaises(KeyboardInterrupt):
            model.complete(PROMPT, on_piece=lambda token, piece: time.sleep(30))
        self.ended()

    def test_a_handler_of_the_host_is_left_alone(self) -> None:
        model = self.model(n_ctx=512)
        seen: List[int] = []
        signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
        self.interrupt_soon(0.01)
        while not seen:
            list(model.generate(PROMPT, max_tokens=100, ignore_eog=True))
        self.assertEqual(seen, [signal.SIGINT])
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_another_wakeup_descriptor_is_told(self) -> None:
        model = self.model(n_ctx=512)
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        self.addCleanup(os.close, reads)
        self.addCleanup(os.close, writes)
        signal.set_wakeup_fd(writes)
        try:
            self.interrupt_soon()
            with self.assertRaises(KeyboardInterrupt):
                while True:
                    list(model.generate(PROMPT, max_tokens=100, ignore_eog=True))
            self.assertEqual(os.read(reads, 1), bytes([signal.SIGINT]))
        finally:
            self.assertEqual(signal.set_wakeup_fd(-1), writes)

    def test_a_child_after_a_fork(self) -> None:
        code = f"""
import os, rekindle
model = rekindle.load({str(MODEL)!r}, "cpu", 2, n_ctx=32)
text = "".join(model.generate({PROMPT!r}, max_tokens=4))
child = os.fork()
if child == 0:
    try:
        model.decode([5])
    except rekindle.ClosedError:
        # What was there before belongs to the parent; a child makes its own.
        own = rekindle.load({str(MODEL)!r}, "cpu", 2, n_ctx=32)
        os._exit("".join(own.generate({PROMPT!r}, max_tokens=4)) != text)
    os._exit(2)
assert os.waitpid(child, 0)[1] == 0
assert "".join(model.generate({PROMPT!r}, max_tokens=4)) == text
"""
        done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
