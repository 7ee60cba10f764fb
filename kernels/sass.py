"""Reads a cubin: registers, shared memory and code of each kernel and, for the K80 (sm_37), its instructions and loops.

No disassembler that pip can install knows Kepler, the K80's generation, so the few facts that counting needs are here.
Of eight 64-bit words the first controls the other seven, with a byte each: 4 means that the instruction is issued
together with the next. The two lowest bits of an instruction give its family, the highest ten give the one in it.
Operands are not decoded, except for the target of a branch and the width of a load.

    python3 kernels/sass.py FILE.cubin [KERNEL]          lists the instructions of each loop
    python3 kernels/sass.py --against NVDISASM FILE...   compares all mnemonics with the vendor's disassembler
"""

import re
import struct
import subprocess
import sys

# Per family: mnemonics, each with the sixteen highest bits that mean it and the mask under which they are compared. The
# first that fits counts.
CONTROL = [
    ("BPT", 0x0000, 0xff80), ("JMP", 0x1080, 0xff80), ("JCAL", 0x1100, 0xff80), ("BRA", 0x1200, 0xff80),
    ("BRX", 0x1280, 0xff80), ("CAL", 0x1300, 0xff80), ("PRET", 0x1380, 0xff80), ("SSY", 0x1480, 0xff80),
    ("PBK", 0x1500, 0xff80), ("PCNT", 0x1580, 0xff80), ("EXIT", 0x1800, 0xff80), ("RET", 0x1900, 0xff80),
    ("BRK", 0x1a00, 0xff80), ("CONT", 0x1a80, 0xff80), ("LOP32I", 0x2000, 0xe000), ("FADD32I", 0x4000, 0xe000),
    ("FFMA32I", 0x6000, 0xe000), ("ISCADD32I", 0xa000, 0xe000), ("LD", 0xc000, 0xe000), ("ST", 0xe000, 0xe000),
]
IMMEDIATE = [
    ("IADD32I", 0x4000, 0xf400), ("LDG", 0x6000, 0xf000), ("VIDEO", 0xd000, 0xf000), ("VIDEO", 0xe800, 0xf800),
    ("FSET", 0x8000, 0xf180), ("DSET", 0x9000, 0xb580), ("FFMA", 0x9400, 0xb400), ("IMAD", 0xa000, 0xf400),
    ("IMADSP", 0xa400, 0xb400), ("ICMP", 0xb200, 0xb780), ("ISET", 0xb280, 0xb780), ("ISETP", 0xb300, 0xb780),
    ("DFMA", 0xb380, 0xb780), ("DSETP", 0xb400, 0xb780), ("FCMP", 0xb500, 0xb780), ("FSETP", 0xb580, 0xb780),
    ("PRMT", 0xb600, 0xb7c0), ("ISAD", 0xb740, 0xb7c0), ("BFI", 0xb780, 0xb7c0), ("SHF", 0xb7c0, 0xb7c0),
    ("BFE", 0xc000, 0xf7c0), ("POPC", 0xc040, 0xf7c0), ("IADD", 0xc080, 0xf7c0), ("ISCADD", 0xc0c0, 0xf7c0),
    ("IMNMX", 0xc100, 0xf7c0), ("SHR", 0xc140, 0xf7c0), ("FLO", 0xc180, 0xf7c0), ("IMUL", 0xc1c0, 0xf7c0),
    ("LOP", 0xc200, 0xf7c0), ("SHL", 0xc240, 0xf7c0), ("DMNMX", 0xc280, 0xf7c0), ("FADD", 0xc2c0, 0xf7c0),
    ("FMNMX", 0xc300, 0xf7c0), ("FMUL", 0xc340, 0xf7c0), ("DADD", 0xc380, 0xf7c0), ("DMUL", 0xc400, 0xf7c0),
    ("RRO", 0xc480, 0xf7c0), ("MOV", 0xc4c0, 0xf7c0), ("SEL", 0xc500, 0xf7c0), ("F2F", 0xc540, 0xf7c0),
    ("F2I", 0xc580, 0xf7c0), ("I2F", 0xc5c0, 0xf7c0), ("I2I", 0xc600, 0xf7c0), ("P2R", 0xc640, 0xf7c0),
    ("R2P", 0xc680, 0xf7c0), ("SHF", 0xc7c0, 0xf7c0),
]
NORMAL = [
    ("FMUL32I", 0x2000, 0xf800), ("IMUL32I", 0x2800, 0xf800), ("MUFU", 0x8400, 0xffc0), ("PSET", 0x8440, 0xffc0),
    ("PSETP", 0x8480, 0xffc0), ("BAR", 0x8540, 0xffc0), ("NOP", 0x8580, 0xffc0), ("S2R", 0x8640, 0xbfc0),
    ("VOTE", 0x86c0, 0xffc0), ("ATOM", 0x6800, 0xf800), ("MOV32I", 0x7400, 0x7f80), ("TEXDEPBAR", 0x7700, 0x7fc0),
    ("LDSLK", 0x7740, 0x7fc0), ("ATOM", 0x7780, 0xff80), ("STSUL", 0x7840, 0x7fc0), ("SHFL", 0x7880, 0x7fc0),
    ("LDL", 0x7a00, 0x7fc0), ("LDS", 0x7a40, 0x7fc0), ("STL", 0x7a80, 0x7fc0), ("STS", 0x7ac0, 0x7fc0),
    ("CCTL", 0x7b00, 0x7f00), ("CCTLL", 0x7c00, 0x7f80), ("LDC", 0x7c80, 0x7fc0), ("MEMBAR", 0x7cc0, 0x7fc0),
    ("SHF", 0xdfc0, 0xffc0), ("BFE", 0xe000, 0xffc0), ("FSET", 0x0000, 0x3880), ("DSET", 0x0800, 0x3cc0),
    ("FFMA", 0x0c00, 0x3c00), ("IMAD", 0x1000, 0x3c00), ("IMADSP", 0x1400, 0x3c00), ("ICMP", 0x1a00, 0x3f80),
    ("ISET", 0x1a80, 0x3f80), ("ISETP", 0x1b00, 0x3f80), ("DFMA", 0x1b80, 0x3f80), ("DSETP", 0x1c00, 0x3f80),
    ("FCMP", 0x1d00, 0x3f80), ("FSETP", 0x1d80, 0x3f80), ("PRMT", 0x1e00, 0x3fc0), ("ISAD", 0x1f40, 0x3fc0),
    ("BFI", 0x1f80, 0x3fc0), ("BFE", 0x2000, 0x3fc0), ("POPC", 0x2040, 0x3fc0), ("IADD", 0x2080, 0x3fc0),
    ("ISCADD", 0x20c0, 0x3fc0), ("IMNMX", 0x2100, 0x3fc0), ("SHR", 0x2140, 0x3fc0), ("FLO", 0x2180, 0x3fc0),
    ("IMUL", 0x21c0, 0x3fc0), ("LOP", 0x2200, 0x3fc0), ("SHL", 0x2240, 0x3fc0), ("DMNMX", 0x2280, 0x3fc0),
    ("FADD", 0x22c0, 0x3fc0), ("FMNMX", 0x2300, 0x3fc0), ("FMUL", 0x2340, 0x3fc0), ("DADD", 0x2380, 0x3fc0),
    ("DMUL", 0x2400, 0x3fc0), ("FCHK", 0x2440, 0x3fc0), ("RRO", 0x2480, 0x3fc0), ("MOV", 0x24c0, 0x3fc0),
    ("SEL", 0x2500, 0x3fc0), ("F2F", 0x2540, 0x3fc0), ("F2I", 0x2580, 0x3fc0), ("I2F", 0x25c0, 0x3fc0),
    ("I2I", 0x2600, 0x3fc0), ("P2R", 0x2640, 0x3fc0), ("R2P", 0x2680, 0x3fc0), ("SHF", 0x27c0, 0x3fc0),
]
FAMILIES = [CONTROL, IMMEDIATE, NORMAL, []]
# Of memory accesses: the bit at which the width stands, in bytes a lane.
WIDTH_AT = {"LD": 56, "ST": 56, "LDG": 47, "LDL": 51, "LDS": 51, "STL": 51, "STS": 51, "LDC": 51}
WIDTHS = [1, 1, 2, 2, 4, 8, 16, 4]


