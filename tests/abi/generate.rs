//! Writes the C tests that every function of the header gets: NULL for each pointer, handles that are none, structs of
//! other sizes, buffers that are too small. A function or argument that it does not know fails the test, so none is
//! forgotten.

use std::fmt::Write;

use crate::prototypes::{Argument, Function, Header};

/// Pointers that may be NULL by the header's text (besides the handle of a _destroy, `needed` and `user_data`).
const NULLABLE: [(&str, &str); 20] = [
    ("rekindle_context_create", "params"),
    ("rekindle_plan", "params"),
    ("rekindle_plan_ask", "params"),
    ("rekindle_load", "params"),
    ("rekindle_sampler_create", "params"),
    ("rekindle_sampler_logprobs", "chosen"),
    ("rekindle_generation_logprobs", "chosen"),
    ("rekindle_generate", "sampler"),
    ("rekindle_generate", "on_piece"),
    ("rekindle_generate", "result"),
    ("rekindle_logits", "n"),
    ("rekindle_embeddings", "n"),
    ("rekindle_tokenize", "needed"),
    ("rekindle_chat_render", "params"),
    ("rekindle_step", "result"),
    ("rekindle_seq_save_file", "progress"),
    ("rekindle_seq_load_file", "progress"),
    ("rekindle_grammar_create", "params"),
    ("rekindle_reply_create", "params"),
    ("rekindle_model_set_draft", "draft"),
];

/// Parameter structs that must be filled to be of use; all others are valid when they are zero.
const FILLED: [&str; 4] =
    ["rekindle_batch", "rekindle_generate_params", "rekindle_generation_params", "rekindle_plan_params"];

fn ends_a_handle(f: &Function) -> bool {
    f.name.ends_with("_destroy") || f.name.ends_with("_close")
}

fn is_handle(h: &Header, a: &Argument) -> bool {
    a.is_pointer() && h.handles.iter().any(|k| k == a.pointee()) && !a.ty.ends_with("**")
}

fn is_struct(h: &Header, a: &Argument) -> bool {
    a.is_pointer() && h.structs.iter().any(|k| k == a.pointee())
}

fn makes_a_handle(h: &Header, a: &Argument) -> bool {
    a.ty.ends_with("**") && h.handles.iter().any(|k| k == a.pointee())
}

fn member(handle: &str) -> &str {
    let kind = handle.trim_start_matches("rekindle_");
    kind.strip_suffix("_t").unwrap_or(kind)
}

fn destroyer(handle: &str) -> String {
    match handle {
        "rekindle_file" => "rekindle_file_close".into(),
        _ => format!("rekindle_{}_destroy", member(handle)),
    }
}

