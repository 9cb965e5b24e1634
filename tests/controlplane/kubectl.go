// The embedded kubectl.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// runKubectl behaves as the program kubectl does, exit code and user agent included.
func runKubectl(args []string) {
	os.Args = append([]string{"kubectl"}, args...)
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}

// create makes the objects in file. The garbage collector knows the kinds that
// exist when it starts; of others it learns up to 30 seconds later.
func create(ctx context.Context, kubeconfig, file string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "kubectl", "--kubeconfig", kubeconfig, "create", "-f", file)
	cmd.Env = environment()
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("create %s: %w\n%s", file, err, output)
	}
	return nil
}
