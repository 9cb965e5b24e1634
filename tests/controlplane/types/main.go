// Prints what the published OpenAPI does not say of the types of built-in kinds: what an object has where a client sends
// nothing, and which empty values it does not have.
//
// The output is JSON: the properties of each definition, with "zero" (the value of an absent one, if there is one) and
// "omitted" (an empty value is as good as none).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

type property struct {
	Zero    json.RawMessage `json:"zero,omitempty"`
	Omitted bool            `json:"omitted,omitempty"`
}

type types map[string]map[string]property

func main() {
	all := scheme.Scheme
	for _, add := range []func(*runtime.Scheme) error{apiextensions.AddToScheme, apiregistration.AddToScheme} {
		if err := add(all); err != nil {
			fail(err)
		}
	}
	found := types{}
	for _, kind := range all.AllKnownTypes() {
		found.add(kind)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fail(err)
	}
}

// add notes a type and all that it is made of.
func (found types) add(kind reflect.Type) {
	switch kind.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		found.add(kind.Elem())
		return
	case reflect.Struct:
	default:
		return
	}
	named, ok := reflect.Zero(kind).Interface().(interface{ OpenAPIModelName() string })
	if !ok || found[named.OpenAPIModelName()] != nil {
		return
	}
	properties := map[string]property{}
	found[named.OpenAPIModelName()] = properties
	found.addFields(kind, properties)
}

func (found types) addFields(kind reflect.Type, properties map[string]property) {
	for i := range kind.NumField() {
		field := kind.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		inlined := field.Anonymous && name == ""
		switch {
		case inlined && field.Type.Kind() == reflect.Struct:
			found.addFields(field.Type, properties)
		case name == "" || name == "-" || !field.IsExported():
		default:
			properties[name] = describe(field.Type, options)
			found.add(field.Type)
		}
	}
}

func describe(kind reflect.Type, options string) property {
	omitted := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
	switch kind.Kind() {
	case reflect.Pointer, reflect.Interface:
		if omitted {
			return property{}
		}
	case reflect.Struct:
		if strings.Contains(options, "omitzero") {
			return property{}
		}
	default:
		if omitted {
			return property{Omitted: true}
		}
	}
	zero, err := json.Marshal(reflect.Zero(kind).Interface())
	if err != nil {
		fail(fmt.Errorf("%v: %w", kind, err))
	}
	return property{Zero: zero}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "types:", err)
	os.Exit(1)
}
