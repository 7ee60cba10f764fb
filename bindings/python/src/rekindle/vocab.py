"""Vocabularies: text becomes tokens and tokens become text, all at once or as they come."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

from . import _abi
from ._handle import Object, created
from ._library import lib
from ._values import array_from, bytes_from, i32, int32s, listed, read, text_from, utf8
from .info import TokenInfo, VocabInfo

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .chat import ChatOptions, Messages


def flags(special: bool, parse_special: bool) -> int:
    return (_abi.REKINDLE_TEXT_SPECIAL if special else 0) | (_abi.REKINDLE_TEXT_PARSE_SPECIAL if parse_special else 0)


class Vocab(Object):
    """A vocabulary with its tokeniser. It never changes, outlives its file and model, and all its methods may run at
    the same time."""

    def __init__(self, handle: int, keep: Tuple[Any, ...]) -> None:
        super().__init__(handle, lib.rekindle_vocab_destroy, keep)

    @property
    def info(self) -> VocabInfo:
        """The number of tokens, and the special ones; -1 where there is no such token."""
        return VocabInfo.of(read(_abi.rekindle_vocab_info, lib.rekindle_vocab_get_info, self._handle))

    def __len__(self) -> int:
        return self.info.n_tokens

    def __bool__(self) -> bool:
        return True

    def token(self, token: int) -> TokenInfo:
        """The use of a token, its score, and if it ends a generation."""
        function = lib.rekindle_vocab_get_token
        return TokenInfo.of(read(_abi.rekindle_token_info, function, self._handle, i32(token, "token")))

    def tokenize(self, text: str, *, special: bool = True, parse_special: bool = False) -> List[int]:
        """The tokens of a text. `special` adds BOS and EOS if the file wants them. `parse_special` reads the texts of
        control tokens as these tokens; never use it for text from strangers."""
        data = utf8(text, "text")
        chosen = flags(special, parse_special)
        return list(
            array_from(ctypes.c_int32, len(data) + 8, lib.rekindle_tokenize, self._handle, data, len(data), chosen)
        )

    def detokenize(self, tokens: Sequence[int], *, special: bool = True, show_special: bool = False) -> str:
        """The text of tokens; what is no UTF-8 becomes U+FFFD. `special` leaves BOS and EOS away again, `show_special`
        shows control tokens as their text."""
        return self.detokenize_bytes(tokens, special=special, show_special=show_special).decode("utf-8", "replace")

    def detokenize_bytes(self, tokens: Sequence[int], *, special: bool = True, show_special: bool = False) -> bytes:
        """The same as bytes, those of byte tokens as they are."""
        array, n = int32s(tokens, "tokens")
        return bytes_from(lib.rekindle_detokenize, self._handle, array, n, flags(special, show_special))

    def piece(self, token: int, *, show_special: bool = False) -> bytes:
        """The bytes that one token adds to a text. They may end inside a character; those of a Stream do not."""
        return bytes_from(lib.rekindle_token_piece, self._handle, i32(token, "token"), flags(False, show_special))

    def stream(self, *, show_special: bool = False) -> Stream:
        """Text from tokens as they come."""
        return Stream(self, show_special=show_special)

    @property
    def templates(self) -> List[str]:
        """The names of the file's chat templates; the default one is the first."""
        return listed(lib.rekindle_chat_template_name, self._handle)

    def template(self, name: Optional[str] = None) -> str:
        """The text of a chat template, by default the one without a name. NotFoundError: there is none."""
        data = None if name is None else utf8(name, "name")
        return text_from(lib.rekindle_chat_template, self._handle, data, len(data or b""))

    def render(self, messages: Messages, **options: Unpack[ChatOptions]) -> str:
        """The prompt for a conversation, made by the file's chat template; see chat.render."""
        from . import chat

        return chat.render(self, messages, **options)


class Stream(Object):
    """Makes text from tokens as they come, and never cuts a character. It outlives its vocabulary."""

    def __init__(self, vocab: Vocab, *, show_special: bool = False) -> None:
        destroy = lib.rekindle_stream_destroy
        handle = created(destroy, lib.rekindle_stream_create, vocab._handle, flags(False, show_special))
        super().__init__(handle, destroy, vocab._keep)

    def push(self, token: int) -> str:
        """Adds a token and gives the characters that are complete by now, often none."""
        return text_from(lib.rekindle_stream_push, self._handle, i32(token, "token"))

    def flush(self) -> str:
        """The rest, U+FFFD for a character that never came to its end. The stream is empty then."""
        return text_from(lib.rekindle_stream_flush, self._handle)
