"""The generator: what it does not understand in a header is an error, and nothing is left out in silence."""

from __future__ import annotations

import sys
from typing import Any

from .support import ROOT, Case

sys.path.insert(0, str(ROOT / "bindings"))

from generator import header, python_abi, python_info  # noqa: E402

TEXT = (ROOT / "include/rekindle.h").read_text(encoding="utf-8")
FUNCTION = "const char *rekindle_version(void);"


class TestGenerator(Case):
    def read(self, old: str, new: str) -> Any:
        self.assertIn(old, TEXT)
        return header.read(TEXT.replace(old, new, 1))

    def test_forms_that_are_not_known(self) -> None:
        for new in ("union u { int a; };", "extern int rekindle_variable;", f"{FUNCTION} !"):
            self.fails(ValueError, lambda: self.read(FUNCTION, new), "not understood")
        self.fails(ValueError, lambda: self.read("uint32_t n_ctx;", "uint32_t n_ctx : 3;"), "n_ctx")

    def test_functions_outside_the_table(self) -> None:
        self.fails(ValueError, lambda: self.read(FUNCTION, "/* open"), "rekindle_version")
        self.fails(ValueError, lambda: self.read(FUNCTION, f"{FUNCTION} void rekindle_more(void);"), "rekindle_more")

    def test_types_and_numbers_that_are_not_known(self) -> None:
        with_type = self.read("uint32_t n_threads;", "uint16_t n_threads;")
        self.fails(KeyError, lambda: python_abi.write(with_type), "uint16_t")
        with_number = self.read(
            "#define REKINDLE_KV_F32 1\n", "#define REKINDLE_KV_F32 1\n#define REKINDLE_NEW_THING 1\n"
        )
        self.fails(ValueError, lambda: python_info.write_enums(with_number), "REKINDLE_NEW_THING")

    def test_the_model_of_the_header(self) -> None:
        model = header.read(TEXT)
        (render,) = [f for f in model.functions if f.name == "rekindle_chat_render"]
        self.assertEqual(
            header.first_sentence(render.doc), "Writes the prompt for a conversation of `n_messages` messages."
        )
        self.assertEqual(render.arguments[1].type, header.Type("rekindle_chat_message", 1, True))
        (params,) = [s for s in model.structs if s.name == "rekindle_generation_params"]
        stops = [f for f in params.fields if f.name == "stop_texts"]
        self.assertEqual(stops[0].type, header.Type("char", 2, True))
        self.assertTrue(params.sized)
        self.assertEqual(model.aliases, {"rekindle_status": "int32_t"})
        self.assertEqual(len(model.handles), 10)