class Instruction:
    def __init__(self, address, word, control):
        self.address, self.word, self.paired = address, word, control == 4
        top = word >> 48
        self.name = next((n for n, value, mask in FAMILIES[word & 3] if top & mask == value), "?")
        self.width = WIDTHS[word >> WIDTH_AT[self.name] & 7] if self.name in WIDTH_AT else 0

    def target(self):
        """Address that a BRA goes to."""
        offset = self.word >> 23 & 0xffffff
        return self.address + 8 + offset - (offset >> 23 << 24)


def disassemble(code):
    out = []
    for i in range(0, len(code) - len(code) % 8, 8):
        word = struct.unpack_from("<Q", code, i)[0]
        if i % 64 == 0:
            controls = word >> 2
        else:
            out.append(Instruction(i, word, controls >> (i % 64 // 8 - 1) * 8 & 0xff))
    return out


def loops(instructions):
    """(instructions of the loop, True if no other loop is in it), by address. A branch back makes a loop of everything
    that it jumps over."""
    spans = sorted({(i.target(), i.address) for i in instructions if i.name == "BRA" and i.target() < i.address})
    inner = lambda s: not any(t != s and s[0] <= t[0] and t[1] <= s[1] for t in spans)
    return [([i for i in instructions if s[0] <= i.address <= s[1]], inner(s)) for s in spans]


class Kernel:
    def __init__(self, name, code, registers):
        self.name, self.code, self.registers = name, code, registers
        self.shared = self.stack = self.threads = 0


def kernels(cubin):
    """The kernels of a cubin in order of their names."""
    at, = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<HHH", cubin, 0x3a)
    headers = [struct.unpack_from("<IIQQQQIIQQ", cubin, at + i * size) for i in range(count)]
    text = lambda start: cubin[start:cubin.index(b"\0", start)].decode()
    sections = {text(headers[names][4] + h[0]): h for h in headers}
    found, symbols = {}, sections[".symtab"]
    for name, h in sections.items():
        if name.startswith(".text."):
            found[name[6:]] = Kernel(name[6:], cubin[h[4]:h[4] + h[5]], h[7] >> 24)
    for k in found.values():
        if ".nv.shared." + k.name in sections:
            k.shared = sections[".nv.shared." + k.name][5]
        for attribute, value in attributes(cubin, sections.get(".nv.info." + k.name)):
            if attribute == 0x05:  # the bounds that the source gave
                x, y, z = struct.unpack_from("<III", value)
                k.threads = x * y * z
    for attribute, value in attributes(cubin, sections.get(".nv.info")):
        if attribute == 0x11:  # frame size
            symbol, frame = struct.unpack_from("<II", value)
            name = struct.unpack_from("<I", cubin, symbols[4] + symbol * 24)[0]
            name = text(sections[".strtab"][4] + name)
            if name in found:
                found[name].stack = frame
    return [found[n] for n in sorted(found)]


def attributes(cubin, header):
    at, end = (header[4], header[4] + header[5]) if header else (0, 0)
    while at < end:
        form, attribute, size = struct.unpack_from("<BBH", cubin, at)
        at += 4
        if form == 4:
            yield attribute, cubin[at:at + size]
            at += size


def against(disassembler, path):
    """Mnemonics that differ from the vendor's: all of them, as pairs."""
    text = subprocess.run([disassembler, "-hex", path], capture_output=True, text=True, check=True).stdout
    theirs, section = {}, None
    for line in text.splitlines():
        if line.startswith("\t.section\t"):
            section = line.split("\t")[2].split(",")[0]
        m = re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+\{?\s*(?:@!?U?P\w+ )?\s*(\w+)", line)
        if m and section and section.startswith(".text."):
            theirs[section[6:], int(m.group(1), 16)] = m.group(2)
    wrong, n = {}, 0
    for k in kernels(open(path, "rb").read()):
        for i in disassemble(k.code):
            t = theirs.get((k.name, i.address), "(none)")
            n += 1
            # A subtraction is an addition's form, RED an ATOM without a result; what pads the end is not printed.
            same = {"ISUB": "IADD", "RED": "ATOM", "VOTE": "VOTE"}.get(t, "VIDEO" if t[0] == "V" else t)
            if same != i.name and (i.name, t) != ("NOP", "(none)"):
                wrong.setdefault((i.name, t), []).append("%016x" % i.word)
    return n, wrong


def main(args):
    if args[:1] == ["--against"]:
        total, bad = 0, 0
        for path in args[2:]:
            n, wrong = against(args[1], path)
            total, bad = total + n, bad + len(wrong)
            for (ours, theirs), words in sorted(wrong.items()):
                print("%s: %s is %s: %s" % (path, ours, theirs, " ".join(words[:3])))
        print("%d instructions compared, %d differences" % (total, bad))
        return bad != 0
    for k in kernels(open(args[0], "rb").read()):
        if args[1:] and k.name not in args[1:]:
            continue
        for n, (body, inner) in enumerate(loops(disassemble(k.code))):
            print("%s, loop %d%s: %d instructions" % (k.name, n, "" if inner else " (others in it)", len(body)))
            for i in body if inner else []:
                width = "." + str(i.width * 8) if i.width else ""
        print("  %04x  %016x  %s%s%s" % (i.address, i.word, i.name, width, " +" if i.paired else ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
