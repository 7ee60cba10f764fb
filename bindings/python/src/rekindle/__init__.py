"""rekindle runs GGUF language models on old GPUs and CPUs: plan memory to the byte, load, decode.

    import rekindle

    with rekindle.load("model.gguf", n_ctx=4096) as model:
        for piece in model.generate("And God said", max_tokens=40):
            print(piece, end="", flush=True)

The same in steps, with a look at the plan: Context, Context.open, Context.plan, Context.load.

Objects are closed by close(), at the end of a `with` block, or when nobody refers to them any more, in any order. They
may be used from several threads: what only reads runs at the same time, and of the calls that change one object one
runs and another gets BusyError. Ctrl-C ends calls that compute. Every error is an Error.
"""

from . import enums, errors, info
from ._rows import StaleViewError
from ._version import VERSION as __version__
from ._writing import Completion
from .chat import ChatOptions, Message
from .context import Context, environment, version
from .enums import *  # noqa: F403
from .errors import *  # noqa: F403
from .file import File, Keys
from .generation import Event, Generation, GenerationOptions, Pieces, step
from .grammar import Grammar
from .info import *  # noqa: F403
from .model import Model, load
from .options import Limit, PlanOptions
from .plan import Plan, ask
from .reply import Reply, ReplyEvent
from .sampler import Candidates, Sampler, SamplerOptions
from .vocab import Stream, Vocab

__all__ = [
    "Candidates",
    "ChatOptions",
    "Completion",
    "Context",
    "Event",
    "File",
    "Generation",
    "GenerationOptions",
    "Grammar",
    "Keys",
    "Limit",
    "Message",
    "Model",
    "Pieces",
    "Plan",
    "PlanOptions",
    "Reply",
    "ReplyEvent",
    "Sampler",
    "SamplerOptions",
    "StaleViewError",
    "Stream",
    "Vocab",
    "__version__",
    "ask",
    "environment",
    "load",
    "step",
    "version",
]
__all__ += enums.__all__
__all__ += errors.__all__
__all__ += info.__all__
