package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// blobHead tells if a file of that digest is at hand, so that a client need not send it.
func (s *server) blobHead(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.blobPath(r.PathValue("digest")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// mostUploads is the number of files that clients may send at once: each has room on the disk before it is known if it
// is what it should be.
const mostUploads = 4

// blobPut takes a file. It counts only when all of it has come and has the digest of its name.
func (s *server) blobPut(w http.ResponseWriter, r *http.Request) error {
	if err := s.state.there(); err != nil {
		return err
	}
	digest := r.PathValue("digest")
	to, err := blob(s.state.dir, digest)
	if err != nil {
		return badRequest("digest", "%v", err)
	}
	if _, err := s.blobPath(digest); err == nil {
		w.WriteHeader(http.StatusOK)
		return nil
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		return unavailable("queue_full", "%d files are on their way already", mostUploads)
	}
	f, err := os.CreateTemp(filepath.Dir(to), "*.part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	body := &patient{r: r.Body, control: http.NewResponseController(w)}
	if _, err = io.Copy(io.MultiWriter(f, sum), body); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return tooLarge(large.Limit)
		}
		return badRequest("", "the file has not come as a whole: %v", err)
	}
	body.done()
	if got := "sha256-" + hex.EncodeToString(sum.Sum(nil)); got != filepath.Base(to) {
		return badRequest("digest", "the file's digest is %s, not %s", got, digest)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// patient reads a long body, each piece of which must come in time.
type patient struct {
	r       io.Reader
	control *http.ResponseController
	next    time.Time
}

func (p *patient) Read(b []byte) (int, error) {
	// Once a second is enough.
	if now := time.Now(); now.After(p.next) {
		_ = p.control.SetReadDeadline(now.Add(bodyTimeout))
		p.next = now.Add(time.Second)
	}
	return p.r.Read(b)
}

// done lets the connection be read without a deadline again.
func (p *patient) done() { _ = p.control.SetReadDeadline(time.Time{}) }
