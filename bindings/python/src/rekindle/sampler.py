"""Samplers: a token chosen from a row of logits."""

from __future__ import annotations

import ctypes
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypedDict,
    Union,
)

from . import _abi
from ._callbacks import guarded
from ._handle import Object, created
from ._library import lib
from ._values import floats, i32, int32s, known, logprobs, member, put_numbers, sized, u32, utf8
from .enums import Distribution, Step
from .errors import check, invalid
from .info import Logprob

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .model import Model
    from .vocab import Vocab


class SamplerOptions(TypedDict, total=False):
    """The settings of a sampler. What is not given is off, or the default that is named.

    The order: logit_bias, the steps (by default penalties, DRY, top_n_sigma, top_k, typical_p, top_p, min_p, XTC,
    temperature), the draw.
    """

    #: 0, the default, is greedy: always the most likely token of those that the other steps leave.
    temperature: float
    #: Leaves only the most likely tokens: so many; those that together have this probability; those with this share of
    #: the likeliest one's.
    top_k: int
    top_p: float
    min_p: float
    #: Divides the positive logits of recent tokens and multiplies the negative ones; 1: off.
    repeat_penalty: float
    #: Taken off a recent token's logit: the first for each time that it occurs, the second once.
    frequency_penalty: float
    presence_penalty: float
    #: The number of accepted tokens that are recent; 64.
    penalty_last_n: int
    #: The same seed gives the same draws.
    seed: int
    #: Added to tokens' logits; -inf forbids a token.
    logit_bias: Mapping[int, float]
    #: DRY: a token that would make a repetition longer loses dry_multiplier * dry_base^(n - dry_allowed_length).
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_last_n: int
    #: Texts, or sequences of tokens, that end a repetition.
    dry_breakers: Sequence[str]
    dry_breaker_tokens: Sequence[Sequence[int]]
    #: For DRY's texts and the infill step.
    vocab: Optional[Vocab]
    typical_p: float
    top_n_sigma: float
    xtc_probability: float
    xtc_threshold: float
    dynatemp_range: float
    dynatemp_exponent: float
    #: 1 or 2: mirostat of that version, which takes the place of the cuts.
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    adaptive_target: float
    adaptive_decay: float
    #: typical_p, top_p, min_p and XTC leave at least so many tokens.
    min_keep: int
    #: The steps in the order in which they go; those that are missing do not go.
    steps: Sequence[Union[Step, str]]
    #: The number of most likely tokens for which logprobs() tells; 0: it tells nothing.
    n_logprobs: int
    #: A step of the host's own, where `steps` has Step.HOST. It gets the candidates and changes them in place.
    host_step: Callable[[Candidates], None]


class Candidates:
    """The tokens that may still be drawn, in a step of the host's own. They go back to the sampler at its end.

    An entry has `token`, `logit` and `p`. A step may set logits (-inf forbids a token), exchange entries, and keep()
    only the first ones.
    """

    def __init__(self, address: int, n: int) -> None:
        # A copy, since the library's own is gone after the step, and a host may keep entries.
        self._array = (_abi.rekindle_candidate * n)()
        ctypes.memmove(self._array, address, ctypes.sizeof(self._array))
        self._address = address
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int) -> Any:
        if not -self._n <= index < self._n:
            raise IndexError(index)
        return self._array[index % self._n]

    def __iter__(self) -> Iterator[Any]:
        return (self._array[i] for i in range(self._n))

    def keep(self, n: int) -> None:
        """Leaves only the first `n` candidates."""
        if not 0 < n <= self._n:
            raise invalid("n", f"is {n}, expected 1 to {self._n}")
        self._n = n

    def sort(self) -> None:
        """Brings the likeliest to the front."""
        entries = sorted(((c.token, c.logit, c.p) for c in self), key=lambda c: -c[1])
        for place, (token, logit, p) in zip(self, entries):
            place.token, place.logit, place.p = token, logit, p

    @property
    def array(self) -> Any:
        """The candidates as an array of numpy with the fields token, logit and p, which may be changed in place."""
        import numpy

        return numpy.ctypeslib.as_array(self._array)[: self._n]

    def _give_back(self) -> int:
        """Writes the candidates to where they came from, and gives the number of those that are left."""
        ctypes.memmove(self._address, self._array, self._n * ctypes.sizeof(_abi.rekindle_candidate))
        return self._n


def host_callback(step: Callable[[Candidates], None]) -> Any:
    """A rekindle_candidates_fn."""

    def call(_: Any, address: Any, n: Any) -> int:
        def run() -> None:
            candidates = Candidates(ctypes.addressof(address.contents), n[0])
            step(candidates)
            n[0] = candidates._give_back()

        return guarded(run)

    return _abi.rekindle_candidates_fn(call)


