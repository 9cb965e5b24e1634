// Writes an image of one static program as an OCI layout in a tar: image NAME PROGRAM OUTPUT.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// object is a JSON object.
type object = map[string]any

type file struct {
	path    string
	mode    int64
	content []byte
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: image NAME PROGRAM OUTPUT")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(name, program, output string) error {
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	entry := filepath.Base(program)
	layer, err := pack([]file{{entry, 0o755, content}})
	if err != nil {
		return err
	}
	var blobs []file
	add := func(mediaType string, data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		blobs = append(blobs, file{"blobs/sha256/" + sum, 0o644, data})
		return object{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(data)}
	}
	addJSON := func(mediaType string, value object) (object, error) {
		data, err := json.Marshal(value)
		return add(mediaType, data), err
	}
	described := add("application/vnd.oci.image.layer.v1.tar", layer)
	config, err := addJSON("application/vnd.oci.image.config.v1+json", object{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       object{"Entrypoint": []string{"/" + entry}, "User": "65532:65532"},
		"rootfs":       object{"type": "layers", "diff_ids": []any{described["digest"]}},
	})
	if err != nil {
		return err
	}
	manifest, err := addJSON("application/vnd.oci.image.manifest.v1+json", object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        config,
		"layers":        []any{described},
	})
	if err != nil {
		return err
	}
	manifest["annotations"] = object{"io.containerd.image.name": name}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		return err
	}
	layout, err := pack(append(blobs,
		file{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{"index.json", 0o644, index},
	))
	if err != nil {
		return err
	}
	return os.WriteFile(output, layout, 0o644)
}

func pack(files []file) ([]byte, error) {
	var packed bytes.Buffer
	writer := tar.NewWriter(&packed)
	for _, file := range files {
		header := tar.Header{Name: file.path, Mode: file.mode, Size: int64(len(file.content))}
		if err := writer.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := writer.Write(file.content); err != nil {
			return nil, err
		}
	}
	return packed.Bytes(), writer.Close()
}