/// A valid value of an argument, and the statements that make it.
fn valid(h: &Header, f: &Function, a: &Argument) -> (String, String) {
    let name = &a.name;
    if f.name == "rekindle_model_set_draft" && name == "draft" {
        return (String::new(), "NULL".into());
    }
    if is_handle(h, a) {
        let of = match f.name.as_str() {
            "rekindle_plan_remedy" => "too_large",
            "rekindle_pooled" => "pooled",
            "rekindle_file_get_adapter" => "adapted",
            name if name.starts_with("rekindle_chat_") => "chat",
            _ => member(a.pointee()),
        };
        return (String::new(), format!("w.{of}"));
    }
    if is_struct(h, a) {
        let ty = a.pointee();
        let mut make = format!("  {ty} *{name} = ({ty} *)zeroed(sizeof({ty}));\n");
        if FILLED.contains(&ty) {
            let _ = writeln!(make, "  fill_{ty}({name});");
        }
        return (make, name.clone());
    }
    let array = |ty: &str, n: usize| {
        (
            format!(
                "  {ty} *{name} = ({ty} *)allocate({n} * sizeof({ty}));\n  \
                 memset((void *){name}, 0, {n} * sizeof({ty}));\n"
            ),
            name.clone(),
        )
    };
    match (a.ty.as_str(), name.as_str()) {
        (ty, _) if ty.ends_with("**") && makes_a_handle(h, a) => array(&format!("{}*", a.pointee()), 1),
        ("const float**", _) => array("const float *", 1),
        ("const char*", "path") if f.name.starts_with("rekindle_seq_") => (String::new(), "world_scratch()".into()),
        ("size_t", "path_len") if f.name.starts_with("rekindle_seq_") => {
            (String::new(), "strlen(world_scratch())".into())
        }
        ("const uint8_t*", "bytes") => (String::new(), "world_saved".into()),
        ("size_t", "n_bytes") => (String::new(), "world_saved_len".into()),
        ("uint8_t*", "buffer") => array("uint8_t", 1 << 20),
        ("rekindle_progress_fn", _) => (String::new(), "NULL".into()),
        ("const char*const*", "paths") => (String::new(), "world_adapters()".into()),
        ("const size_t*", "path_lens") => (String::new(), "world_adapter_lens()".into()),
        ("size_t", "n_paths" | "n_scales") => (String::new(), "1".into()),
        ("const float*", "scales") => array("float", 1),
        ("const char*", "path") => (String::new(), "w.path".into()),
        ("size_t", "path_len") => (String::new(), "strlen(w.path)".into()),
        ("const char*", "overrides") => (String::new(), "\"{\\\"llama.context_length\\\": 64}\"".into()),
        ("size_t", "overrides_len") => (String::new(), "strlen(\"{'llama.context_length': 64}\")".into()),
        ("const char*", "name") if f.name == "rekindle_chat_template" => (String::new(), "\"default\"".into()),
        ("size_t", "name_len") if f.name == "rekindle_chat_template" => (String::new(), "strlen(\"default\")".into()),
        ("const char*", "name") => (String::new(), "\"general.architecture\"".into()),
        ("size_t", "name_len") => (String::new(), "strlen(\"general.architecture\")".into()),
        ("const char*", "text") => (String::new(), "\"In the beginning\"".into()),
        ("size_t", "text_len") => (String::new(), "strlen(\"In the beginning\")".into()),
        ("int32_t", "kind") => (String::new(), "REKINDLE_GRAMMAR_REGEX".into()),
        ("uint32_t*", "mask") => array("uint32_t", 1 << 20),
        ("char*", "buffer") => array("char", 1 << 20),
        ("rekindle_logprob*", "buffer") => array("rekindle_logprob", 1 << 20),
        ("rekindle_logprob*", "chosen") => array("rekindle_logprob", 1),
        ("float*", "buffer") => array("float", 1 << 20),
        ("int32_t*", "tokens") => array("int32_t", 1 << 20),
        ("size_t", "capacity") => (String::new(), "1 << 20".into()),
        ("const int32_t*", "tokens") => (String::new(), "world_tokens".into()),
        ("const rekindle_chat_message*", _) => (String::new(), "world_messages()".into()),
        ("size_t", "n_messages") => (String::new(), "2".into()),
        ("const float*", "logits") => array("float", 2),
        ("rekindle_generation*const*", _) => (String::new(), "&w.generation".into()),
        ("size_t", "n_generations") => (String::new(), "1".into()),
        ("size_t", "n") => (String::new(), "2".into()),
        ("uint32_t*" | "int32_t*" | "size_t*" | "int64_t*" | "double*", _) => array(a.pointee(), 1),
        ("uint32_t", "abi_version") => (String::new(), "REKINDLE_ABI_VERSION".into()),
        ("uint32_t", "index") if f.name.starts_with("rekindle_file_key_") => (String::new(), "integer_key(&w)".into()),
        ("uint32_t", "index" | "row" | "device" | "flags") => (String::new(), "0".into()),
        ("uint32_t", "length") => (String::new(), "1".into()),
        ("uint32_t", "max_elements") => (String::new(), "4".into()),
        ("int32_t", "question") => (String::new(), "REKINDLE_ASK_LARGEST_CONTEXT".into()),
        ("int32_t", "distribution") => (String::new(), "REKINDLE_LOGPROBS_MODEL".into()),
        ("int32_t", "token") => (String::new(), "5".into()),
        ("int32_t", "seq_id" | "src" | "p0") => (String::new(), "0".into()),
        ("int32_t", "dst" | "delta") => (String::new(), "1".into()),
        ("int32_t", "p1") => (String::new(), "-1".into()),
        ("rekindle_piece_fn", _) => (String::new(), "on_piece_stop".into()),
        ("void*", "user_data") => (String::new(), "NULL".into()),
        (ty, _) => {
            panic!("{}: the tests do not know how to make '{ty} {name}'; add it to tests/abi/generate.rs", f.name)
        }
    }
}

fn call(f: &Function, values: &[String], change: Option<(usize, &str)>) -> String {
    let list = values.iter().enumerate().map(|(i, v)| match change {
        Some((at, other)) if at == i => other.to_owned(),
        _ => v.clone(),
    });
    format!("{}({})", f.name, list.collect::<Vec<_>>().join(", "))
}

struct Case<'a> {
    h: &'a Header,
    f: &'a Function,
    values: Vec<String>,
    out: String,
}

