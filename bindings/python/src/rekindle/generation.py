"""Generations: texts that a model writes step by step, several at once, whose pieces the host pulls."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, Optional, Sequence, Tuple, Type, TypedDict, Union

from . import _abi
from ._handle import Object, created, handles
from ._library import lib
from ._values import floats, int32s, known, logprobs, member, put_text, read, sized, text_at, texts, u32
from .enums import Distribution, EventKind, Status, StopReason
from .errors import BusyError, check, invalid
from .info import GenerationInfo, Logprob, StepResult

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .grammar import Grammar
    from .model import Model
    from .sampler import Sampler

#: A text, or its tokens.
Prompt = Union[str, Sequence[int]]


class GenerationOptions(TypedDict, total=False):
    """The wishes for a generation."""

    #: The most tokens; 0, the default, means that something else ends it.
    max_tokens: int
    #: Its settings and its state are copied; greedy by default.
    sampler: Optional[Sampler]
    #: Texts that end the generation; nothing of them is shown.
    stop: Sequence[str]
    #: The texts that it may write; copied as it is now.
    grammar: Optional[Grammar]
    #: The scales of the model's adapters, in their order.
    adapters: Sequence[float]
    #: Add BOS to a prompt that is text, if the file wants it; True by default.
    special: bool
    #: Read the texts of control tokens in the prompt, as chat templates write them. Never for text from strangers.
    parse_special: bool
    #: Go on past tokens that end a generation.
    ignore_eog: bool
    #: Keep the sequence until the generation is closed, also after its end.
    pin: bool
    #: Read the whole prompt, even if a sequence has its beginning already.
    no_reuse: bool


@dataclass(frozen=True)
class Event:
    """One thing that a generation has to tell."""

    #: The token; None at the end.
    token: Optional[int]
    #: The text that can be shown by now: whole characters, often none.
    text: str
    #: The reason at the end, else None.
    stop: Optional[StopReason]


class Generation(Object):
    """A text that a model writes. It is stepped by step() together with others, or steps itself when it is iterated.

    It gets a sequence of the model at its first step, and goes on from the longest beginning of its prompt that a
    sequence has already. Closing it leaves that sequence to others. One call at a time may use it; a second one gets
    BusyError.
    """

    def __init__(self, model: Model, prompt: Prompt, **options: Unpack[GenerationOptions]) -> None:
        params, keep = generation_params(prompt, options)
        function, destroy = lib.rekindle_generation_create, lib.rekindle_generation_destroy
        handle = created(destroy, function, model._handle, ctypes.byref(params))
        sampler = options.get("sampler")
        # A step of the host's own in the sampler may be called, and the model's log.
        super().__init__(handle, destroy, model._keep + (sampler._keep if sampler else ()))
        self.model = model
        self._event = sized(_abi.rekindle_event)
        del keep

    def next(self) -> Optional[Event]:
        """Takes the next event; None if there is nothing now. An error of this generation alone is raised with the
        event that ends it, so nothing follows."""
        event = self._event
        check(lib.rekindle_generation_next(self._handle, ctypes.byref(event)))
        if event.kind == EventKind.NONE:
            return None
        text = text_at(event.text, event.text_len)
        if event.kind == EventKind.END:
            return Event(None, text, StopReason(event.stop))
        return Event(event.token, text, None)

    def events(self) -> Iterator[Event]:
        """All events to the end, stepping the model whenever there is none. The last one has `stop`.

        BusyError: every sequence is in use, by the host (seq_remove and seq_leave free it) or by other generations.
        """
        idle = 0
        while True:
            event = self.next()
            if event is not None:
                yield event
                if event.stop is not None:
                    return
                continue
            result = step(self.model, [self])
            # A step without tokens may give cells back, and the next one goes on.
            idle = idle + 1 if result.n_tokens == 0 and result.n_waiting else 0
            if idle > 2:
                raise BusyError(Status.BUSY, "the generation waits for a sequence, and all are in use")

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def cancel(self) -> None:
        """Ends it with StopReason.CANCELLED at the next step that names it. It may be called from any thread."""
        check(lib.rekindle_generation_cancel(self._handle))

    @property
    def info(self) -> GenerationInfo:
        """Its phase, its sequence, and how many tokens were read, reused and generated."""
        return GenerationInfo.of(read(_abi.rekindle_generation_info, lib.rekindle_generation_get_info, self._handle))

    def logprobs(self, distribution: Union[Distribution, str] = Distribution.MODEL) -> Tuple[Logprob, List[Logprob]]:
        """How probable the token of the last event was; see Sampler.logprobs."""
        number = member(Distribution, distribution, "distribution")
        chosen, likeliest = logprobs(lib.rekindle_generation_logprobs, self._handle, number)
        return Logprob.of(chosen), [Logprob.of(x) for x in likeliest]


def step(model: Model, generations: Sequence[Generation]) -> StepResult:
    """Computes one micro-batch for some generations of a model: a token of each that talks, and pieces of the prompts
    of those that read. Take what came with Generation.next.

    After an error no generation has changed, and the step can be taken again.
    """
    result = sized(_abi.rekindle_step_result)
    array = handles(generations)
    model._write(lib.rekindle_step, array, len(generations), ctypes.byref(result))
    return StepResult.of(result)


class Pieces(Iterator[str]):
    """The pieces of one text as they come: what Model.generate gives. `stop` tells the reason after the end.

    Closing it, or dropping it, ends the generation.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        #: The reason after the end, None before.
        self.stop: Optional[StopReason] = None
        #: The tokens that have come so far.
        self.tokens: List[int] = []
        self._events = generation.events()

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> str:
        try:
            for event in self._events:
                if event.token is not None:
                    self.tokens.append(event.token)
                if event.stop is not None:
                    self.stop = event.stop
                    self.generation.close()
                if event.text:
                    return event.text
        except BaseException:
            # It cannot go on, and its sequence shall serve the next one.
            self.generation.close()
            raise
        raise StopIteration

    def cancel(self) -> None:
        """Ends the text at its next token. It may be called from any thread."""
        self.generation.cancel()

    def close(self) -> None:
        """Ends the generation now."""
        self.generation.close()

    def __enter__(self) -> Pieces:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


