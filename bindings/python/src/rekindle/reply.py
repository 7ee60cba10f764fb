"""Replies read back: reasoning, content and calls of tools."""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Union

from . import _abi
from ._handle import Object, created
from ._library import lib
from ._values import i32, integer, put_text, sized, text_at, text_from, utf8
from .chat import Json, put_template
from .enums import ReplyKind
from .errors import check
from .file import json_of
from .grammar import Grammar

if TYPE_CHECKING:
    from .vocab import Vocab


@dataclass(frozen=True)
class ReplyEvent:
    """One thing that a reply says."""

    kind: ReplyKind
    #: The piece of reasoning, content or arguments, or the name of the tool that a call begins with.
    text: str
    #: The number of the call, counted from 0.
    index: int
    #: The call's id, where a call begins.
    id: str
    #: Where a call ends: its arguments are not whole.
    broken: bool


class Reply(Object):
    """A reader for one reply of a model. Push its text or its tokens, and take events between.

    Give what the prompt was rendered with (see chat.render), and best the prompt, whose end tells if the reply begins
    within reasoning. `tool_choice` is auto, none, required, or {"type": "function", "function": {"name": …}}. Without
    `tools` nothing is a call. `seed` makes the ids of calls that the model gives none; 0: others each time.
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        tools: Optional[Json] = None,
        variables: Optional[Json] = None,
        template_name: Optional[str] = None,
        template_text: Optional[str] = None,
        tool_choice: Optional[Union[str, Dict[str, Any]]] = None,
        prompt: Optional[str] = None,
        seed: int = 0,
    ) -> None:
        keep: List[Any] = []
        params = sized(_abi.rekindle_reply_params)
        shared = {
            "tools": tools,
            "variables": variables,
            "template_name": template_name,
            "template_text": template_text,
        }
        put_template(params, shared, keep)
        put_text(params, "tool_choice", None if tool_choice is None else json_of(tool_choice), keep)
        put_text(params, "prompt", prompt, keep)
        params.seed = integer(seed, ctypes.c_uint64, "seed")
        destroy = lib.rekindle_reply_destroy
        handle = created(destroy, lib.rekindle_reply_create, vocab._handle, ctypes.byref(params))
        super().__init__(handle, destroy, vocab._keep)
        self._event = sized(_abi.rekindle_reply_event)

    def push(self, text: str) -> None:
        """Reads a piece of text, which must show control tokens (Vocab.stream with show_special)."""
        data = utf8(text, "text")
        check(lib.rekindle_reply_push(self._handle, data, len(data)))

    def push_token(self, token: int) -> None:
        """Reads a token."""
        check(lib.rekindle_reply_push_token(self._handle, i32(token, "token")))

    def finish(self) -> None:
        """Tells that nothing follows, so that what waited for more text is read."""
        check(lib.rekindle_reply_finish(self._handle))

    def events(self) -> Iterator[ReplyEvent]:
        """The events that are known by now; after finish() the last one has the kind END."""
        event = self._event
        while True:
            check(lib.rekindle_reply_next(self._handle, ctypes.byref(event)))
            kind = ReplyKind(event.kind)
            if kind == ReplyKind.NONE:
                return
            text, name = text_at(event.text, event.text_len), text_at(event.id, event.id_len)
            yield ReplyEvent(kind, text, event.index, name, bool(event.broken))
            if kind == ReplyKind.END:
                return

    def grammar(self, *, one_call: bool = False) -> Grammar:
        """The grammar that holds the model to calls of the tools as it writes them and as this reader reads them; give
        it to the generation that the reply is read from. With tool_choice auto it waits until the model opens a call;
        with required, or a tool's name, it holds the reply from its beginning. `one_call` allows one call at most.

        InvalidArgumentError: there are no tools. UnsupportedError: the template does not tell how calls are written,
        or a schema has what cannot be held; the message names the tool.
        """
        flags = _abi.REKINDLE_REPLY_ONE_CALL if one_call else 0
        destroy = lib.rekindle_grammar_destroy
        return Grammar._of(created(destroy, lib.rekindle_reply_grammar, self._handle, flags), self._keep)

    @property
    def message(self) -> Dict[str, Any]:
        """All that was read so far as a message in the form of OpenAI's interface."""
        result: Dict[str, Any] = json.loads(text_from(lib.rekindle_reply_json, self._handle))
        return result

    @property
    def format(self) -> str:
        """The name of the format that the template told: plain, hermes, harmony, …"""
        return text_from(lib.rekindle_reply_format, self._handle)
