//! The server in Go: its own tests, and the clients that people use. It says SKIPPED where Go, or a registry that has
//! what it needs, is not there.

#[allow(dead_code, reason = "the command-line tool is not needed here")]
#[path = "support/built.rs"]
mod built;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use built::library;

/// PyPI's clients, in the versions that the calls were written for.
const CLIENTS: [&str; 3] = ["openai==3.57.0", "ollama==0.6.3", "anthropic==2.14.0"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    root().join("models/bible-5M-Q8_0.gguf")
}

/// Go's tool in the server's folder, cgo told of the library in `dir`.
fn go(dir: &Path, args: &[&str]) -> Command {
    let mut go = Command::new("go");
    // Only what compiles knows tags.
    let tags: &[&str] = if args[0] == "mod" { &[] } else { &["-tags", "nopkgconfig"] };
    go.arg(args[0])
        .args(tags)
        .args(&args[1..])
        .current_dir(root().join("bindings/go/cmd/rekindle-server"))
        .env("CGO_ENABLED", "1")
        .env("CGO_CFLAGS", format!("-O1 -I{}", root().join("include").display()))
        .env("CGO_LDFLAGS", format!("-L{}", dir.display()))
        .env("LD_LIBRARY_PATH", dir)
        .env("REKINDLE_MODEL", model());
    go
}

/// Runs a command and gives what it wrote, or what is wrong with it.
fn run(c: &mut Command) -> Result<String, String> {
    let out = c.output().map_err(|e| format!("{c:?}: {e}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(text) } else { Err(format!("{c:?}: {}\n{text}", out.status)) }
}

/// A Python that has these packages, in a folder that later runs find again.
fn python(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = home.join("bin/python");
    let script = "import importlib.metadata as m, sys\n\
                  sys.exit(any(m.version(a.split('==')[0]) != a.split('==')[1] for a in sys.argv[1:]))";
    if run(Command::new(&python).args(["-c", script]).args(packages)).is_err() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"])
            .args(packages))?;
    }
    Ok(python)
}

/// A folder that has npm's clients and the script, which later runs find again.
fn npm_clients() -> Result<PathBuf, String> {
    let (from, home) = (root().join("tests/server/node"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("server-node"));
    let read = |dir: &Path| std::fs::read(dir.join("package.json")).ok();
    if !home.join("node_modules/openai").exists() || read(&from) != read(&home) {
        std::fs::create_dir_all(&home).unwrap();
        std::fs::copy(from.join("package.json"), home.join("package.json")).unwrap();
        let quiet = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
        if let Err(e) = run(Command::new("npm").args(quiet).current_dir(&home)) {
            std::fs::remove_file(home.join("package.json")).unwrap();
            return Err(e);
        }
    }
    std::fs::copy(from.join("clients.mjs"), home.join("clients.mjs")).unwrap();
    Ok(home)
}

/// A Python that drives a browser, and the browser: Debian's, since Playwright's own cannot be had everywhere.
fn browser() -> Result<(PathBuf, &'static str), String> {
    let chromium = "/usr/bin/chromium";
    if !Path::new(chromium).exists() {
        return Err(format!("there is no {chromium}"));
    }
    Ok((python("server-page", &["playwright==1.65.2"])?, chromium))
}

/// The program with Go's clients.
fn go_clients(dir: &Path) -> Result<PathBuf, String> {
    let exe = dir.join("go-clients");
    let from = root().join("tests/server/go");
    run(Command::new("go").args(["build", "-o"]).arg(&exe).arg(".").current_dir(from))?;
    Ok(exe)
}

/// The small model with a template that has tools. A key of a multiple of 32 bytes goes before all others, so nothing
/// else has to move against the file's alignment.
fn caller(dir: &Path) -> PathBuf {
    let (name, model) = ("tokenizer.chat_template", std::fs::read(model()).unwrap());
    let template = std::fs::read_to_string(root().join("tests/server/caller.jinja")).unwrap();
    let template = template.trim_end();
    let before = 8 + name.len() + 4 + 8;
    let room = (before + template.len() + "{##}".len()).next_multiple_of(32) - before;
    let comment = format!("{{#{}#}}", " ".repeat(room - template.len() - "{##}".len()));
    let mut key = (name.len() as u64).to_le_bytes().to_vec();
    key.extend(name.as_bytes());
    key.extend(8u32.to_le_bytes());
    key.extend((room as u64).to_le_bytes());
    key.extend(template.as_bytes());
    key.extend(comment.as_bytes());
    let n_keys = u64::from_le_bytes(model[16..24].try_into().unwrap()) + 1;
    let path = dir.join("caller.gguf");
    std::fs::write(&path, [&model[..16], &n_keys.to_le_bytes(), &key, &model[24..]].concat()).unwrap();
    path
}

/// A server that ends with this value.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(exe: &Path, dir: &Path, models: &[PathBuf]) -> Server {
        let state = dir.join("server-state");
        let mut process = Command::new(exe)
            .args(["--port", "0", "--devices", "cpu", "--threads", "2", "--state"])
            .arg(state)
            .args(models)
            .env("LD_LIBRARY_PATH", dir)
            .env("XDG_CACHE_HOME", dir)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| Some(line.split_once("address=")?.1.split(' ').next()?.to_owned()))
            .expect("the server says its address");
        // The log must not fill its pipe.
        std::thread::spawn(move || log.for_each(drop));
        Server { process, address }
    }

    /// Tells it to end, as init does, and gives its status.
    fn end(mut self) -> i32 {
        run(Command::new("kill").arg(self.process.id().to_string())).unwrap();
        self.process.wait().unwrap().code().unwrap_or(-1)
    }
}

