// Prints how objects of the built-in kinds are written as protocol buffers, as
// JSON: the wire form that Kubernetes' own clients send. Its numbers are in the
// tags of the Go types, and only there are pointers told from values.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// field is one field of a message. Its form is as in Go: `*int32`,
// `[]core/v1.Container`, `map[string]string`; scalars by their kinds.
type field struct {
	Number  int    `json:"number"`
	Name    string `json:"name"`
	Form    string `json:"form"`
	Omitted bool   `json:"omitted,omitempty"` // when it is empty
	Inline  bool   `json:"inline,omitempty"`  // its fields are those of what it is in
}

type table struct {
	Kinds    map[string]string  `json:"kinds"`    // as in `apps/v1 Deployment`
	Messages map[string][]field `json:"messages"` // by name of the Go type
}

func main() {
	found := table{Kinds: map[string]string{}, Messages: map[string][]field{}}
	for kind, goType := range scheme.Scheme.AllKnownTypes() {
		stable := !strings.Contains(kind.Version, "alpha") && !strings.Contains(kind.Version, "beta")
		if kind.Version == "__internal" || !stable || strings.HasSuffix(kind.Kind, "List") {
			continue
		}
		found.Kinds[name(kind)] = typeName(goType)
		found.add(goType)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, "messages:", err)
		os.Exit(1)
	}
}

func name(kind schema.GroupVersionKind) string {
	return kind.GroupVersion().String() + " " + kind.Kind
}

func typeName(t reflect.Type) string {
	path := strings.TrimPrefix(t.PkgPath(), "k8s.io/api/")
	return strings.TrimPrefix(path, "k8s.io/apimachinery/pkg/") + "." + t.Name()
}

// add takes a message and all that it holds into the table.
func (found *table) add(t reflect.Type) {
	if _, known := found.Messages[typeName(t)]; known {
		return
	}
	fields := []field{}
	found.Messages[typeName(t)] = fields
	for i := range t.NumField() {
		member := t.Field(i)
		number, err := strconv.Atoi(tagPart(member.Tag.Get("protobuf"), 1))
		if err != nil {
			continue // not on the wire
		}
		json := member.Tag.Get("json")
		fields = append(fields, field{
			Number:  number,
			Name:    tagPart(json, 0),
			Form:    found.form(member.Type),
			Omitted: strings.Contains(json, ",omitempty") || strings.Contains(json, ",omitzero"),
			Inline:  member.Anonymous && tagPart(json, 0) == "",
		})
	}
	found.Messages[typeName(t)] = fields
}

func tagPart(tag string, at int) string {
	parts := strings.Split(tag, ",")
	if at >= len(parts) {
		return ""
	}
	return parts[at]
}

func (found *table) form(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + found.form(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		if t.Name() != "" { // a message whose only field is the list
			return "items:" + found.form(t.Elem())
		}
		return "[]" + found.form(t.Elem())
	case reflect.Map:
		return "map[string]" + found.form(t.Elem())
	case reflect.Struct:
		found.add(t)
		return typeName(t)
	default:
		return t.Kind().String()
	}
}