FLAGS = {
    "parse_special": _abi.REKINDLE_GENERATION_PARSE_SPECIAL,
    "ignore_eog": _abi.REKINDLE_GENERATION_IGNORE_EOG,
    "pin": _abi.REKINDLE_GENERATION_PIN,
    "no_reuse": _abi.REKINDLE_GENERATION_NO_REUSE,
}


def put_prompt(params: Any, prompt: Prompt, keep: List[Any]) -> None:
    """The prompt of generate's and of generations' parameters."""
    if isinstance(prompt, (str, bytes)):
        put_text(params, "prompt", prompt, keep)
    else:
        array, params.n_prompt_tokens = int32s(prompt, "prompt")
        if not params.n_prompt_tokens:
            raise invalid("prompt", "has no tokens")
        keep.append(array)
        params.prompt_tokens = array


def generation_params(prompt: Prompt, options: Mapping[str, Any]) -> Tuple[Any, List[Any]]:
    """A rekindle_generation_params, and what must live as long as it is used."""
    options = known(options, GenerationOptions)
    params = sized(_abi.rekindle_generation_params)
    keep: List[Any] = []
    put_prompt(params, prompt, keep)
    params.flags = sum(bit for name, bit in FLAGS.items() if options.get(name))
    if not options.get("special", True):
        params.flags |= _abi.REKINDLE_GENERATION_NO_SPECIAL
    params.max_tokens = u32(options.get("max_tokens", 0), "max_tokens")
    for name in ("sampler", "grammar"):
        if options.get(name) is not None:
            setattr(params, name, options[name]._handle)
    if options.get("stop"):
        params.stop_texts, params.stop_text_lens, params.n_stop_texts = texts(options["stop"], "stop")
    if options.get("adapters"):
        params.adapter_scales, params.n_adapter_scales = floats(options["adapters"], "adapters")
    return params, keep
