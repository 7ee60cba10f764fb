"""Grammars: which tokens a text may go on with."""

from __future__ import annotations

import ctypes
from typing import Any, List, Optional, Sequence, Tuple, Union

from . import _abi
from ._handle import Object, created
from ._library import lib
from ._values import array_from, i32, int32s, member, put_text, sized, utf8
from .enums import GrammarKind
from .errors import check
from .file import json_of
from .info import GrammarVerdict
from .sampler import texts_of
from .vocab import Vocab


class Grammar(Object):
    """A grammar for the tokens of a vocabulary, and how far one text has come in it.

    `kind` is json_schema (whose text may be Python's values), regex, lark or gbnf. With `triggers` (texts or tokens)
    it waits: everything is allowed until one of them was written. `from_trigger` means that it describes the text from
    the trigger on; otherwise that behind it. `start` names the rule to begin with. It outlives the vocabulary.

    A text from a stranger may be compiled; that takes seconds and some hundred MiB at worst. InvalidArgumentError: it
    is no such grammar, and the message says where. UnsupportedError: a keyword is not supported, or it is too complex.
    """

    def __init__(
        self,
        vocab: Vocab,
        kind: Union[GrammarKind, str],
        text: Any,
        *,
        start: Optional[str] = None,
        triggers: Sequence[Union[str, int]] = (),
        from_trigger: bool = False,
    ) -> None:
        keep: List[Any] = []
        params = sized(_abi.rekindle_grammar_params)
        params.flags = _abi.REKINDLE_GRAMMAR_FROM_TRIGGER if from_trigger else 0
        put_text(params, "start", start, keep)
        words = [t for t in triggers if isinstance(t, str)]
        params.trigger_texts, params.n_trigger_texts = texts_of(words, "triggers", keep)
        tokens, params.n_trigger_tokens = int32s([t for t in triggers if not isinstance(t, str)], "triggers")
        params.trigger_tokens = tokens
        number, data = member(GrammarKind, kind, "kind"), utf8(json_of(text), "text")
        function, destroy = lib.rekindle_grammar_create, lib.rekindle_grammar_destroy
        args = vocab._handle, number, data, len(data), ctypes.byref(params)
        super().__init__(created(destroy, function, *args), destroy, vocab._keep)

    @classmethod
    def _of(cls, handle: int, keep: Tuple[Any, ...]) -> Grammar:
        grammar = cls.__new__(cls)
        Object.__init__(grammar, handle, lib.rekindle_grammar_destroy, keep)
        return grammar

    def copy(self) -> Grammar:
        """The grammar as it stands; the copy shares what was compiled and goes its own way from here."""
        handle = created(lib.rekindle_grammar_destroy, lib.rekindle_grammar_copy, self._handle)
        return Grammar._of(handle, self._keep)

    def reset(self) -> None:
        """Goes back to the beginning: nothing was written, and triggers are waited for again."""
        check(lib.rekindle_grammar_reset(self._handle))

    def mask(self) -> memoryview:
        """Which tokens may come next: words of 32 bits ("I"), bit `id % 32` of word `id // 32` for token `id`."""
        words = array_from(ctypes.c_uint32, 8192, lib.rekindle_grammar_mask, self._handle)
        return memoryview(bytes(words)).cast("I")

    def allowed(self) -> List[int]:
        """The tokens that may come next."""
        return [32 * i + b for i, word in enumerate(self.mask()) if word for b in range(32) if word >> b & 1]

    def accept(self, token: int) -> None:
        """Goes on by a token, which was written. InvalidArgumentError: it is not allowed here; nothing changed."""
        check(lib.rekindle_grammar_accept(self._handle, i32(token, "token")))

    def forced(self) -> List[int]:
        """The tokens that must come next because there is one way to go on; they are not accepted yet."""
        return list(array_from(ctypes.c_int32, 64, lib.rekindle_grammar_forced, self._handle))

    @property
    def is_complete(self) -> bool:
        """True if the text may end here."""
        complete = ctypes.c_uint32()
        check(lib.rekindle_grammar_is_complete(self._handle, ctypes.byref(complete)))
        return bool(complete.value)

    def check(self, text: Union[str, bytes]) -> GrammarVerdict:
        """Holds a text against the grammar, from its beginning and without triggers."""
        data, verdict = utf8(text, "text"), sized(_abi.rekindle_grammar_verdict)
        check(lib.rekindle_grammar_check(self._handle, data, len(data), ctypes.byref(verdict)))
        return GrammarVerdict.of(verdict)