impl Case<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str("  ");
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    /// Room for the tokens that a call adds to the KV cache.
    fn make_room(&mut self) {
        if ["rekindle_decode", "rekindle_generate"].contains(&self.f.name.as_str()) {
            self.line("OK(rekindle_seq_remove(w.model, -1, 0, -1));");
        }
    }

    /// A call that works, and the end of what it made.
    fn works(&mut self, change: Option<(usize, &str)>) {
        let (h, f) = (self.h, self.f);
        self.make_room();
        self.line(format!("OK({});", call(f, &self.values, change)));
        for a in f.arguments.iter().filter(|a| makes_a_handle(h, a)) {
            self.line(format!("CHECK(*{} != NULL);", a.name));
            self.line(format!("OK({}(*{}));", destroyer(a.pointee()), a.name));
        }
    }

    /// A call that is refused and leaves the places for handles alone.
    fn refused(&mut self, status: &str, at: usize, other: &str) {
        let (h, f) = (self.h, self.f);
        let places: Vec<&Argument> =
            f.arguments.iter().enumerate().filter(|(i, a)| *i != at && makes_a_handle(h, a)).map(|(_, a)| a).collect();
        for a in &places {
            self.line(format!("*{} = ({}*)(uintptr_t)0x5a5a;", a.name, a.pointee()));
        }
        self.line(format!("EXPECT({status}, {});", call(f, &self.values, Some((at, other)))));
        for a in &places {
            self.line(format!("CHECK(*{} == ({}*)(uintptr_t)0x5a5a);", a.name, a.pointee()));
        }
    }

    fn nulls(&mut self) {
        let (h, f) = (self.h, self.f);
        for (i, a) in f.arguments.iter().enumerate().filter(|(_, a)| a.is_pointer() && a.name != "user_data") {
            let null = if a.ty.ends_with("_fn") { "NULL".to_owned() } else { format!("({})NULL", a.ty) };
            let nullable =
                NULLABLE.contains(&(f.name.as_str(), a.name.as_str())) || a.name == "needed" && f.buffer().is_some();
            match is_handle(h, a) {
                _ if nullable => self.works(Some((i, &null))),
                true if ends_a_handle(f) => self.line(format!("OK({});", call(f, &self.values, Some((i, &null))))),
                true => self.refused("REKINDLE_BAD_HANDLE", i, &null),
                false => self.refused("REKINDLE_INVALID_ARGUMENT", i, &null),
            }
        }
    }

    fn handles(&mut self) {
        let (h, f) = (self.h, self.f);
        for (i, a) in f.arguments.iter().enumerate().filter(|(_, a)| is_handle(h, a)) {
            let mine = member(a.pointee());
            let other = if mine == "context" { "file" } else { "context" };
            let mut wrong = vec![format!("w.{other}"), format!("gone.{mine}")];
            wrong.extend(
                ["1", "15", "0x1001", "UINTPTR_MAX", "UINTPTR_MAX / 2 + 1", "(uintptr_t)&w"]
                    .map(|n| format!("(uintptr_t)({n})")),
            );
            wrong.push(format!("((uintptr_t)w.{mine} + 1)"));
            wrong.push(format!("((uintptr_t)w.{mine} + ((uintptr_t)1 << 40))"));
            for value in wrong {
                self.refused("REKINDLE_BAD_HANDLE", i, &format!("({}){value}", a.ty));
            }
        }
    }

    fn structs(&mut self) {
        let (h, f) = (self.h, self.f);
        for (i, a) in f.arguments.iter().enumerate().filter(|(_, a)| is_struct(h, a)) {
            let (ty, name) = (a.pointee(), &a.name);
            for size in [0u32, 4, 7, 65537, u32::MAX] {
                self.line(format!("{name}->struct_size = {size}u;"));
                self.refused("REKINDLE_INVALID_ARGUMENT", i, name);
            }
            self.line(format!("{name}->struct_size = sizeof({ty});"));
            let cast = format!("({ty} *)other");
            let input = a.ty.starts_with("const ");
            // A newer host, its tail zero.
            self.line(format!(
                "{{ uint32_t size = sizeof({ty}) + 24; unsigned char *other = (unsigned char *)zeroed(size);"
            ));
            self.line(format!("memcpy(other + 4, (unsigned char *){name} + 4, sizeof({ty}) - 4);"));
            if !input {
                self.line("memset(other + 4, 0xAA, size - 4);");
            }
            self.works(Some((i, &cast)));
            self.line("CHECK(memcmp(other, &size, 4) == 0);");
            if input {
                // A newer host that asks for something unknown.
                self.line("other[size - 1] = 1;");
                self.refused("REKINDLE_INVALID_ARGUMENT", i, &cast);
            } else {
                self.line(format!("for (size_t at = sizeof({ty}); at < size; at++) CHECK(other[at] == 0);"));
            }
            self.line("free(other); }");
            // Older hosts: nothing behind their struct may be touched, which the checkers see.
            self.line(format!("for (uint32_t size = 8; size <= sizeof({ty}); size += 8) {{"));
            self.line("unsigned char *other = (unsigned char *)zeroed(size);");
            self.line(format!("memcpy(other + 4, (unsigned char *){name} + 4, size - 4);"));
            if input {
                self.make_room();
                self.line(format!("rekindle_status s = {};", call(f, &self.values, Some((i, &cast)))));
                self.line(format!(
                    "CHECK(s == REKINDLE_OK || (s == REKINDLE_INVALID_ARGUMENT && size < sizeof({ty})));"
                ));
                for made in f.arguments.iter().filter(|a| makes_a_handle(h, a)) {
                    self.line(format!("if (s == REKINDLE_OK) OK({}(*{}));", destroyer(made.pointee()), made.name));
                }
            } else {
                self.works(Some((i, &cast)));
            }
            self.line("CHECK(memcmp(other, &size, 4) == 0); free(other); }");
        }
    }

    fn buffers(&mut self) {
        let f = self.f;
        let Some(at) = f.buffer() else { return };
        let ty = f.arguments[at].pointee().to_owned();
        let mut values = self.values.clone();
        let mut with = |buffer: &str, capacity: &str| {
            values[at] = buffer.to_owned();
            values[at + 1] = capacity.to_owned();
            values[at + 2] = "&n".to_owned();
            call(f, &values, None)
        };
        let (ask, small, fits) = (with("NULL", "0"), with("small", "n - 1"), with("fits", "n"));
        self.line("{ size_t n = 0;");
        self.line(format!("OK({ask}); CHECK(n > 0); size_t asked = n;"));
        self.line(format!(
            "{ty} *small = ({ty} *)allocate((n - 1) * sizeof({ty})), *fits = ({ty} *)allocate(n * sizeof({ty}));"
        ));
        self.line(format!("EXPECT(REKINDLE_BUFFER_TOO_SMALL, {small}); CHECK(n == asked);"));
        self.line(format!(
            "for (size_t i = 0; i < (n - 1) * sizeof({ty}); i++) CHECK(((unsigned char *)small)[i] == 0xAA);"
        ));
        self.line(format!("OK({fits}); CHECK(n == asked);"));
        if ty == "char" {
            self.line("CHECK(fits[n - 1] == 0);");
        }
        self.line("free(small); free(fits); }");
    }
}

