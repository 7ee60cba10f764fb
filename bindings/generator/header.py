"""Reads include/rekindle.h: constants, structs, handles, callbacks, functions, each with its documentation.

The reader knows the few forms that cbindgen writes. Text of any other form is an error, so nothing is overlooked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Optional


@dataclass(frozen=True)
class Type:
    """A C type: `const char *const *` has the base `char` and two pointers."""

    base: str
    pointers: int = 0
    #: The thing that is pointed to is const.
    const: bool = False
    #: The elements of an array in a struct.
    array: Optional[int] = None


@dataclass(frozen=True)
class Variable:
    """A field of a struct, or an argument."""

    name: str
    type: Type
    doc: str = ""


@dataclass(frozen=True)
class Constant:
    name: str
    value: int
    doc: str
    #: The heading of the header's part that it is in.
    section: str


@dataclass(frozen=True)
class Struct:
    name: str
    fields: List[Variable]
    doc: str

    @property
    def sized(self) -> bool:
        """True if it begins with struct_size, which the caller sets."""
        return self.fields[0].name == "struct_size"


@dataclass(frozen=True)
class Function:
    """A function of the library, or the type of a callback."""

    name: str
    returns: Type
    arguments: List[Variable]
    doc: str
    section: str


@dataclass
class Header:
    constants: List[Constant] = field(default_factory=list)
    structs: List[Struct] = field(default_factory=list)
    #: Opaque types by name, with their documentation.
    handles: Dict[str, str] = field(default_factory=dict)
    #: Other names of types: rekindle_status is int32_t.
    aliases: Dict[str, str] = field(default_factory=dict)
    callbacks: List[Function] = field(default_factory=list)
    functions: List[Function] = field(default_factory=list)
    #: The functions in the order of rekindle_api_table, which never changes, without the prefix.
    table: List[str] = field(default_factory=list)


TABLE = "rekindle_api_table"

# Directives are left out: they guard the file and choose how REKINDLE_MUST_USE is spelt.
FORMS = {
    "section": r"/\* -+\n \* (?P<heading>[^\n]+)\n \* -+ \*/",
    "doc": r"/\*\*(?P<text>.*?)\*/",
    "comment": r"/\*.*?\*/",
    "define": r"#define (?P<constant>REKINDLE_[A-Z0-9_]+) (?P<value>-?\w+)\n",
    "directive": r"#[^\n]*\n",
    "linkage": r'extern "C" \{|\} // extern "C"',
    "handle": r"typedef struct (?P<opaque>\w+) (?P=opaque);",
    "struct": r"typedef struct (?:\w+ )?\{(?P<body>(?:[^{}/]|/\*.*?\*/)*)\} (?P<struct>\w+);",
    "callback": r"typedef (?P<callback_returns>[\w ]+?\**) ?\(\*(?P<callback>\w+)\)\((?P<callback_arguments>[^()]*)\);",
    "alias": r"typedef (?P<aliased>\w+) (?P<alias>\w+);",
    "function": r"(?:REKINDLE_MUST_USE\s+)?(?P<returns>[a-z][\w ]*?[ *]+)(?P<function>rekindle_\w+)"
    r"\((?P<arguments>[^()]*)\);",
    "space": r"\s+",
}
DECLARATION = re.compile("|".join(f"(?P<{name}_form>{form})" for name, form in FORMS.items()), re.S)


def read(text: str) -> Header:
    """Reads the header's text. ValueError says what was not understood."""
    header = Header()
    section = doc = ""
    at = 0
    while at < len(text):
        found = DECLARATION.match(text, at)
        if not found:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: not understood: {text[at : at + 60]!r}")
        at = found.end()
        form = (found.lastgroup or "").replace("_form", "")
        part = found.groupdict()
        if form == "section":
            section, doc = part["heading"], ""
        elif form == "doc":
            doc = plain(part["text"])
        elif form == "define":
            header.constants.append(Constant(part["constant"], number(part["value"]), doc, section))
        elif form == "handle":
            header.handles[part["opaque"]] = doc
        elif form == "struct" and part["struct"] == TABLE:
            header.table = re.findall(r"\(\*(\w+)\)\(", part["body"])
        elif form == "struct":
            header.structs.append(Struct(part["struct"], variables(part["body"], ";"), doc))
        elif form == "callback":
            arguments = variables(part["callback_arguments"], ",")
            header.callbacks.append(
                Function(part["callback"], type_of(part["callback_returns"]), arguments, doc, section)
            )
        elif form == "alias":
            header.aliases[part["alias"]] = part["aliased"]
        elif form == "function":
            arguments = variables(part["arguments"], ",")
            header.functions.append(Function(part["function"], type_of(part["returns"]), arguments, doc, section))
        if form not in ("doc", "space", "comment"):
            doc = ""
    check(header)
    return header


