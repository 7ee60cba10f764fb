"""Writing of text by a model: as an iterator, several texts at once, and in one call with drafts."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

from . import _abi, _callbacks
from ._base import ModelBase
from ._library import lib
from ._values import i32, sized, text_at, u32
from .enums import StopReason
from .generation import Generation, Pieces, Prompt, put_prompt, step
from .info import StepResult

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .generation import GenerationOptions
    from .sampler import Sampler


@dataclass(frozen=True)
class Completion:
    """The outcome of Model.complete."""

    text: str
    tokens: List[int]
    #: Tokens of the prompt.
    n_prompt: int
    stop: StopReason


class Writing(ModelBase):
    """The part of Model that writes."""

    def generate(self: Any, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Pieces:
        """Writes a text, piece by piece:

            for piece in model.generate("And God said", max_tokens=40):
                print(piece, end="", flush=True)

        The options are those of GenerationOptions. Nothing is computed before the first piece is taken, and between
        two pieces the model is free for other calls. `stop` and `tokens` of the iterator tell how it ended.
        """
        return Pieces(Generation(self, prompt, **options))

    def start(self: Any, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Generation:
        """A generation that is stepped together with others; nothing is computed before a step."""
        return Generation(self, prompt, **options)

    def step(self: Any, generations: Sequence[Generation]) -> StepResult:
        """Computes one micro-batch for some generations of this model; see generation.step."""
        return step(self, generations)

    def complete(
        self,
        prompt: Prompt,
        *,
        seq: int = 0,
        sampler: Optional[Sampler] = None,
        max_tokens: int = 0,
        on_piece: Optional[_callbacks.OnPiece] = None,
        special: bool = True,
        parse_special: bool = False,
        ignore_eog: bool = False,
        all_drafts: bool = False,
    ) -> Completion:
        """Decodes a prompt behind what a sequence has, then samples and decodes token after token, in one call. A
        model that was planned with n_draft makes drafts here, and nowhere else.

        `on_piece` gets each token with the text that it completes; to return False stops. The sampler itself is used
        and goes on. Afterwards the sequence holds prompt and text without the last token: to go on, pass
        [completion.tokens[-1]] as the next prompt. BOS is added only if the sequence is empty. `all_drafts` makes
        drafts even while they lose time.

        The errors are those of decode. ContextFullError: the prompt finds no room, and nothing changed.
        """
        keep: List[Any] = []
        params, result = sized(_abi.rekindle_generate_params), sized(_abi.rekindle_generate_result)
        params.seq_id, params.max_tokens = i32(seq, "seq"), u32(max_tokens, "max_tokens")
        put_prompt(params, prompt, keep)
        flags = {
            _abi.REKINDLE_GENERATE_NO_SPECIAL: not special,
            _abi.REKINDLE_GENERATE_PARSE_SPECIAL: parse_special,
            _abi.REKINDLE_GENERATE_IGNORE_EOG: ignore_eog,
            _abi.REKINDLE_GENERATE_ALL_DRAFTS: all_drafts,
        }
        params.flags = sum(flag for flag, wanted in flags.items() if wanted)
        texts: List[str] = []
        tokens: List[int] = []

        def call(_: Any, token: int, piece: Optional[int], length: int) -> int:
            def take() -> object:
                text = text_at(piece, length)
                texts.append(text)
                if token >= 0:
                    tokens.append(token)
                return on_piece(token, text) if on_piece else None

            return _callbacks.guarded(take)

        callback = _abi.rekindle_piece_fn(call)
        handle = None if sampler is None else sampler._handle
        self._write(lib.rekindle_generate, handle, ctypes.byref(params), callback, None, ctypes.byref(result))
        return Completion("".join(texts), tokens, result.n_prompt, StopReason(result.stop))
