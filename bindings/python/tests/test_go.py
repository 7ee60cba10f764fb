"""What the generator writes for Go: declarations, and the path of the module, which is one constant."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from .support import ROOT, Case

sys.path.insert(0, str(ROOT / "bindings"))

from generator import go_abi, go_module, header  # noqa: E402

TEXT = (ROOT / "include/rekindle.h").read_text(encoding="utf-8")


class TestGo(Case):
    def test_names_that_are_there_twice(self) -> None:
        twice = TEXT.replace("rekindle_n_free(", "rekindle_seq_length_(", 1).replace("(*n_free)", "(*seq_length_)", 1)
        self.fails(ValueError, lambda: go_abi.write_types(header.read(twice)), "SeqLength")

    def test_types_that_are_not_known(self) -> None:
        strange = header.read(TEXT.replace("uint32_t n_threads;", "uint16_t n_threads;", 1))
        self.fails(KeyError, lambda: go_abi.write_types(strange), "uint16_t")

    def test_calls(self) -> None:
        model = header.read(TEXT)
        for text in (go_abi.write_cgo(model), go_abi.write_purego(model)):
            self.assertIn("func SeqRemove(model Handle, seqId int32, p0 int32, p1 int32) int32 {", text)
            self.assertIn("func LastError() *byte {", text)
            self.assertEqual(text.count("\nfunc "), len(model.functions) - 1)

    def test_the_module_moves(self) -> None:
        self.assertEqual(go_module.moved(ROOT), {})
        other = "example.com/elsewhere/go"
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(ROOT / "bindings/go", root / "bindings/go")
            with mock.patch.object(go_module, "MODULE", other):
                for path, text in go_module.moved(root).items():
                    path.write_text(text, encoding="utf-8")
                self.assertEqual(go_module.moved(root), {})
            named = [p for p in (root / "bindings/go").rglob("*.go") if "rekindle-llm" in p.read_text(encoding="utf-8")]
            self.assertEqual(named, [])
            for manifest, name in (("go.mod", other), ("cmd/rekindle-server/go.mod", f"{other}/cmd/rekindle-server")):
                self.assertIn(f"module {name}\n", (root / "bindings/go" / manifest).read_text(encoding="utf-8"))
