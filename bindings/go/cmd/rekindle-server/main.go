// Command rekindle-server answers the clients of Ollama and of OpenAI with models that rekindle runs. docs/server.md
// lists endpoints and options.
//
// The way of a request: server.go lets it in and hands it to its dialect (openai*.go, ollama*.go, native.go); fleet.go
// gives a loaded model, and plans and loads it if need be; the engine's goroutine (engine.go) steps the generation
// beside others of that model; what comes (job.go) goes through a reader of replies (reply.go) into the dialect's form.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "rekindle-server:", err)
		os.Exit(2)
	}
	if err := serve(o); err != nil {
		fmt.Fprintln(os.Stderr, "rekindle-server:", err)
		os.Exit(1)
	}
}

// graceful is the time that requests have to come to their end when the server is told to end.
const graceful = 10 * time.Second

func serve(o options) error {
	s, err := newServer(o)
	if err != nil {
		return err
	}
	defer s.close()
	l, err := net.Listen("tcp", net.JoinHostPort(o.host, strconv.Itoa(o.port)))
	if err != nil {
		return err
	}
	warnings(o)
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(narrow(l, o.connections)) }()
	slog.Info("listening", "address", "http://"+l.Addr().String(), "models", len(s.catalog.all()))
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	slog.Info("ending: requests under way have some seconds", "seconds", graceful.Seconds())
	// A second signal ends at once.
	stop()
	late, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	if err := h.Shutdown(late); err != nil {
		// The rest is cut off.
		return errors.Join(h.Close(), nil)
	}
	return nil
}

func warnings(o options) {
	if len(o.keys) > 0 {
		return
	}
	if !isLoopback(o.host) {
		slog.Warn("anyone who reaches this address may use the models: no --api-key is set", "host", o.host)
	}
	for _, origin := range o.origins {
		if origin == "*" {
			slog.Warn("any page in a browser of this machine may use the models: --origins is * and no --api-key is set")
		}
	}
}