// A failed check must leave no process behind.
impl Drop for Server {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn server() {
    let dir = library("server");
    // -race in all calls, so that packages are compiled once.
    let fetched = run(&mut go(&dir, &["mod", "download"]));
    if let Err(e) = fetched {
        println!("SKIPPED: Go or its modules are not there: {e}");
        assert!(std::env::var_os("CI").is_none(), "Go is needed where CI is set");
        return;
    }
    run(&mut go(&dir, &["vet", "."])).unwrap();
    println!("{}", run(&mut go(&dir, &["test", "-race", "-count=1", "."])).unwrap());

    let exe = dir.join("rekindle-server");
    run(&mut go(&dir, &["build", "-race", "-o", exe.to_str().unwrap(), "."])).unwrap();
    let caller = caller(&dir);
    let server = Server::start(&exe, &dir, &[model(), caller.clone()]);
    let names = [&model(), &caller].map(|p| p.file_stem().unwrap().to_owned());
    let drive = |what: &str, program: Result<Command, String>| match program {
        Ok(mut program) => println!("{}", run(program.arg(&server.address).args(&names).arg(model())).unwrap()),
        Err(e) => println!("SKIPPED: {what} are not there: {e}"),
    };
    drive(
        "the clients of PyPI",
        python("server-clients", &CLIENTS).map(|python| {
            let mut c = Command::new(python);
            c.arg(root().join("tests/server/clients.py"));
            c
        }),
    );
    drive(
        "the clients of npm",
        npm_clients().map(|home| {
            let mut c = Command::new("node");
            c.arg("clients.mjs").current_dir(home);
            c
        }),
    );
    drive("Go's clients", go_clients(&dir).map(Command::new));
    match browser() {
        Ok((python, chromium)) => {
            let page = root().join("tests/server/page.py");
            let args = [names[0].clone(), dir.clone().into(), chromium.into()];
            println!("{}", run(Command::new(python).arg(page).arg(&server.address).args(args)).unwrap());
        }
        Err(e) => println!("SKIPPED: the page is not driven: {e}"),
    }
    assert_eq!(server.end(), 0, "the server ends well, without a race");
}
