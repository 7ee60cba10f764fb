package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	rekindle "github.com/rekindle-llm/rekindle/bindings/go"
)

// failure is an error with what a client is told of it.
type failure struct {
	status  int
	message string
	// kind and code are OpenAI's type and code, param the field at fault.
	kind, code, param string
}

func (f *failure) Error() string { return f.message }

func badRequest(param, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...), "invalid_request_error", "invalid_value", param}
}

func notFound(code, format string, args ...any) *failure {
	return &failure{http.StatusNotFound, fmt.Sprintf(format, args...), "invalid_request_error", code, ""}
}

func unavailable(code, format string, args ...any) *failure {
	return &failure{http.StatusServiceUnavailable, fmt.Sprintf(format, args...), "server_error", code, ""}
}

// notThere answers for what this server does not do.
func notThere(format string, args ...any) *failure {
	return &failure{http.StatusNotImplemented, fmt.Sprintf(format, args...), "invalid_request_error", "not_implemented", ""}
}

func tooLarge(limit int64) *failure {
	return &failure{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", limit),
		"invalid_request_error", "body_too_large", ""}
}

// statusGone is for the log alone: the client has closed its connection.
const statusGone = 499

// asFailure finds the status and the words for any error.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var e *rekindle.Error
	var connection *net.OpError
	switch {
	case errors.As(err, &e):
		return ofLibrary(e)
	case errors.As(err, &connection):
		// The answer cannot be written.
		return &failure{statusGone, "the client has gone", "server_error", "cancelled", ""}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{http.StatusGatewayTimeout, "the request took longer than this server allows (--request-timeout)",
			"server_error", "timeout", ""}
	case errors.Is(err, context.Canceled):
		return &failure{statusGone, "the client has gone", "server_error", "cancelled", ""}
	case errors.Is(err, errUnloaded):
		return unavailable("model_unloaded", "the model was unloaded")
	}
	return &failure{http.StatusInternalServerError, err.Error(), "server_error", "internal_error", ""}
}

func ofLibrary(e *rekindle.Error) *failure {
	f := &failure{http.StatusInternalServerError, e.Message, "server_error", "internal_error", e.Subject}
	invalid := func(code string) {
		f.status, f.kind, f.code = http.StatusBadRequest, "invalid_request_error", code
	}
	switch e.Status {
	case rekindle.InvalidArgument:
		invalid("invalid_value")
	case rekindle.Unsupported:
		invalid("unsupported")
	case rekindle.ContextFull:
		invalid("context_length_exceeded")
	case rekindle.NotFound:
		f.status, f.kind, f.code = http.StatusNotFound, "invalid_request_error", "not_found"
	case rekindle.NotFit:
		// Nothing that a client repeats would change it, so it is no 5xx.
		invalid("model_does_not_fit")
	case rekindle.BadHandle:
		// The server ends while the request is under way.
		f.status, f.code = http.StatusServiceUnavailable, "model_unloaded"
	case rekindle.Device, rekindle.OutOfMemory, rekindle.Busy:
		f.status, f.code = http.StatusServiceUnavailable, "unavailable"
	case rekindle.BadFile, rekindle.IO:
		f.code = "bad_model_file"
	}
	return f
}

// dialect is the form that a family of endpoints answers in.
type dialect int

const (
	openAI dialect = iota
	ollama
	anthropic
)

// body is the error as the dialect's clients read it.
func (d dialect) body(f *failure) []byte {
	var v any
	switch d {
	case ollama:
		v = map[string]any{"error": f.message}
	case anthropic:
		v = map[string]any{"type": "error", "error": map[string]any{"type": f.anthropicKind(), "message": f.message}}
	default:
		e := map[string]any{"message": f.message, "type": f.kind, "code": f.code, "param": nil}
		if f.param != "" {
			e["param"] = f.param
		}
		v = map[string]any{"error": e}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return []byte(`{"error":"the error has no form in JSON"}`)
	}
	return text
}

// anthropicKind is Anthropic's word for an error.
func (f *failure) anthropicKind() string {
	switch f.status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	if f.status < 500 || f.status == http.StatusNotImplemented {
		return "invalid_request_error"
	}
	return "api_error"
}

// refuse answers with an error.
func (d dialect) refuse(w http.ResponseWriter, f *failure) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if f.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if f.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
	w.Write(append(d.body(f), '\n'))
}
