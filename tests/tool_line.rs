//! The command line of the tool: help, options in any order, JSON of every command, commands to copy, chats and cards.

#[path = "support/built.rs"]
mod built;
mod support;
#[path = "support/tool.rs"]
mod tool;

use std::process::Command;

use serde_json::Value;
use tool::*;

const PROMPT: &str = "And the king said unto";
const QUICK: [&str; 8] = ["-p", "16", "-n", "3", "-r", "2", "--threads", "1"];

#[test]
fn help_is_plain() {
    for args in [&["--help"][..], &["help"], &["run", "--help"], &["bench", "-h"], &["plan", "x", "--ctx", "3", "-h"]] {
        let said = alone(args);
        assert!(said.code == 0 && said.out.starts_with("usage: rekindle"), "{args:?}: {}", said.out);
        assert!(said.out.lines().all(|l| l.chars().count() <= 120), "{}", said.out);
    }
    for command in ["plan", "run", "chat", "embed", "perplexity", "bench", "tokenize", "info", "devices"] {
        let said = alone(&[command, "--help"]);
        assert!(
            said.out.starts_with(&format!("usage: rekindle {command}")) && said.out.contains("--devices"),
            "{command}"
        );
        let said = alone(&[command, "--version"]);
        assert!(
            said.code == 0 && said.out.starts_with(concat!("rekindle ", env!("CARGO_PKG_VERSION"))),
            "{}",
            said.out
        );
        let said = alone(&[command]);
        assert!(command == "devices" || said.code == 2 && said.err.contains("MODEL"), "{}", said.err);
    }
    assert_eq!(alone(&[]).code, 2);
    assert!(alone(&["help", "run"]).out == alone(&["run", "--help"]).out);
    let man = alone(&["help", "man"]).out;
    for (name, mark) in [("bash", "complete "), ("zsh", "#compdef"), ("fish", "complete -c rekindle")] {
        let said = alone(&["help", name]);
        assert!(said.out.contains(mark) && said.out.contains("control-vector"), "{name}");
        assert!(man.contains("\\fB\\-\\-control\\-vector\\fR"));
    }
    assert!(alone(&["help", "nonsense"]).code == 2);
}

/// Options stand where one likes, with their value behind them or behind a =.
#[test]
fn options_go_anywhere() {
    let model = &model();
    let usual = alone(&["plan", model, "--ctx", "64", "--devices", "cpu", "--json"]);
    for args in [
        &["--ctx", "64", "plan", "--devices=cpu", model, "--json"][..],
        &["--json", "--devices", "cpu", "plan", "--ctx=64", "--", model],
    ] {
        let said = alone(args);
        let same = |s: &str| serde_json::from_str::<Value>(s).unwrap()["devices"][0]["kv_bytes"].take();
        assert!(said.code == 0 && same(&said.out) == same(&usual.out), "{args:?}: {}", said.err);
    }
    // Sizes that a plan prints can be given back.
    for reserve in ["1536", "1.5GiB", "1.5 GiB", "1536.0 MiB"] {
        let said = alone(&["plan", model, "--devices", "k80:1", "--reserve", reserve, "--ask", "context"]);
        assert_eq!((said.code, said.out.as_str()), (0, "512\n"), "{reserve}: {}", said.err);
    }
}

/// JSON on standard output, and nothing else.
#[test]
fn all_commands_have_json() {
    let parsed =
        |said: Said| -> Value { serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out)) };
    let v = parsed(tool("run", &["-p", PROMPT, "-n", "3", "--temp", "1", "--json"]));
    assert!(v["n_generated"] == 3 && v["seed"].is_u64() && v["text"].is_string(), "{v}");
    let v = parsed(tool("tokenize", &["-p", PROMPT, "--json"]));
    assert!(v["tokens"].as_array().unwrap().len() > 3 && v["tokens"][1]["piece"] == " And", "{v}");
    let v = parsed(tool("info", &["--json"]));
    assert!(v["architecture"] == "llama" && v["keys"]["general.architecture"] == "llama", "{v}");
    assert!(v["tensors"].as_array().unwrap().iter().any(|t| t["name"] == "token_embd.weight"), "{v}");
    let v = parsed(tool("plan", &["--ask", "kv", "--json"]));
    assert!(v["question"] == "kv" && v["answer"] == "f16", "{v}");
    let v = parsed(tool("plan", &["--compare", "--json"]));
    assert!(v["measured"]["fits"] == true && v["family"]["estimator"] == "family", "{v}");
    let v = parsed(alone(&["devices", "--json", "--devices", "k80:2"]));
    assert!(v["devices"].as_array().unwrap().len() == 3 && v["devices"][0]["described"] == true, "{v}");
    assert_eq!(parsed(tool("bench", &[&QUICK[..], &["--json"]].concat())).as_array().unwrap().len(), 2);
}

#[test]
fn run_reads_standard_input_and_files() {
    let said = tool_with(&format!("{PROMPT}\n"), "run", &["-n", "12", "-q"]);
    assert_eq!(said.out, tool("run", &["-q", "-n", "12", "-p", PROMPT]).out, "{}", said.err);
    let file = written("prompt.txt", PROMPT);
    assert_eq!(tool("run", &["-q", "-n", "12", "-f", &file]).out, said.out);
    assert_eq!(tool_with(PROMPT, "run", &["-q", "-n", "12", "-p", "-"]).out, said.out);
}

