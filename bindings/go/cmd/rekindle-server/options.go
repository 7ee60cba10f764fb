package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// options are those of the command line.
type options struct {
	// models are files and folders; store is an Ollama store's folder.
	models []string
	store  string
	// aliases are further names of models.
	aliases map[string]string
	host    string
	port    int
	// devices and threads are those of the library's context.
	devices string
	threads uint
	// context is the number of tokens that a model is loaded for, all sequences together; 0: the usual one.
	context uint
	// parallel is the number of generations of a model that go on at once.
	parallel uint
	ubatch   uint
	// queue is the number of requests that may be under way or wait, of all models together.
	queue     int
	keepAlive time.Duration
	keys      []string
	origins   []string
	// body is the largest body of a request in bytes.
	body int64
	// upload is the largest file that a client may send, in bytes.
	upload         int64
	requestTimeout time.Duration
	// comments is the time between comments while nothing else is sent.
	comments time.Duration
	// slotPath is the folder of saved sequences; empty: none are saved.
	slotPath string
	// state is the folder of what clients make; empty: they make nothing.
	state string
	// connections at once.
	connections int
	verbose     bool
}

// usualContext is the context of a model, in tokens, where nobody says another: more than most chats need, and not so
// much that models with long contexts take all memory.
const usualContext = 16384

func defaultOptions() options {
	return options{
		host: "127.0.0.1", port: 11434, devices: "auto", parallel: 4, queue: 512, keepAlive: 5 * time.Minute,
		body: 32 << 20, upload: 64 << 30, requestTimeout: time.Hour, comments: 10 * time.Second, connections: 4096,
		origins: []string{"http://localhost", "http://127.0.0.1", "http://[::1]", "https://localhost", "https://127.0.0.1",
			"app://", "file://", "tauri://", "vscode-webview://"},
	}
}

// list collects the values of an option that may be given several times, or with commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(s string) error {
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}

func parseOptions(args []string, out io.Writer) (options, error) {
	o := defaultOptions()
	var keys, origins, aliases list
	var keyFile, keepAlive string
	f := flag.NewFlagSet("rekindle-server", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprintf(out, "rekindle-server [OPTION...] MODEL...\n\nMODEL is a GGUF file or a folder of such files.\n\n")
		f.PrintDefaults()
	}
	f.StringVar(&o.store, "ollama-store", "", "a store of Ollama (its models folder), read in place; \"auto\": the usual folder, if it is there")
	f.Var(&aliases, "alias", "another name of a model, as gpt-4o=qwen3-4b; may be given several times")
	f.StringVar(&o.host, "host", o.host, "address to listen on")
	f.IntVar(&o.port, "port", o.port, "port to listen on; 0: any")
	f.StringVar(&o.devices, "devices", o.devices, "devices, as those of the tool")
	f.UintVar(&o.threads, "threads", 0, "threads of the CPU; 0: one per core")
	f.UintVar(&o.context, "ctx", 0, fmt.Sprintf("tokens that a model is loaded for; 0: the file's, %d at most, and what fits", usualContext))
	f.UintVar(&o.parallel, "parallel", o.parallel, "generations of a model that go on at once")
	f.UintVar(&o.ubatch, "ubatch", 0, "tokens of a micro-batch; 0: the library's choice")
	f.IntVar(&o.queue, "queue", o.queue, "requests under way or waiting; further ones get 503")
	f.StringVar(&keepAlive, "keep-alive", "5m", "how long an idle model stays loaded, as 10m; -1: for ever, 0: not at all")
	f.Var(&keys, "api-key", "a key that requests must have; may be given several times")
	f.StringVar(&keyFile, "api-key-file", "", "a file of such keys, one a line")
	f.Var(&origins, "origins", "origins of browsers that may call, besides those of this machine; * for all")
	f.Int64Var(&o.body, "max-body", o.body, "largest body of a request, bytes")
	f.DurationVar(&o.requestTimeout, "request-timeout", o.requestTimeout, "longest time of a request; 0: any")
	f.DurationVar(&o.comments, "comments", o.comments, "time between comments of an event stream while a prompt is read")
	f.IntVar(&o.connections, "max-connections", o.connections, "connections at once")
	f.StringVar(&o.slotPath, "slot-save-path", "", "a folder in which sequences are kept over restarts")
	f.StringVar(&o.state, "state", "", "a folder for models that clients make, copy and send; \"auto\": the user's usual one")
	f.Int64Var(&o.upload, "max-upload", o.upload, "largest file that a client may send, bytes")
	f.BoolVar(&o.verbose, "verbose", false, "log each request")
	// Options may stand behind models, too.
	for rest := args; ; rest = f.Args()[1:] {
		if err := f.Parse(rest); err != nil {
			return o, err
		}
		if f.NArg() == 0 {
			break
		}
		o.models = append(o.models, f.Arg(0))
	}
	var err error
	if o.keepAlive, err = parseKeepAlive(keepAlive); err != nil {
		return o, fmt.Errorf("--keep-alive: %w", err)
	}
	o.aliases = map[string]string{}
	for _, a := range aliases {
		name, model, is := strings.Cut(a, "=")
		if !is || name == "" || model == "" {
			return o, fmt.Errorf("--alias %s: NAME=MODEL is wanted", a)
		}
		o.aliases[plainName(name)] = model
	}
	if o.parallel == 0 || o.parallel > 256 {
		return o, errors.New("--parallel is out of range, 1 to 256 are possible")
	}
	if o.queue < 1 || o.connections < 1 || o.body < 1 || o.upload < 1 {
		return o, errors.New("--queue, --max-connections, --max-body and --max-upload must be at least 1")
	}
	if key := os.Getenv("REKINDLE_API_KEY"); key != "" {
		keys = append(keys, key)
	}
	o.keys, o.origins = keys, append(o.origins, origins...)
	if keyFile != "" {
		more, err := readKeys(keyFile)
		if err != nil {
			return o, err
		}
		o.keys = append(o.keys, more...)
	}
	if o.slotPath != "" {
		// What people talk about is nobody else's business.
		if err := os.MkdirAll(o.slotPath, 0o700); err != nil {
			return o, err
		}
	}
	if o.state == "auto" {
		var err error
		if o.state, err = usualState(); err != nil {
			return o, fmt.Errorf("--state: %w", err)
		}
	}
	if o.store == "auto" {
		o.store = usualStore()
	}
	if len(o.models) == 0 && o.store == "" {
		return o, errors.New("no models: name GGUF files, folders of them, or an Ollama store with --ollama-store")
	}
	return o, nil
}

// readKeys gives the keys of a file. A file without one is an error: the server would stand open.
func readKeys(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var keys []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key", path)
	}
	return keys, nil
}

// usualStore is the folder that Ollama uses; empty if there is none.
func usualStore() string {
	candidates := []string{os.Getenv("OLLAMA_MODELS")}
	if home, err := os.UserHomeDir(); err == nil {
		candidates = append(candidates, filepath.Join(home, ".ollama", "models"))
	}
	candidates = append(candidates, "/usr/share/ollama/.ollama/models")
	for _, c := range candidates {
		if info, err := os.Stat(filepath.Join(c, "manifests")); c != "" && err == nil && info.IsDir() {
			return c
		}
	}
	return ""
}
