package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// bodyTimeout is the time for a request's body to arrive.
const bodyTimeout = 60 * time.Second

// mostBodies is the number of bytes that the bodies of all requests under way may have.
const mostBodies = 512 << 20

// bodies counts the bytes of requests' bodies, up to a number.
type bodies struct {
	bytes atomic.Int64
	most  int64
}

// read reads a request's body as a whole. It counts until give is called.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) (give func(), err error) {
	c := &counted{from: r.Body, all: b}
	give = func() { b.bytes.Add(-c.n) }
	// The deadline must go afterwards: the server goes on reading, to see that a client leaves.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	text, err := io.ReadAll(c)
	_ = control.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	var f *failure
	switch {
	case err == nil:
		r.Body = &ready{Reader: bytes.NewReader(text), text: text}
		return give, nil
	case errors.As(err, &f):
	case errors.As(err, &large):
		err = tooLarge(large.Limit)
	default:
		err = badRequest("", "the body cannot be read: %v", err)
	}
	give()
	return nil, err
}

// counted counts what is read.
type counted struct {
	from io.Reader
	all  *bodies
	n    int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.n += int64(n)
	if c.all.bytes.Add(int64(n)) > c.all.most {
		return n, unavailable("queue_full", "the requests under way have more than %d bytes", c.all.most)
	}
	return n, err
}

// ready is a body that has arrived.
type ready struct {
	*bytes.Reader
	text []byte
}

func (*ready) Close() error { return nil }

// readJSON reads a request's body into a value.
func readJSON(r *http.Request, to any) error {
	var body []byte
	if b, is := r.Body.(*ready); is {
		body = b.text
	}
	switch {
	case len(body) == 0:
		return badRequest("", "the body is empty; a JSON object is wanted")
	case !utf8.Valid(body):
		return badRequest("", "the body is no UTF-8")
	}
	err := json.Unmarshal(body, to)
	var wrong *json.UnmarshalTypeError
	var f *failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.As(err, &wrong):
		field := fieldName(wrong.Field)
		at := field
		if at == "" {
			at = "the body"
		}
		return badRequest(field, "%s has the type %s, %s is wanted", at, wrong.Value, word(wrong.Type))
	}
	return badRequest("", "the body is no proper JSON: %v", err)
}

// fieldName leaves away the names of structs that stand inside of others, which clients do not know.
func fieldName(path string) string {
	var known []string
	for _, part := range strings.Split(path, ".") {
		switch part {
		case "wishes", "openAIWishes", "ollamaWishes", "nativeRequest":
		default:
			known = append(known, part)
		}
	}
	return strings.Join(known, ".")
}

// word is JSON's word for the values of a type.
func word(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	}
	return "a number"
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return writeSlowly(w, append(text, '\n'))
}

// writeSlowly writes to a client who must take a piece in time.
func writeSlowly(w http.ResponseWriter, text []byte) error {
	control := http.NewResponseController(w)
	for len(text) > 0 {
		n := min(len(text), 64<<10)
		// Not every connection has deadlines.
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}