/// One C program for all functions; they are tested one by one, on the same objects.
pub fn program(h: &Header) -> String {
    let mut out = String::from("#include \"world.h\"\n\nstatic struct world w, gone;\n\n");
    let mut main = String::new();
    for f in h.functions.iter().filter(|f| f.returns == "rekindle_status" && !f.arguments.is_empty()) {
        let (makes, values): (Vec<_>, Vec<_>) = f.arguments.iter().map(|a| valid(h, f, a)).unzip();
        let mut c = Case { h, f, values, out: String::new() };
        c.nulls();
        c.handles();
        c.structs();
        c.buffers();
        if ends_a_handle(f) {
            // The world needs its object once more, so an own one is destroyed twice elsewhere (objects.c).
        } else {
            c.works(None);
        }
        // Tokens are decoded anew only where they may matter: under valgrind that takes a second.
        let decoded = ["rekindle_model", "rekindle_generation", "rekindle_sampler"];
        let reset =
            if f.arguments.iter().any(|a| decoded.contains(&a.pointee())) { "  world_reset(&w);\n" } else { "" };
        let _ = write!(out, "static void test_{0}(void) {{\n{reset}{1}{2}", f.name, makes.concat(), c.out);
        for (a, _) in f.arguments.iter().zip(&makes).filter(|(_, m)| !m.is_empty()) {
            let _ = writeln!(out, "  free((void *){});", a.name);
        }
        out.push_str("}\n\n");
        let _ = writeln!(main, "  test_{}();", f.name);
    }
    out.push_str("int main(void) {\n  w = world_make();\n  gone = world_make();\n");
    out.push_str("  { struct world copy = gone; world_end(&copy); }\n");
    out.push_str(&main);
    out.push_str("  const rekindle_api_table *table = rekindle_api(REKINDLE_ABI_VERSION);\n");
    out.push_str("  CHECK(table && table->struct_size == sizeof *table);\n");
    for f in h.functions.iter().filter(|f| f.name != "rekindle_api") {
        let _ = writeln!(out, "  CHECK(table->{} == {});", f.name.trim_start_matches("rekindle_"), f.name);
    }
    out.push_str("  world_end(&w);\n  puts(\"all functions\");\n  return 0;\n}\n");
    out
}
