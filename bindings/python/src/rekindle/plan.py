"""Plans: the place of each layer, and the exact number of bytes that each device will be asked for."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Union

from . import _abi
from ._handle import Object, created
from ._library import lib
from ._values import listed, member, read, text_from, u32
from .enums import KvType, Question, Status
from .errors import NotFitError, check
from .info import PlanDevice, PlanLayer, PlanSummary
from .options import plan_params

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .context import Context
    from .file import File
    from .options import PlanOptions


def check_plan(status: int) -> None:
    """A plan that does not fit is a plan, too."""
    check(Status.OK if status == Status.NOT_FIT else status)


class Plan(Object):
    """A plan. It never changes, and all its methods may run at the same time."""

    @classmethod
    def make(cls, context: Context, file: File, **options: Unpack[PlanOptions]) -> Plan:
        """Plans a file on a context's devices and allocates nothing there. `options` are those of PlanOptions.

        A plan that does not fit is no error: `fits` is False, and `remedies` tell what would help. It counts on the
        memory that was free when the context was created.
        """
        params, keep = plan_params(options)
        function, destroy = lib.rekindle_plan, lib.rekindle_plan_destroy
        args = context._handle, file._handle, ctypes.byref(params)
        handle = created(destroy, function, *args, check=check_plan)
        del keep
        return cls(handle, destroy, context._keep + file._keep)

    @classmethod
    def _of(cls, handle: int, keep: Any) -> Plan:
        return cls(handle, lib.rekindle_plan_destroy, keep)

    @property
    def fits(self) -> bool:
        """True if the model fits on the devices."""
        return self.summary.fits

    @property
    def summary(self) -> PlanSummary:
        """The decisions: sizes, types, predicted speeds."""
        return PlanSummary.of(read(_abi.rekindle_plan_summary, lib.rekindle_plan_get_summary, self._handle))

    @property
    def devices(self) -> List[PlanDevice]:
        """What the plan puts on each device, in bytes."""
        return [self.device(i) for i in range(self.summary.n_devices)]

    def device(self, index: int) -> PlanDevice:
        """What the plan puts on one device. NotFoundError: there is no such device."""
        function = lib.rekindle_plan_get_device
        return PlanDevice.of(read(_abi.rekindle_plan_device, function, self._handle, u32(index, "index")))

    @property
    def layers(self) -> List[PlanLayer]:
        """The place of each layer, and of the output as the last entry."""
        return [self.layer(i) for i in range(self.summary.n_layer + 1)]

    def layer(self, index: int) -> PlanLayer:
        """The place of one layer; n_layer stands for the output. NotFoundError: there is no such layer."""
        function = lib.rekindle_plan_get_layer
        return PlanLayer.of(read(_abi.rekindle_plan_layer, function, self._handle, u32(index, "index")))

    @property
    def reasons(self) -> List[str]:
        """Sentences that say why the plan is as it is."""
        return listed(lib.rekindle_plan_reason, self._handle)

    @property
    def remedies(self) -> List[str]:
        """Sentences that say what would make the model fit. The first look plans again, which may take a while."""
        return listed(lib.rekindle_plan_remedy, self._handle)

    def text(self) -> str:
        """The whole plan as a table for people."""
        return text_from(lib.rekindle_plan_text, self._handle)

    def json(self) -> str:
        """The whole plan as JSON; schema/plan.schema.json describes it."""
        return text_from(lib.rekindle_plan_json, self._handle)

    def as_dict(self) -> Dict[str, Any]:
        """The whole plan as Python's values."""
        result: Dict[str, Any] = json.loads(self.json())
        return result

    def svg(self) -> str:
        """The plan as a picture: a bar of each device's memory to scale, with the exact bytes of its parts."""
        return text_from(lib.rekindle_plan_svg, self._handle)

    def compare(self, other: Plan) -> str:
        """Two plans of one file side by side, as a table for people."""
        return text_from(lib.rekindle_plan_compare, self._handle, other._handle)

    def __str__(self) -> str:
        return self.text()


def ask(
    context: Context, file: File, question: Union[Question, str], **options: Unpack[PlanOptions]
) -> Optional[Union[int, KvType]]:
    """Answers a question by planning: the largest context or batch in tokens, the fewest devices, or the best type of
    the KV cache. None if the model does not fit in any way."""
    params, keep = plan_params(options)
    answer, number = ctypes.c_uint32(), member(Question, question, "question")
    args = context._handle, file._handle, ctypes.byref(params), number, ctypes.byref(answer)
    try:
        check(lib.rekindle_plan_ask(*args))
    except NotFitError:
        return None
    del keep
    return KvType(answer.value) if number == Question.BEST_KV_TYPE else answer.value
