"""The wishes that a host may have, by keyword. All are optional; what is not given, the library decides."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, List, Mapping, Optional, Tuple, TypedDict, Union

from . import _abi
from ._values import integer, known, put_numbers, put_text, sized
from .enums import DraftSource, Estimator, KvType, Objective, Pooling, Weights


@dataclass(frozen=True)
class Limit:
    """A limit on the use of one device: bytes to leave free there, and the most layers that it may have."""

    reserve_bytes: int = 0
    #: None: as many as fit. 0: none at all.
    max_layers: Optional[int] = None


class PlanOptions(TypedDict, total=False):
    """The wishes for a plan. Enumerations may be given by name ("q8_0"); sizes are in tokens, memory in bytes."""

    #: Tokens that the KV cache holds, of all sequences together; by default what the model was trained for, or less.
    n_ctx: int
    #: Sequences, with ids from 0; 1 by default, at most 256.
    n_seq_max: int
    #: Rows of logits that one decode may leave; by default one per sequence.
    n_outputs_max: int
    #: The most tokens of one decode, and of one pass through the layers.
    n_batch: int
    n_ubatch: int
    #: The types of the KV cache: of both, of keys, of values.
    kv: Union[KvType, str]
    type_k: Union[KvType, str]
    type_v: Union[KvType, str]
    weights: Union[Weights, str]
    objective: Union[Objective, str]
    #: Bytes to leave free on each device.
    reserve_bytes: int
    estimator: Union[Estimator, str]
    #: Limits by the device's place in the context.
    limits: Mapping[int, Limit]
    #: The family estimator's factor on compute buffers.
    margin: float
    #: Checkpoints of recurrent states, of all sequences together; 0 means none, None four per sequence.
    n_checkpoints: Optional[int]
    #: Tokens that are guessed at most before the model checks them; Model.complete does so.
    n_draft: int
    draft_source: Union[DraftSource, str]
    #: The rows that a batch leaves in place of logits.
    pooling: Union[Pooling, str]
    #: Places of tensors by patterns of their names: "blk\\.[0-3]\\.=CUDA1".
    placements: str
    #: Dies that compute each layer together, 2 to 4; 0: a layer is one device's, None: the planner chooses.
    n_group: Optional[int]


ENUMS = {
    "type_k": KvType,
    "type_v": KvType,
    "weights": Weights,
    "objective": Objective,
    "estimator": Estimator,
    "draft_source": DraftSource,
    "pooling": Pooling,
}


def plan_params(options: Mapping[str, Any]) -> Tuple[Any, List[Any]]:
    """A rekindle_plan_params, and what must live as long as it is used."""
    rest = known(options, PlanOptions)
    params = sized(_abi.rekindle_plan_params)
    keep: List[Any] = []
    put_text(params, "placements", rest.pop("placements", None), keep)
    limits: Mapping[int, Limit] = rest.pop("limits", {})
    if limits:
        array = (_abi.rekindle_device_limit * len(limits))(*(device_limit(d, x) for d, x in limits.items()))
        keep.append(array)
        params.limits, params.n_limits = array, len(limits)
    if "kv" in rest:
        kv = rest.pop("kv")
        rest.setdefault("type_k", kv)
        rest.setdefault("type_v", kv)
    if rest.get("n_checkpoints") == 0:
        rest["n_checkpoints"] = _abi.REKINDLE_CHECKPOINTS_NONE
    if rest.get("n_group", 0) is None:
        rest["n_group"] = _abi.REKINDLE_GROUP_ANY
    put_numbers(params, rest, ENUMS)
    return params, keep


def device_limit(device: int, limit: Limit) -> Any:
    excluded = limit.max_layers == 0
    return _abi.rekindle_device_limit(
        device=integer(device, ctypes.c_uint32, "device"),
        flags=_abi.REKINDLE_LIMIT_EXCLUDE if excluded else 0,
        max_layers=integer(limit.max_layers or 0, ctypes.c_uint32, "max_layers"),
        reserve_bytes=integer(limit.reserve_bytes, ctypes.c_uint64, "reserve_bytes"),
    )
