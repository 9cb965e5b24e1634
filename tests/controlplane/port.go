// The port of the API server.
package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// holdPort lets the system choose a port of 127.0.0.1 and keeps it until this
// process ends. The socket is bound but does not listen: no other program can
// be given the port, and the API server, which also sets SO_REUSEPORT, gets
// every connection.
func holdPort() (int, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, fmt.Errorf("hold a port: %w", err)
	}
	unix.CloseOnExec(socket)
	if err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, fmt.Errorf("hold a port: %w", err)
	}
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("hold a port: %w", err)
	}
	address, err := unix.Getsockname(socket)
	if err != nil {
		return 0, fmt.Errorf("hold a port: %w", err)
	}
	return address.(*unix.SockaddrInet4).Port, nil
}
