#!/usr/bin/env python3
"""Writes rekindle.3, the manual page of the C library, from the header: packaging/manual.py VERSION HEADER

The header's comments are the documentation: the contract on top, then each type and function with its paragraph. Here
they get the marks of man pages and nothing else.
"""

import re
import sys
from pathlib import Path
from typing import Iterator, List, Tuple

SECTION = re.compile(r"^/\* -{5,}\n \* (?P<title>.*?)\n \* -{5,} \*/", re.M | re.S)


def escaped(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in text.split("\n"))


def paragraphs(comment: str) -> str:
    """The text of a comment, with a mark at each empty line."""
    lines = [re.sub(r"^ \* ?", "", line) for line in comment.split("\n")]
    text = escaped("\n".join(lines).strip())
    return re.sub(r"\n\n+", "\n.PP\n", text)


def blocks(header: str) -> Iterator[Tuple[int, str, str]]:
    """Places, texts and declarations of all that has a comment."""
    comment: List[str] = []
    code: List[str] = []
    start, inside, depth, offset = 0, False, 0, 0
    for line in header.split("\n"):
        if line.startswith("/**"):
            comment, code, inside, start = [line[3:].replace("*/", "")], [], not line.endswith("*/"), offset
        elif inside:
            inside = not line.rstrip().endswith("*/")
            comment.append("" if not inside else line)
        elif comment:
            code.append(line)
            depth += line.count("{") - line.count("}")
            define = code[0].startswith("#define")
            if depth == 0 and (line.endswith(";") or define or not line):
                if any(code) and not code[0].startswith(("#if", "#endif")):
                    yield start, "\n".join(comment), "\n".join(code).strip()
                comment = []
        offset += len(line) + 1


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: manual.py VERSION HEADER")
    header = Path(sys.argv[2]).read_text(encoding="utf-8")
    contract = re.match(r"/\*+ ?(.*?)\n \*/", header, re.S)
    if not contract:
        raise SystemExit(f"{sys.argv[2]} does not begin with a comment")
    print(f'.TH REKINDLE 3 "" "rekindle {sys.argv[1]}" "Library Functions"')
    print(".SH NAME\nrekindle \\- run GGUF language models on old GPUs and CPUs\n.SH SYNOPSIS")
    print(".B #include <rekindle.h>\n.PP\nLink with \\fI\\-lrekindle\\fR.\n.SH DESCRIPTION")
    print(paragraphs(contract[1]))
    titles = [(m.start(), " ".join(m["title"].replace(" *", " ").split())) for m in SECTION.finditer(header)]
    for start, comment, code in blocks(header):
        while titles and titles[0][0] < start:
            print(f".SH {escaped(titles.pop(0)[1].split(':')[0]).upper()}")
        print(f".PP\n.nf\n\\fB{escaped(code)}\\fR\n.fi\n.RS 4\n{paragraphs(comment)}\n.RE")
    print(".SH SEE ALSO\n.BR rekindle (1)")


if __name__ == "__main__":
    main()
