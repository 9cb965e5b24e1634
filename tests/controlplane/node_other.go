//go:build !linux

// A node needs Linux.
package main

import (
	"context"
)

var errNoLinux = excuseError{"it is not Linux"}

func canRunNode(string) error { return errNoLinux }

func startApart(options) error { return errNoLinux }

func runApart(string, string) error { return errNoLinux }

func startRuntime(*children, files, string) error { return errNoLinux }

func startNode(context.Context, *children, *api, files, string) error { return errNoLinux }

func runNodeComponent(string, []string) {}
