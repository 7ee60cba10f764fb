"""`python -m rekindle plan|run MODEL`: shows where a model would go, and continues a text."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Dict, List, Optional, Tuple

from . import Context, Error, File, Grammar, Limit, Model, Plan, Sampler, ask, version
from .enums import KvType, Objective


def add_plan_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="MODEL", help="a GGUF file, or the first of a split one")
    p.add_argument("--devices", metavar="SPEC", default="auto", help="auto, cpu, cuda:2, k80:4, … (auto)")
    p.add_argument("--threads", metavar="N", type=int, default=0, help="CPU threads (one per core)")
    p.add_argument("--ctx", metavar="N", dest="n_ctx", type=int, help="tokens in the KV cache")
    p.add_argument("--seqs", metavar="N", dest="n_seq_max", type=int, help="sequences (1)")
    p.add_argument("--batch", metavar="N", dest="n_batch", type=int, help="tokens of a batch")
    p.add_argument("--ubatch", metavar="N", dest="n_ubatch", type=int, help="tokens of a pass through the layers")
    p.add_argument("--outputs", metavar="N", dest="n_outputs_max", type=int, help="rows of logits")
    p.add_argument("--kv", choices=["f32", "f16", "q8_0", "q4_0"], help="type of the KV cache")
    p.add_argument("--copied", action="store_const", const="copied", dest="weights", help="copy weights, do not map")
    p.add_argument("--objective", choices=[o.name.lower() for o in Objective], help="latency by default")
    p.add_argument("--reserve", metavar="MIB", type=int, help="MiB to leave free on each device")
    p.add_argument(
        "--limit", metavar="D:MIB[:LAYERS]", action="append", default=[],
        help="MiB to leave free on device D, and the most layers there",
    )  # fmt: skip
    p.add_argument("--checkpoints", metavar="N", dest="n_checkpoints", type=int, help="of recurrent states")
    p.add_argument("--group", metavar="N", dest="n_group", type=int, help="dies that compute each layer together")
    p.add_argument("--place", metavar="P=D,…", dest="placements", help="tensors' places by patterns of names")
    p.add_argument("--override", metavar="JSON", help="values of keys in place of the file's")
    p.add_argument("--adapter", metavar="FILE[=SCALE]", action="append", default=[], help="a LoRA or control vector")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m rekindle", description="Runs GGUF language models on old GPUs and CPUs.")
    p.add_argument("--version", action="version", version=f"rekindle {version()}")
    commands = p.add_subparsers(metavar="plan|run", required=True)

    plan = commands.add_parser("plan", help="what goes where, and how many bytes each device is asked for")
    add_plan_options(plan)
    form = plan.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the plan as JSON")
    form.add_argument("--compare", action="store_true", help="the measured plan beside the usual formulas")
    form.add_argument(
        "--ask", choices=["context", "batch", "devices", "kv"], help="what the devices could do at most (kv: at best)"
    )
    plan.add_argument("--svg", metavar="FILE", help="draw the plan, too")
    plan.set_defaults(run=show_plan)

    run = commands.add_parser("run", help="continue a text")
    add_plan_options(run)
    run.add_argument("-p", "--prompt", metavar="TEXT", help="the text (by default standard input)")
    run.add_argument("-n", metavar="N", dest="max_tokens", type=int, default=128, help="tokens to write (128)")
    run.add_argument("--temp", metavar="X", dest="temperature", type=float, help="temperature (0: greedy)")
    run.add_argument("--top-k", metavar="N", type=int)
    run.add_argument("--top-p", metavar="X", type=float)
    run.add_argument("--min-p", metavar="X", type=float)
    run.add_argument("--repeat-penalty", metavar="X", type=float)
    run.add_argument("--seed", metavar="N", type=int)
    run.add_argument("--stop", metavar="TEXT", action="append", default=[], help="end before this text")
    run.add_argument("--json-schema", metavar="JSON", help="write JSON that fits this schema")
    run.add_argument("--regex", metavar="R", help="write a text that matches this regular expression")
    run.add_argument("--special", action="store_true", help="read special tokens in the prompt")
    run.add_argument("-q", "--quiet", action="store_true", help="print the new text and nothing else")
    run.set_defaults(run=run_text)
    return p


def limits(texts: List[str]) -> Dict[int, Limit]:
    result = {}
    for text in texts:
        device, mib, layers = ([*text.split(":"), ""] + [""])[:3]
        if mib == "-":
            result[int(device)] = Limit(max_layers=0)
        else:
            result[int(device)] = Limit(int(mib or 0) << 20, int(layers) if layers else None)
    return result


def open_file(context: Context, options: argparse.Namespace) -> File:
    return context.open(options.model, options.override, [path for path, _ in map(adapter, options.adapter)])


def adapter(text: str) -> Tuple[str, float]:
    """The path and the scale of FILE or FILE=SCALE."""
    path, _, scale = text.rpartition("=")
    try:
        return (path, float(scale)) if path else (text, 1.0)
    except ValueError:
        return text, 1.0


def plan_options(options: argparse.Namespace) -> Dict[str, Any]:
    names = "n_ctx n_seq_max n_batch n_ubatch n_outputs_max kv weights objective".split()
    names += "n_checkpoints n_group placements".split()
    wishes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.reserve is not None:
        wishes["reserve_bytes"] = options.reserve << 20
    wishes["limits"] = limits(options.limit)
    return wishes


def show_plan(options: argparse.Namespace) -> int:
    context = Context(options.devices, options.threads)
    file, wishes = open_file(context, options), plan_options(options)
    if options.ask:
        names = {
            "context": "largest_context",
            "batch": "largest_batch",
            "devices": "fewest_devices",
            "kv": "best_kv_type",
        }
        answer = ask(context, file, names[options.ask], **wishes)
        if answer is None:
            raise_not_fit(context.plan(file, **wishes))
        print(answer.name.lower() if isinstance(answer, KvType) else answer)
        return 0
    plan = context.plan(file, **wishes)
    if options.svg:
        with open(options.svg, "w", encoding="utf-8") as svg:
            svg.write(plan.svg())
    if options.compare:
        sys.stdout.write(plan.compare(context.plan(file, estimator="family", **wishes)))
        return 0
    sys.stdout.write(plan.json() if options.json else plan.text())
    if not plan.fits:
        print("rekindle: plan: does not fit", file=sys.stderr)
    return int(not plan.fits)


def raise_not_fit(plan: Plan) -> None:
    sys.stderr.write(plan.text())
    raise SystemExit("rekindle: the model does not fit")


def show_progress(done: float) -> None:
    sys.stderr.write(f"\rloading {100 * done:3.0f} %" if done < 1 else "\r\033[K")
    sys.stderr.flush()


def load(context: Context, file: File, options: argparse.Namespace) -> Model:
    plan = context.plan(file, **plan_options(options))
    if not plan.fits:
        raise_not_fit(plan)
    return context.load(plan, show_progress if sys.stderr.isatty() else None)


def grammar(model: Model, options: argparse.Namespace) -> Optional[Grammar]:
    if options.json_schema:
        return Grammar(model.vocab, "json_schema", options.json_schema)
    return Grammar(model.vocab, "regex", options.regex) if options.regex else None


def run_text(options: argparse.Namespace) -> int:
    prompt = sys.stdin.read().rstrip("\n") if options.prompt is None else options.prompt
    context = Context(options.devices, options.threads)
    names = "temperature top_k top_p min_p repeat_penalty seed".split()
    settings = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    scales = [scale for _, scale in map(adapter, options.adapter)]
    with load(context, open_file(context, options), options) as model:
        if not options.quiet:
            sys.stdout.write(prompt)
        with model.generate(
            prompt,
            max_tokens=options.max_tokens,
            sampler=Sampler(**settings),
            grammar=grammar(model, options),
            stop=options.stop,
            adapters=scales,
            parse_special=options.special,
        ) as pieces:
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
        sys.stdout.write("\n")
    return 0


def main(arguments: Optional[List[str]] = None) -> int:
    """The program; its status is the result: 0, or 1 after an error and for a plan that does not fit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except (Error, OSError, ValueError) as e:
        if isinstance(e, BrokenPipeError):
            # Nobody reads on; the interpreter must not try again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"rekindle: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
