//! The formats that are known. A new one is a row here.

use super::format::{Arguments, Body, Format, named, tagged};

/// Content and nothing else.
pub(super) fn plain() -> Format {
    Format::new("plain")
}

/// All known formats, the more particular ones first.
pub(super) fn all() -> Vec<Format> {
    let harmony_name = || named(&["<|message|>"], Arguments::Json).header(" <|constrain|>json").body();
    let harmony_ends = ["<|call|>", "<|end|>"];
    vec![
        // gpt-oss: messages with channels.
        Format::new("harmony")
            .one_call()
            .header("<|start|>assistant")
            .reasoning("<|channel|>analysis<|message|>", "<|end|>")
            .anywhere()
            .frames(&[
                "<|start|>assistant",
                "<|channel|>final<|message|>",
                "<|channel|>commentary<|message|>",
                "<|end|>",
                "<|return|>",
                "<|call|>",
            ])
            .call("<|channel|>commentary to=functions.", harmony_name(), &harmony_ends)
            .call("<|channel|>analysis to=functions.", harmony_name(), &harmony_ends)
            .call("<|start|>assistant to=functions.", harmony_name(), &harmony_ends)
            .first_call("to=functions.", harmony_name(), &harmony_ends),
        // Qwen3-Coder, Qwen 3.5, Nemotron 3 and others.
        Format::new("qwen-xml").section("<tool_call>", "</tool_call>", "").call(
            "<function=",
            named(&[">"], Arguments::Tagged(tagged("<parameter=", ">", "", "</parameter>").lines())).body(),
            &["</function>"],
        ),
        // Seed-OSS.
        Format::new("seed-oss").section("<seed:tool_call>", "</seed:tool_call>", "").call(
            "<function=",
            named(&[">"], Arguments::Tagged(tagged("<parameter=", ">", "", "</parameter>").lines())).body(),
            &["</function>"],
        ),
        // MiniMax M2.
        Format::new("minimax-m2").section("<minimax:tool_call>", "</minimax:tool_call>", "").call(
            "<invoke name=\"",
            named(&["\">"], Arguments::Tagged(tagged("<parameter name=\"", "\">", "", "</parameter>"))).body(),
            &["</invoke>"],
        ),
        // Hermes, Qwen 2.5 and 3, Granite 4, and many others.
        Format::new("hermes").call("<tool_call>", Body::Object, &["</tool_call>"]),
        // GLM 4.5 to 4.7.
        Format::new("glm").call(
            "<tool_call>",
            named(&[], Arguments::Tagged(tagged("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")))
                .stops(&["<arg_key>", "</tool_call>"])
                .body(),
            &["</tool_call>"],
        ),
        // Mistral Small 3.2, Devstral, Ministral 3: a name, an id in some, and the arguments.
        Format::new("mistral").reasoning("[THINK]", "[/THINK]").call(
            "[TOOL_CALLS]",
            named(&["[ARGS]"], Arguments::Json).stops(&["{"]).id("[CALL_ID]").body(),
            &[],
        ),
        // Mistral Nemo and before: a list.
        Format::new("mistral-list").id_key("id", "[A-Za-z0-9]{9}", false).section("[TOOL_CALLS]", "", "[],").call(
            "",
            Body::Object,
            &[],
        ),
        // DeepSeek V3.1.
        Format::new("deepseek-v3.1").section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "").call(
            "<｜tool▁call▁begin｜>",
            named(&["<｜tool▁sep｜>"], Arguments::Json).body(),
            &["<｜tool▁call▁end｜>"],
        ),
        // DeepSeek R1 and V3.
        Format::new("deepseek-r1").section("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "").call(
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            named(&["\n```json\n"], Arguments::Json).body(),
            &["```<｜tool▁call▁end｜>"],
        ),
        // DeepSeek V3.2.
        Format::new("deepseek-dsml").section("<｜DSML｜function_calls>", "</｜DSML｜function_calls>", "").call(
            "<｜DSML｜invoke name=\"",
            named(
                &["\">"],
                Arguments::Tagged(tagged("<｜DSML｜parameter name=\"", "\"", ">", "</｜DSML｜parameter>").typed()),
            )
            .body(),
            &["</｜DSML｜invoke>"],
        ),
        // DeepSeek V4.
        Format::new("deepseek-v4").section("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", "").call(
            "<｜DSML｜invoke name=\"",
            named(
                &["\">"],
                Arguments::Tagged(tagged("<｜DSML｜parameter name=\"", "\"", ">", "</｜DSML｜parameter>").typed()),
            )
            .body(),
            &["</｜DSML｜invoke>"],
        ),
        // Granite 3.
        Format::new("granite-3")
            .reasoning("<think>", "</think>")
            .frames(&["<response>", "</response>"])
            .section("<|tool_call|>", "", "[],")
            .call("", Body::Object, &[]),
        // Command R7B and Command A.
        Format::new("command-r7b")
            .keys("tool_name", "parameters")
            .id_key("tool_call_id", "[0-9]{1,4}", true)
            .reasoning("<|START_THINKING|>", "<|END_THINKING|>")
            .frames(&["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"])
            .section("<|START_ACTION|>", "<|END_ACTION|>", "[],")
            .call("", Body::Object, &[]),
        // Command R and R+.
        Format::new("command-r")
            .keys("tool_name", "parameters")
            .section("Action:\n```json", "```", "[],")
            .section("Action:```json", "```", "[],")
            .section("Action: ```json", "```", "[],")
            .call("", Body::Object, &[]),
        // gemma 4.
        Format::new("gemma-4").reasoning("<|channel>thought", "<channel|>").anywhere().call(
            "<|tool_call>call:",
            named(&["{"], Arguments::Loose(b'}')).body(),
            &["<tool_call|>"],
        ),
        // LFM2.
        Format::new("lfm2")
            .hints(&["<|tool_list_start|>", "List of tools: ["])
            .section("<|tool_call_start|>", "<|tool_call_end|>", "[],")
            .call("", named(&["("], Arguments::Loose(b')')).body(), &[]),
        // Kimi K2.
        Format::new("kimi-k2").section("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "").call(
            "<|tool_call_begin|>",
            named(&["<|tool_call_argument_begin|>"], Arguments::Json).in_id().body(),
            &["<|tool_call_end|>"],
        ),
        // Functionary 3.2: the prompt ends where the name of a tool, or `all`, follows.
        Format::new("functionary-3.2")
            .frames(&[">>>all\n"])
            .first_frames(&["all\n"])
            .call(">>>", named(&["\n"], Arguments::Json).body(), &[])
            .first_call("", named(&["\n"], Arguments::Json).body(), &[]),
        // Functionary 3.1.
        Format::new("functionary-3.1").call("<function=", named(&[">"], Arguments::Json).body(), &["</function>"]),
        // Llama 3: mere JSON at the beginning of a message, perhaps behind a marker.
        Format::new("llama-3").keys("name", "parameters").one_call().first_call("", Body::Object, &[]).call(
            "<|python_tag|>",
            Body::Object,
            &[],
        ),
    ]
}
