package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// An Ollama store is a folder with manifests and blobs:
//
//	manifests/registry.ollama.ai/library/<name>/<tag>   a JSON list of layers
//	blobs/sha256-<hex>                                  the layers: the GGUF file, template, system prompt, parameters
//
// It is only read. Model layers are plain GGUF files, so they are used where they lie.

const (
	usualRegistry  = "registry.ollama.ai"
	usualNamespace = "library"
	// A manifest or a layer of text may not be larger.
	maxManifest = 1 << 20
	// A manifest may not name more layers.
	mostLayers = 64
)

var digestForm = regexp.MustCompile(`^sha256[:-]([0-9a-f]{64})$`)

type manifest struct {
	Config layer   `json:"config"`
	Layers []layer `json:"layers"`
}

type layer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// readStore gives the models of a store. Broken manifests are told to complain and left out.
func readStore(dir string, complain func(error)) []*entry {
	var entries []*entry
	root := filepath.Join(dir, "manifests")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			complain(err)
			return nil
		}
		if d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name, known := storeName(filepath.ToSlash(relative))
		if !known {
			return nil
		}
		e, err := readManifest(dir, file, name)
		if err != nil {
			complain(fmt.Errorf("%s: %w", file, err))
			return nil
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		complain(err)
	}
	return entries
}

// storeName is the name that Ollama shows for a manifest at host/namespace/model/tag.
func storeName(relative string) (name string, known bool) {
	parts := strings.Split(relative, "/")
	if len(parts) != 4 {
		return "", false
	}
	host, namespace, model, tag := parts[0], parts[1], parts[2], parts[3]
	name = model + ":" + tag
	if host != usualRegistry {
		return path.Join(host, namespace, name), true
	}
	if namespace != usualNamespace {
		return path.Join(namespace, name), true
	}
	return name, true
}

func readManifest(dir, file, name string) (*entry, error) {
	text, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("the manifest is no JSON: %w", err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	e := &entry{name: name, modified: info.ModTime(), stored: true}
	if len(m.Layers) > mostLayers {
		return nil, fmt.Errorf("the manifest names %d layers, %d at most are taken", len(m.Layers), mostLayers)
	}
	for _, l := range m.Layers {
		e.size += l.Size
		if err := e.take(dir, l); err != nil {
			return nil, err
		}
	}
	if e.path == "" {
		return nil, fmt.Errorf("the manifest names no model layer")
	}
	return e, nil
}

// take adds a layer to what is known of a model.
func (e *entry) take(dir string, l layer) error {
	kind := strings.TrimPrefix(l.MediaType, "application/vnd.ollama.image.")
	at, err := blob(dir, l.Digest)
	if err != nil {
		return err
	}
	switch kind {
	case "model":
		if info, err := os.Stat(at); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", at)
		}
		if e.path != "" {
			return fmt.Errorf("the manifest names two model layers")
		}
		e.path, e.digest = at, digestForm.FindStringSubmatch(l.Digest)[1]
	case "template", "system", "license":
		text, err := readSmall(at)
		if err != nil {
			return err
		}
		switch kind {
		case "template":
			e.template = string(text)
		case "system":
			e.system = string(text)
		default:
			e.license = string(text)
		}
	case "params":
		text, err := readSmall(at)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &e.params); err != nil {
			return fmt.Errorf("the layer of parameters: %w", err)
		}
		e.paramsText = text
	default:
		e.ignored = append(e.ignored, kind)
	}
	return nil
}

// blob is the path of a layer. A digest is a stranger's text and never leads out of the folder.
func blob(dir, digest string) (string, error) {
	m := digestForm.FindStringSubmatch(digest)
	if m == nil {
		return "", fmt.Errorf("the digest %q is not sha256: and 64 hexadecimal digits", digest)
	}
	return filepath.Join(dir, "blobs", "sha256-"+m[1]), nil
}

func readSmall(file string) ([]byte, error) {
	// To open a pipe would wait for who writes into it.
	if info, err := os.Stat(file); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, fmt.Errorf("has more than %d bytes", maxManifest)
	}
	return text, nil
}
