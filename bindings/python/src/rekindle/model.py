"""Models: loading, decoding, rows of logits, memory, counters, cancelling."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Union

from . import _abi, _callbacks, _interrupt
from ._handle import created
from ._library import lib
from ._rows import held, owned, row
from ._sequences import Sequences
from ._values import Path, array_from, i32, int32s, member, read, sized, u32
from ._writing import Writing
from .enums import OnOom
from .errors import check, invalid
from .info import Memory, ModelInfo, Perf
from .plan import Plan
from .vocab import Vocab

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._rows import Row
    from .context import Context
    from .options import PlanOptions


class Model(Writing, Sequences):
    """A loaded model with its KV cache.

    What only reads may run at the same time from several threads; of the calls that change it one runs, and another
    gets BusyError. cancel() works from any thread. Closing it gives its memory back.
    """

    @classmethod
    def load(
        cls,
        context: Context,
        plan: Plan,
        progress: Optional[_callbacks.Progress] = None,
        *,
        check_tensors: bool = False,
        mlock: bool = False,
        on_oom: Union[OnOom, str] = OnOom.FAIL,
        cuda_graphs: bool = True,
    ) -> Model:
        """Loads a plan: allocates just the bytes that it says and fills them. The model needs neither context, file
        nor plan any more.

        `progress` gets the share that is done, 0 to 1; to return False, or Ctrl-C, cancels. `check_tensors` refuses
        weights that are no finite numbers. `mlock` keeps all from being swapped out. `on_oom`: what to do if a CUDA
        device has less memory than it reported, fail or replan. `cuda_graphs` records and replays short steps.

        NotFitError: the plan does not fit. OutOfMemoryError: other programs have taken the memory since. DeviceError: a
        layer is on a described device, or a device failed. CancelledError. In all these cases nothing is left behind.
        """
        params = sized(_abi.rekindle_load_params)
        params.check_tensors, params.mlock = int(check_tensors), int(mlock)
        params.on_oom, params.no_cuda_graphs = member(OnOom, on_oom, "on_oom"), int(not cuda_graphs)
        params.progress = _callbacks.progress(progress)

        def load(*arguments: Any) -> int:
            return _interrupt.interruptible(None, lib.rekindle_load, *arguments)

        handle = created(lib.rekindle_model_destroy, load, context._handle, plan._handle, ctypes.byref(params))
        return cls(handle, context._keep + plan._keep)

    @property
    def info(self) -> ModelInfo:
        """What the model is, and the sizes that it was loaded with."""
        return ModelInfo.of(read(_abi.rekindle_model_info, lib.rekindle_model_get_info, self._handle))

    @property
    def plan(self) -> Plan:
        """The plan that the model was loaded by: the one that was given, or the one that on_oom led to."""
        return Plan._of(created(lib.rekindle_plan_destroy, lib.rekindle_model_plan, self._handle), self._keep)

    @property
    def vocab(self) -> Vocab:
        """The model's vocabulary, which outlives it. UnsupportedError: its tokeniser is not known."""
        return Vocab(created(lib.rekindle_vocab_destroy, lib.rekindle_model_vocab, self._handle), self._keep)

    def memory(self, device: int) -> Memory:
        """The bytes that the model asked a device of its context for: those of the plan, no more and no less."""
        return Memory.of(read(_abi.rekindle_memory, lib.rekindle_model_memory, self._handle, u32(device, "device")))

    @property
    def perf(self) -> Perf:
        """Counters since the load or the last reset; times in microseconds."""
        return Perf.of(read(_abi.rekindle_perf, lib.rekindle_model_get_perf, self._handle))

    def reset_perf(self) -> None:
        """Sets the counters to zero, except for the time of the load."""
        check(lib.rekindle_model_reset_perf(self._handle))

    def cancel(self) -> None:
        """Ends the decode, step or complete that runs at this moment with CancelledError. If none runs, it does
        nothing. It may be called from any thread and from callbacks."""
        check(lib.rekindle_cancel(self._handle))

    def set_draft(self, draft: Optional[Model]) -> None:
        """Sets the model that makes drafts for this one, which was planned with n_draft and draft_source="model"; None
        ends it. The text stays the same. Until then this model keeps the other one."""
        handle = self._handle
        check(lib.rekindle_model_set_draft(handle, None if draft is None else draft._handle))
        self._guests = [] if draft is None else [draft._keep]

    def decode(
        self,
        tokens: Sequence[int],
        *,
        seqs: Union[int, Sequence[int]] = 0,
        positions: Optional[Sequence[int]] = None,
        outputs: Optional[Sequence[Any]] = None,
    ) -> int:
        """Computes a batch of 1 to n_batch tokens and gives the number of rows that it left.

        `seqs` is the sequence of all tokens, or of each. Each sequence goes on at its end unless `positions` say
        otherwise. `outputs` tells for each token if its row of logits is wanted; by default the last of each sequence.

        If it fails, the KV cache is as it was. InvalidArgumentError names the field and index. ContextFullError,
        CancelledError, BusyError, DeviceError.
        """
        batch = sized(_abi.rekindle_batch)
        array, n = int32s(tokens, "tokens")
        batch.n_tokens, batch.tokens = n, array
        ids = [i32(seqs, "seqs")] * n if isinstance(seqs, int) else seqs
        keep: List[Any] = [array]
        for name, values in (
            ("seq_ids", None if seqs == 0 and isinstance(seqs, int) else ids),
            ("positions", positions),
        ):
            if values is not None:
                numbers, m = int32s(values, name)
                if m != n:
                    raise invalid(name, f"has {m} numbers for {n} tokens")
                keep.append(numbers)
                setattr(batch, name, numbers)
        if outputs is not None:
            wanted = [1 if wish else 0 for wish in outputs]
            if len(wanted) != n:
                raise invalid("outputs", f"has {len(wanted)} wishes for {n} tokens")
            keep.append((ctypes.c_uint8 * n)(*wanted))
            batch.outputs = keep[-1]
        self._write(lib.rekindle_decode, ctypes.byref(batch))
        return self.n_outputs

    @property
    def n_outputs(self) -> int:
        """The rows that the last decode left."""
        n = ctypes.c_uint32()
        check(lib.rekindle_n_outputs(self._handle, ctypes.byref(n)))
        return n.value

    def logits(self, row: int = 0, *, copy: bool = False) -> Row:
        """Row `row` of the logits, n_vocab floats in the order of the batch: an array of numpy if that is installed,
        else a memoryview.

        It is a read-only view of the model's memory, good until the next call that changes the model: a look at it
        raises StaleViewError after that (a memoryview is released, with ValueError). `copy` gives one that stays.
        """
        return self._row(lib.rekindle_logits, row, copy)

    def embeddings(self, row: int = 0, *, copy: bool = False) -> Row:
        """The hidden state behind row `row` of the logits, after the output norm, n_embd floats; with pooling the row
        of a token or a text, n_embd_out floats. It is a view as that of logits()."""
        return self._row(lib.rekindle_embeddings, row, copy)

    def _row(self, function: Any, index: int, copy: bool) -> Row:
        owner = self._owned()
        place, n = ctypes.POINTER(ctypes.c_float)(), ctypes.c_uint32()
        check(function(owner.handle, u32(index, "row"), ctypes.byref(place), ctypes.byref(n)))
        address = ctypes.cast(place, ctypes.c_void_p).value
        assert address is not None
        buffer = held(address, n.value, owner)
        # If another thread has closed the model before that, this raises; otherwise the memory stays.
        self._owned()
        result: Row = row(buffer, self._writes, copy)
        return result

    def pooled(self, seq: int, *, normalize: bool = False) -> Row:
        """What the last decode made of the text of a sequence, n_embd_out floats, copied; with a plan's pooling.
        `normalize` divides the row by its length."""
        flags = _abi.REKINDLE_POOLED_NORMALIZE if normalize else 0
        size = self.info.n_embd_out
        result: Row = owned(array_from(ctypes.c_float, size, lib.rekindle_pooled, self._handle, i32(seq, "seq"), flags))
        return result

    def embed(self, texts: Sequence[Union[str, Sequence[int]]], *, normalize: bool = True) -> List[Row]:
        """A row for each text, for a model that was planned with pooling mean, cls, last or rank. As many texts as
        sequences and n_batch allow go in one batch; sequences are emptied for it."""
        vocab, info = self.vocab, self.info
        lists = [vocab.tokenize(t, parse_special=False) if isinstance(t, str) else list(t) for t in texts]
        rows: List[Row] = []
        while len(rows) < len(lists):
            tokens: List[int] = []
            seqs: List[int] = []
            first = len(rows)
            for seq, text in enumerate(lists[first : first + info.n_seq_max]):
                if tokens and len(tokens) + len(text) > info.n_batch:
                    break
                tokens += text
                seqs += [seq] * len(text)
            self.seq_remove()
            self.decode(tokens, seqs=seqs)
            rows += [self.pooled(seq, normalize=normalize) for seq in range(seqs[-1] + 1)]
        return rows


def load(
    path: Path,
    devices: str = "auto",
    threads: int = 0,
    progress: Optional[_callbacks.Progress] = None,
    **options: Unpack[PlanOptions],
) -> Model:
    """Opens, plans and loads a file in one call, with the options of a plan. What is not given, the library decides.

    NotFitError: the model does not fit; Context.plan tells what would help.
    """
    from .context import Context

    with Context(devices, threads) as context, context.open(path) as file, context.plan(file, **options) as plan:
        return context.load(plan, progress)
