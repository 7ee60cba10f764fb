"""Writes kernels/images/report.md: registers and memory of kernels on a K80 die, and the bounds of their inner loops.

A kernel's source may say what a warp reads in one pass of its inner loop (of the compiled loop, unrolling included):

    // bound: KERNEL values=512 bytes=288 [loop=N]

Without `loop`, the innermost loop with most instructions is taken (`kernels/sass.py FILE.cubin KERNEL` lists them).
"""

import re

import sass

MULTIPROCESSORS, CLOCKS, PLAIN_READ = 13, (562, 875), (125, 150)
REGISTERS, SHARED, THREADS, WARPS, BLOCKS = 131072, 112 * 1024, 2048, 64, 16
NEVER_SPILL = ("matvec", "attention")

# Per unit of a multiprocessor: threads a clock and the instructions that it executes.
UNITS = {
    "fma": (192, "FFMA FADD FMUL FFMA32I FADD32I FMUL32I"),
    "alu": (
        160,
        "IADD IADD32I ISCADD ISCADD32I LOP LOP32I ISETP FSETP PSETP ISET FSET PSET ICMP FCMP IMNMX FMNMX MOV MOV32I SEL"
        " VOTE P2R R2P",
    ),
    "shift": (64, "SHL SHR SHF"),
    "byte": (32, "PRMT BFE BFI POPC FLO VIDEO FCHK RRO"),
    "multiply": (32, "IMUL IMUL32I IMAD IMADSP ISAD"),
    "convert": (32, "F2F F2I I2F I2I MUFU"),
    "double": (64, "DADD DMUL DFMA DSETP DSET DMNMX"),
    "memory": (32, "LD ST LDS STS LDL STL LDC SHFL ATOM S2R"),
    "texture": (16, "LDG"),
}
UNIT_OF = {name: unit for unit, (_, names) in UNITS.items() for name in names.split()}
LANES = ("fma", "alu", "shift")