def check(header: Header) -> None:
    """The table and the declarations must tell of the same functions."""
    declared = {f.name for f in header.functions} - {"rekindle_api"}
    tabled = {f"rekindle_{name}" for name in header.table}
    if declared != tabled:
        raise ValueError(f"only declared or only in the table: {sorted(declared ^ tabled)}")
    if len(declared) < 100 or len(header.structs) < 25:
        raise ValueError("the header is too short to be whole")


def number(text: str) -> int:
    return 2**32 - 1 if text == "UINT32_MAX" else int(text, 0)


def plain(comment: str) -> str:
    """A comment's text without its stars; paragraphs stay apart."""
    lines = [re.sub(r"^\s*\* ?", "", line).strip() for line in comment.strip().split("\n")]
    return re.sub(r"[ \n]*\n\n[ \n]*", "\n\n", "\n".join(lines)).strip()


def first_sentence(doc: str) -> str:
    """The first sentence of a documentation, in one line. It ends before a list or a remark in later sentences."""
    paragraph = " ".join(doc.split("\n\n")[0].split())
    end = re.search(r"[.;:](?= [A-Z`*]|$)", paragraph)
    return paragraph[: end.start()] + "." if end else paragraph


def comment(doc: str, prefix: str) -> str:
    """A documentation as comment lines, each with `prefix`."""
    lines = [""]
    for word in doc.split():
        if len(lines[-1]) + len(word) + len(prefix) > 115:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return "".join(f"{prefix}{line}\n" for line in lines if line)


def type_of(text: str) -> Type:
    words = text.replace("*", " * ").split()
    names = [w for w in words if w not in ("const", "*")]
    if len(names) != 1:
        raise ValueError(f"a type of one word was expected: {text!r}")
    return Type(names[0], words.count("*"), words[0] == "const")


def variables(text: str, separator: str) -> List[Variable]:
    """The fields of a struct, or the arguments of a function."""
    result = []
    for part in text.split(separator) if separator == "," else split_fields(text):
        doc = " ".join(plain(d) for d in re.findall(r"/\*\*(.*?)\*/", part, re.S))
        code = " ".join(re.sub(r"/\*.*?\*/", " ", part, flags=re.S).split())
        if code in ("", "void"):
            continue
        found = re.fullmatch(r"(.*[ *])(\w+)(?:\[(\d+)\])?", code)
        if not found:
            raise ValueError(f"no field or argument: {code!r}")
        ty = type_of(found[1])
        if found[3]:
            ty = Type(ty.base, ty.pointers, ty.const, int(found[3]))
        result.append(Variable(found[2], ty, doc))
    return result


def split_fields(body: str) -> List[str]:
    """A struct's body at the semicolons that are not in comments."""
    parts, rest = [], ""
    for piece in re.split(r"(/\*.*?\*/)", body, flags=re.S):
        if piece.startswith("/*"):
            rest += piece
            continue
        *whole, last = piece.split(";")
        for p in whole:
            parts.append(rest + p)
            rest = ""
        rest += last
    if rest.strip():
        raise ValueError(f"a field without an end: {rest.strip()!r}")
    return parts
