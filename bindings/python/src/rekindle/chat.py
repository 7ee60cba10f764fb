"""Chat templates: a prompt is made from the messages of a conversation."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Optional, TypedDict, Union

from . import _abi
from ._library import lib
from ._values import integer, known, put_text, sized, text_from
from .errors import invalid
from .file import json_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .vocab import Vocab

Json = Union[str, Mapping[str, Any], List[Any]]


@dataclass(frozen=True)
class Message:
    """One message of a conversation. JSON may be given as text or as Python's values."""

    #: system, user, assistant, tool, or another role that the template knows.
    role: str
    #: None where there is none, as with an assistant that only calls tools.
    content: Optional[str] = None
    name: Optional[str] = None
    #: The model's thoughts before its answer.
    reasoning: Optional[str] = None
    #: The call that a tool's message answers.
    tool_call_id: Optional[str] = None
    #: The calls that the assistant made: [{"id", "type": "function", "function": {"name", "arguments"}}].
    tool_calls: Optional[Json] = None
    #: Further fields of the message, which win over those above: {"content": […]} for content in parts.
    fields: Optional[Json] = None


#: A conversation; messages may be mappings in the form of OpenAI's interface.
Messages = Iterable[Union[Message, Mapping[str, Any]]]


class ChatOptions(TypedDict, total=False):
    """How a prompt is rendered."""

    #: End the prompt with the beginning of the assistant's next message; True by default.
    generation_prompt: bool
    #: The tools that the model may call.
    tools: Optional[Json]
    #: Further variables of the template: {"enable_thinking": False}.
    variables: Optional[Json]
    #: The name of one of the file's templates.
    template_name: Optional[str]
    #: A Jinja template instead of the file's.
    template_text: Optional[str]
    #: The time for templates that write the date, in seconds since 1970 UTC; now by default.
    now: int


NAMES = [f.name for f in fields(Message)]


def message_of(value: Union[Message, Mapping[str, Any]]) -> Message:
    """A message of a mapping in the form of OpenAI's interface; what Message does not know goes into `fields`."""
    if isinstance(value, Message):
        return value
    known = {k: v for k, v in value.items() if k in NAMES and (k != "content" or v is None or isinstance(v, str))}
    rest = {k: v for k, v in value.items() if k not in known}
    if "role" not in known:
        raise invalid("role", "is missing in a message")
    if rest:
        if "fields" in known:
            raise invalid("fields", f"cannot stand beside {', '.join(rest)} in a message")
        known["fields"] = rest
    return Message(**known)


def chat_messages(messages: Messages, keep: List[Any]) -> Any:
    """An array of rekindle_chat_message."""
    listed = [message_of(m) for m in messages]
    array = (_abi.rekindle_chat_message * len(listed))()
    for struct, message in zip(array, listed):
        for name in NAMES:
            value = getattr(message, name)
            if name in ("tool_calls", "fields") and value is not None:
                value = json_of(value)
            put_text(struct, name, value, keep)
    return array


def put_template(struct: Any, options: Mapping[str, Any], keep: List[Any]) -> None:
    """The fields that chat_params and reply_params share."""
    for name in ("tools", "variables"):
        value = options.get(name)
        put_text(struct, name, None if value is None else json_of(value), keep)
    for name in ("template_name", "template_text"):
        put_text(struct, name, options.get(name), keep)


def render(vocab: Vocab, messages: Messages, **options: Unpack[ChatOptions]) -> str:
    """The prompt for a conversation, as the transformers library renders it.

    It holds the texts of special tokens, so generate with parse_special=True and special=False. A message with the
    text of a control token can end its own turn: a host that lets strangers write should refuse such messages.

    NotFoundError: the file has no template, or none of that name. InvalidArgumentError: the template refuses the
    messages. BadFileError: the template is bad or goes past a limit.
    """
    wishes = known(options, ChatOptions)
    keep: List[Any] = []
    params = sized(_abi.rekindle_chat_params)
    array = chat_messages(messages, keep)
    put_template(params, wishes, keep)
    params.flags = _abi.REKINDLE_CHAT_GENERATION_PROMPT if wishes.get("generation_prompt", True) else 0
    params.now = integer(wishes.get("now", 0), ctypes.c_int64, "now")
    return text_from(lib.rekindle_chat_render, vocab._handle, array, len(array), ctypes.byref(params))
