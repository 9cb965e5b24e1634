// The program of the image that the node has from the beginning: it holds the
// namespaces of each Pod, and is a server and a client for tests.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `Usage:
  guest pause         wait for a signal
  guest serve         answer every request at port 8080 with the name of the Pod
  guest lookup NAME   print the addresses of a name
  guest get URL       print what a server answers; the CA of the cluster is trusted, its token is sent
`

// timeout is that of everything that waits for another.
const timeout = 10 * time.Second

// account is where a Pod finds the credentials of its ServiceAccount.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	command, argument := "pause", ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	if len(os.Args) > 2 {
		argument = os.Args[2]
	}
	var err error
	switch command {
	case "pause":
		await()
	case "serve":
		err = serve()
	case "lookup":
		err = lookup(argument)
	case "get":
		err = get(argument)
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

// await returns with a signal. Orphans of a Pod that shares its processes are reaped by the kernel.
func await() {
	signal.Ignore(syscall.SIGCHLD)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}

func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		failed <- http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, name)
		}))
	}()
	go func() {
		await()
		failed <- nil
	}()
	return <-failed
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}

func get(url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if ca, err := os.ReadFile(account + "ca.crt"); err == nil {
		roots.AppendCertsFromPEM(ca)
	}
	if token, err := os.ReadFile(account + "token"); err == nil {
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	client := http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	return nil
}
