"""The text that the shipped model is trained on: the King James Bible, from Debian's package bible-kjv-text.

One verse a line, chapters as separate texts. Every 33rd chapter is held out.
"""

import re
import subprocess

HOLD_OUT_EVERY = 33


def chapters():
    """All chapters in order, each a string of verses, one a line."""
    # The program `bible` (packages bible-kjv, bible-kjv-text) prints a range of verses, each with its reference.
    out = subprocess.run(["bible", "-f"], input="gen1:1-rev22:21\n", capture_output=True, text=True, check=True).stdout
    verse = re.compile(r"^([1-3]?[A-Za-z]+)(\d+):(\d+) (.*)$")
    found = {}
    for line in out.splitlines():
        m = verse.match(re.sub(r"^bible\(KJV\) \[.*?\]> ", "", line.strip()))
        if m:
            book, chapter, number, text = m.groups()
            # The program shows verse 1 unasked before it reads the range.
            found.setdefault((book, int(chapter)), {})[int(number)] = text.strip()
    assert len(found) == 1189, f"{len(found)} chapters, expected 1189"
    return ["\n".join(verses.values()) + "\n" for verses in found.values()]


def split():
    """(training chapters, held-out chapters)"""
    every = chapters()
    held = [c for i, c in enumerate(every) if i % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1]
    train = [c for i, c in enumerate(every) if i % HOLD_OUT_EVERY != HOLD_OUT_EVERY - 1]
    return train, held