/// Without a seed another text each time, which the seed that is shown writes again.
#[test]
fn run_shows_its_seed() {
    let args = ["-p", PROMPT, "-n", "24", "--temp", "1.2"];
    let (one, two) = (tool("run", &args), tool("run", &args));
    assert_ne!(one.out, two.out);
    let seed = one.err.lines().find_map(|l| l.strip_prefix("--seed ")).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(tool("run", &[&args[..], &["--seed", &seed]].concat()).out, one.out);
}

/// Remedies are whole commands: the one that was given, with what is to be changed.
#[test]
fn remedies_can_be_copied() {
    let tight = r#"[{"kind": "cuda", "name": "a 'die'", "free_bytes": 6300000, "total_bytes": 9000000}]"#;
    let said = tool_with("", "plan", &["--ctx=512", "--devices", tight, "--kv", "f16"]);
    assert!(said.code == 1 && said.out.starts_with("DOES NOT FIT: device 0 is short by ") && said.err.is_empty());
    let copied = said.out.lines().filter(|l| l.starts_with("  rekindle plan ")).collect::<Vec<_>>();
    assert!(!copied.is_empty(), "{}", said.out);
    for line in copied {
        let (command, promise) = line.trim().split_once("  # ").unwrap();
        let path = format!("{} {}", folder().join("rekindle").display(), command.strip_prefix("rekindle ").unwrap());
        let out = Command::new("sh").args(["-c", &path]).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.starts_with("fits; "), "{command}: {promise}: {text}");
    }
}

/// A turn a line; commands between them.
#[test]
fn chat_obeys_its_commands() {
    let template = written("plain.jinja", "{% for m in messages %}{{ m.content }} {% endfor %}");
    let (saved, again) = (folder().join("talk.jsonl"), folder().join("again.jsonl"));
    let (path, copy) = (saved.display(), again.display());
    let input = format!(
        "/help\n/system Thus \"it\" is\nAnd God said\n/save {path}\n/reset\n/save {copy}\n/load {path}\n/save {copy}\n\
         /load /no/such/file\n/nonsense\n/plan\n/quit\nnever read\n"
    );
    let said = tool_with(&input, "chat", &["--template", &template, "-n", "6"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let talk = std::fs::read_to_string(&saved).unwrap();
    let messages = lines(&talk);
    assert_eq!(messages.len(), 3, "{talk}");
    assert!(messages[0]["content"] == "Thus \"it\" is" && messages[1]["content"] == "And God said", "{talk}");
    assert_eq!(messages[2]["content"].as_str().unwrap(), said.out.trim_end_matches('\n'));
    assert_eq!(std::fs::read_to_string(&again).unwrap(), talk);
    for text in ["/reset", "1 messages are in", "3 messages\n", "/no/such/file", "/nonsense is not known", "fits; "] {
        assert!(said.err.contains(text), "{text}: {}", said.err);
    }
}

/// Cards of systems that are described by files, and what mends each.
#[test]
fn devices_says_what_keeps_a_card_from_use() {
    let root = folder().join("system");
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let card = "sys/bus/pci/devices/0000:05:00.0";
    let says = |texts: &[&str]| {
        let said = alone(&["devices", "--root", root.to_str().unwrap()]);
        assert!(said.code == 0 && texts.iter().all(|t| said.out.contains(t)), "{texts:?}: {}", said.out);
    };
    put("etc/os-release", "NAME=\"Rocky Linux\"\nID=\"rocky\"\n");
    says(&["no NVIDIA card is on the bus"]);
    put(&format!("{card}/vendor"), "0x10de\n");
    put(&format!("{card}/class"), "0x030200\n");
    put(&format!("{card}/device"), "0x102d\n");
    says(&[
        "0000:05:00.0  Tesla K80: NVIDIA's driver is not installed",
        "sudo dnf module install nvidia-driver:470-dkms",
    ]);
    put("usr/bin/nvidia-smi", "");
    says(&["kernel module is not loaded", "sudo modprobe nvidia"]);
    let version = |v: &str| format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {v}  Thu\n");
    put("proc/driver/nvidia/version", &version("535.183.01"));
    says(&["driver 535.183.01 does not know this card; 470 is the last branch", "470-dkms"]);
    put("proc/driver/nvidia/version", &version("450.80.02"));
    says(&["driver 450.80.02 is older than 470"]);
    put("proc/driver/nvidia/version", &version("470.256.02"));
    std::os::unix::fs::symlink("../../../../bus/pci/drivers/nvidia", root.join(card).join("driver")).unwrap();
    says(&["device files are not there", "sudo nvidia-modprobe -c=0 -u"]);
    put("dev/nvidiactl", "");
    put("dev/nvidia0", "");
    says(&["/dev/nvidia-uvm is not there", "sudo nvidia-modprobe -u -c=0"]);
    put("dev/nvidia-uvm", "");
    says(&["driver: 470.256.02", "0000:05:00.0  Tesla K80\n"]);
}

/// Sessions that need no terminal say today what tests/terminal/record.py recorded.
#[test]
fn recorded_commands_say_the_same() {
    let recorded = std::fs::read_to_string(support::root().join("tests/terminal/commands.txt")).unwrap();
    let bible = folder().join("bible.gguf");
    std::os::unix::fs::symlink(model(), &bible).unwrap();
    let path = format!("{}:{}", folder().display(), std::env::var("PATH").unwrap());
    let sessions: Vec<&str> = recorded.strip_prefix("$ ").unwrap().split("\n$ ").collect();
    assert!(sessions.len() >= 10, "{}", sessions.len());
    for session in sessions {
        let (command, expected) = session.split_once('\n').unwrap();
        let out = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .current_dir(folder())
            .env("PATH", &path)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        assert_eq!(said.trim_end(), expected.trim_end(), "{command}; tests/terminal/record.py records it again");
    }
}