def rounded(n, unit):
    return -(-n // unit) * unit


def occupancy(kernel):
    """(blocks, warps, what limits them) on a multiprocessor, without dynamic shared memory."""
    warps = -(-max(kernel.threads, 1) // 32)
    limits = [(BLOCKS, "blocks"), (WARPS // warps, "threads")]
    # Registers are given out by warp, 256 at a time, and to four warps at a time.
    by_warp = rounded(max(kernel.registers, 1) * 32, 256)
    limits.append((REGISTERS // by_warp // 4 * 4 // warps, "registers"))
    if kernel.shared:
        limits.append((SHARED // rounded(kernel.shared, 256), "shared memory"))
    blocks, limit = min(limits, key=lambda l: l[0])
    return blocks, min(blocks * warps, WARPS), limit


def clocks(instruction):
    """Clocks for which one warp's instruction holds its unit."""
    unit = UNIT_OF.get(instruction.name)
    if unit is None:
        return None, 0
    n = 32 / UNITS[unit][0]
    if instruction.name in ("LDS", "STS"):
        n = max(1, instruction.width / 8)
    elif instruction.name in ("LD", "ST", "LDL", "STL"):
        n = max(1, instruction.width / 4)
    elif instruction.name == "LDG":
        n = max(2, instruction.width / 4)
    return unit, n


class Loop:
    """An inner loop's instructions and the clocks that they need at least, per warp and pass."""

    def __init__(self, body):
        self.n = len(body)
        self.slots = sum(not i.paired for i in body)
        self.counts, units = {}, {}
        for i in body:
            name = i.name + (".%d" % (i.width * 8) if i.width else "")
            self.counts[name] = self.counts.get(name, 0) + 1
            unit, n = clocks(i)
            if unit:
                units[unit] = units.get(unit, 0) + n
        lanes = sum(i.name in UNIT_OF and UNIT_OF[i.name] in LANES for i in body)
        units["lanes"] = lanes / 6
        self.unit = max(units, key=lambda u: (units[u], u))
        self.unit_clocks = units[self.unit]
        self.unknown = self.counts.get("?", 0)
        self.loaded = sum(i.width for i in body if i.name in ("LD", "LDG")) * 32

    def text(self):
        return ", ".join("%s %d" % c for c in sorted(self.counts.items(), key=lambda c: (-c[1], c[0])))


def inner_loops(kernel):
    return [(n, Loop(body)) for n, (body, inner) in enumerate(sass.loops(sass.disassemble(kernel.code))) if inner]


def annotations(text):
    out = {}
    for line in re.findall(r"^\s*//\s*bound:\s*(.*)$", text, re.M):
        words = line.split()
        out[words[0]] = {
            k: int(v) for k, v in (w.split("=") for w in words[1:] if re.fullmatch(r"(values|bytes|loop)=\d+", w))
        }
        if not {"values", "bytes"} <= set(out[words[0]]):
            raise ValueError("`// bound: %s` lacks values= or bytes=" % line)
    return out


def bound(kernel, said):
    """(loop's number, Loop, rows of GB/s per clock: one instruction a scheduler and clock, as paired, units)."""
    loops = inner_loops(kernel)
    found = [l for l in loops if l[0] == said["loop"]] if "loop" in said else sorted(loops, key=lambda l: -l[1].n)
    if not found:
        raise ValueError("%s has no such inner loop" % kernel.name)
    number, loop = found[0]
    rows = []
    for clock in CLOCKS:
        full = MULTIPROCESSORS * clock * 1e6 * said["bytes"] / 1e9
        rows.append([full / (n or 1) for n in (loop.n / 4, loop.slots / 4, loop.unit_clocks)])
    return number, loop, rows


def bound_lines(kernels, said):
    """The table and the loops of those kernels of which the sources speak."""
    table, loops = [], []
    for name in sorted(said):
        if name not in kernels:
            raise ValueError("`// bound: %s`: there is no such kernel" % name)
        number, loop, rows = bound(kernels[name], said[name])
        best = [min(r[1], r[2]) for r in rows]
        table.append("| `%s` | %d | %.2f | %.2f | %s | %s |" % (
            name, loop.n, loop.n / said[name]["values"] * 32, loop.slots / said[name]["values"] * 32,
            " | ".join("%.0f | %.0f | %.0f %s" % (r[0], r[1], r[2], loop.unit) for r in rows),
            ", ".join("%.0f (%s)" % (b, "units" if r[2] < r[1] else "issue") for b, r in zip(best, rows))))
        unknown = "; NOT KNOWN: %d" % loop.unknown if loop.unknown else ""
        loops.append(
            "- `%s`, loop %d: %d values from %d bytes a pass (all its loads from global memory: %d bytes): %s%s"
            % (name, number, said[name]["values"], said[name]["bytes"], loop.loaded, loop.text(), unknown)
        )
    return table, loops


def spilling(rows):
    """Kernels that may not spill and do."""
    return [k.name for _, k, spill in rows if k.name.startswith(NEVER_SPILL) and any(spill)]


def write(rows, said, sizes):
    """rows: (file, Kernel, (spill stores, spill loads)); sizes: (kind of image, bytes). The report's text."""
    out = [
        "# What the kernels take on a K80 die (sm_37)",
        "",
        "Written by `kernels/build.py`; do not edit. Kernels named %s must not spill."
        % " and ".join("`%s…`" % n for n in NEVER_SPILL),
        "",
        "| file | kernel | threads | registers | spilled bytes, stored/loaded | stack | static shared | code | blocks |"
        " warps of 64 | limit |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for file, k, spill in rows:
        blocks, warps, limit = occupancy(k)
        out.append(
            "| %s | `%s` | %d | %d | %d/%d | %d | %d | %d | %d | %d | %s |"
            % (
                file, k.name, k.threads, k.registers, spill[0], spill[1], k.stack, k.shared, len(k.code), blocks, warps,
                limit,
            )
        )
    out += [
        "",
        "Blocks and warps are what a multiprocessor holds (128 K registers, 112 KB shared, 2048 threads, 16 blocks),"
        " without",
        "shared memory that a launch adds.",
    ]
    table, loops = bound_lines({k.name: k for _, k, _ in rows}, said)
    if table:
        out += [
            "", "## Bounds of inner loops", "",
            "GB/s of weights if nothing but instructions counted, at 562 and at 875 MHz, 13 multiprocessors: four"
            " schedulers that issue",
            "one instruction a clock; the same with the pairs that the compiler marked for dual issue; the busiest"
            " unit. A plain read",
            "reaches about %d and %d GB/s." % PLAIN_READ, "",
            "| kernel | instructions | a value | issue slots a value | 562: single | paired | unit | 875: single |"
            " paired | unit | bound, 562 and 875 |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        ] + table
        out += [
            "",
            "Assumed, threads a clock and multiprocessor: "
            + "; ".join("%s %d (%s)" % (u, n, names.replace(" ", ", ")) for u, (n, names) in UNITS.items())
            + ". fma, alu and shift share 192 lanes (\"lanes\"); wider accesses hold their unit longer: 8 bytes a lane"
            " and clock for shared memory, 4 for global memory and the read-only cache. The vendor's guide gives no"
            " figure for PRMT and LDG: theirs are guesses, the other rows are held for units of their own. Branches and"
            " barriers count as issue only; every instruction between a loop's ends counts as executed.",
            "",
        ]
        out += loops
    out += ["", "## Images", "", "| kind | bytes |", "|---|---:|"] + ["| %s | %d |" % s for s in sizes]
    return "\n".join(out) + "\n"