class Sampler(Object):
    """Chooses tokens. It belongs to one conversation; a second call at the same time gets BusyError.

    `Sampler()` is greedy; Sampler(temperature=0.7, top_k=40, seed=4) draws. The settings are those of SamplerOptions.
    """

    def __init__(self, **options: Unpack[SamplerOptions]) -> None:
        params, keep = sampler_params(options)
        handle = created(lib.rekindle_sampler_destroy, lib.rekindle_sampler_create, ctypes.byref(params))
        # The rest was copied.
        super().__init__(handle, lib.rekindle_sampler_destroy, (params.host_step, keep[:1]) if params.host_step else ())

    def sample(self, model: Model, row: int = 0) -> int:
        """Chooses a token from a row of a model's logits, without accepting it."""
        token = ctypes.c_int32()
        check(lib.rekindle_sampler_sample(self._handle, model._handle, u32(row, "row"), ctypes.byref(token)))
        return token.value

    def sample_logits(self, logits: Iterable[float]) -> int:
        """Chooses a token from logits of the host's, without accepting it."""
        token, (array, n) = ctypes.c_int32(), floats(logits, "logits")
        check(lib.rekindle_sampler_sample_logits(self._handle, array, n, ctypes.byref(token)))
        return token.value

    def accept(self, token: int) -> None:
        """Tells that a token was used, for the penalties."""
        check(lib.rekindle_sampler_accept(self._handle, i32(token, "token")))

    def reset(self) -> None:
        """Forgets the accepted tokens and starts the seed's draws over."""
        check(lib.rekindle_sampler_reset(self._handle))

    def copy(self) -> Sampler:
        """A sampler with the same accepted tokens and the same place in the seed's draws."""
        other = Sampler.__new__(Sampler)
        handle = created(lib.rekindle_sampler_destroy, lib.rekindle_sampler_copy, self._handle)
        Object.__init__(other, handle, lib.rekindle_sampler_destroy, self._keep)
        return other

    def logprobs(self, distribution: Union[Distribution, str] = Distribution.MODEL) -> Tuple[Logprob, List[Logprob]]:
        """The natural logarithm of the probability of the last sampled token, and those of the n_logprobs likeliest
        tokens. NotFoundError: n_logprobs is 0, or nothing was sampled."""
        number = member(Distribution, distribution, "distribution")
        chosen, likeliest = logprobs(lib.rekindle_sampler_logprobs, self._handle, number)
        return Logprob.of(chosen), [Logprob.of(x) for x in likeliest]


def sampler_params(options: Mapping[str, Any]) -> Tuple[Any, List[Any]]:
    """A rekindle_sampler_params, and what must live as long as it is used."""
    rest = known(options, SamplerOptions)
    params = sized(_abi.rekindle_sampler_params)
    keep: List[Any] = []
    if "host_step" in rest:
        params.host_step = host_callback(rest.pop("host_step"))
    if "vocab" in rest:
        keep.append(rest["vocab"])
        params.vocab = rest.pop("vocab")._handle
    if "logit_bias" in rest:
        biases = rest.pop("logit_bias").items()
        pairs = [_abi.rekindle_logit_bias(i32(t, "logit_bias"), float(b)) for t, b in biases]
        keep.append((_abi.rekindle_logit_bias * len(pairs))(*pairs))
        params.logit_bias, params.n_logit_bias = keep[-1], len(pairs)
    if "dry_breakers" in rest:
        params.dry_breakers, params.n_dry_breakers = texts_of(rest.pop("dry_breakers"), "dry_breakers", keep)
    if "dry_breaker_tokens" in rest:
        flat = [t for tokens in rest.pop("dry_breaker_tokens") for t in [*tokens, -1]]
        array, params.n_dry_breaker_tokens = int32s(flat, "dry_breaker_tokens")
        keep.append(array)
        params.dry_breaker_tokens = array
    if "steps" in rest:
        array, params.n_steps = int32s([member(Step, s, "steps") for s in rest.pop("steps")], "steps")
        keep.append(array)
        params.steps = array
    put_numbers(params, rest, {})
    return params, keep


def texts_of(values: Sequence[str], name: str, keep: List[Any]) -> Tuple[Any, int]:
    """An array of rekindle_text and its length."""
    if isinstance(values, (str, bytes)):
        raise invalid(name, "is one text, expected a list of texts")
    data = [utf8(v, name) for v in values]
    pointers = [ctypes.cast(ctypes.c_char_p(d), ctypes.c_void_p).value for d in data]
    array = (_abi.rekindle_text * len(data))(*(_abi.rekindle_text(p, len(d)) for p, d in zip(pointers, data)))
    keep += [data, array]
    return array, len(data)
