package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// digests knows the SHA-256 of files. A file of many gigabytes takes a minute, so each is read once, in the background,
// and the result is kept beside other caches of the user. Small files are read at once.
type digests struct {
	file string
	work chan string

	mu    sync.Mutex
	known map[string]string
	asked map[string]bool
}

// Files up to this size are read at once.
const smallFile = 64 << 20

func newDigests() *digests {
	d := &digests{work: make(chan string, 4096), known: map[string]string{}, asked: map[string]bool{}}
	if dir, err := os.UserCacheDir(); err == nil {
		d.file = filepath.Join(dir, "rekindle", "digests.json")
		if text, err := os.ReadFile(d.file); err == nil {
			if err := json.Unmarshal(text, &d.known); err != nil {
				slog.Warn("the file of digests is not used", "path", d.file, "error", err)
				d.known = map[string]string{}
			}
		}
	}
	go d.run()
	return d
}

// key names a file as it is now.
func key(path string, info os.FileInfo) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
}

// of gives the digest of a file, or an empty text if it is not known yet.
func (d *digests) of(path string, info os.FileInfo) string {
	k := key(path, info)
	d.mu.Lock()
	defer d.mu.Unlock()
	if digest, known := d.known[k]; known {
		return digest
	}
	if info.Size() <= smallFile {
		if digest, err := hash(path); err == nil {
			d.known[k] = digest
			return digest
		}
	} else if !d.asked[k] {
		select {
		case d.work <- path:
			d.asked[k] = true
		default:
		}
	}
	return ""
}

func (d *digests) run() {
	for path := range d.work {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		digest, err := hash(path)
		if err != nil {
			slog.Warn("no digest", "path", path, "error", err)
			continue
		}
		d.mu.Lock()
		d.known[key(path, info)] = digest
		text, err := json.Marshal(d.known)
		d.mu.Unlock()
		if err == nil && d.file != "" {
			err = replaceFile(d.file, text)
		}
		if err != nil {
			slog.Warn("digests are not kept", "path", d.file, "error", err)
		}
	}
}

// replaceFile writes a file as a whole or not at all.
func replaceFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
