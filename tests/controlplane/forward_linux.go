// Connections into and out of the node's network: tests reach the API server
// at a port of the machine's loopback, and Pods reach the machine's loopback
// at the address of the gateway.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// forward leads connections on until this process ends.
func forward(network *os.File, into net.Listener) error {
	var outOf net.Listener
	err := within(network, func() (err error) {
		// This listener stays in the network in which it was made.
		outOf, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", gatewayPort))
		return err
	})
	if err != nil {
		return err
	}
	go each(into, func(*net.TCPConn) (other net.Conn, err error) {
		err = within(network, func() (err error) {
			other, err = net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", serverPort))
			return err
		})
		return other, err
	})
	go each(outOf, func(conn *net.TCPConn) (net.Conn, error) {
		port, err := askedPort(conn)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	})
	return nil
}

// within calls f on a thread in that network. The thread ends afterwards.
func within(network *os.File, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// each joins every connection with the one that dial makes for it.
func each(listener net.Listener, dial func(*net.TCPConn) (net.Conn, error)) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			conn := conn.(*net.TCPConn)
			other, err := dial(conn)
			if err != nil {
				// As near to a refused connection as one that is accepted can be: it is reset.
				_ = conn.SetLinger(0)
				_ = conn.Close()
				return
			}
			join(conn, other.(*net.TCPConn))
		}()
	}
}

// join copies both ways until both sides have nothing more to say.
func join(a, b *net.TCPConn) {
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		both.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil {
				_ = way[0].SetLinger(0)
				_ = way[1].SetLinger(0)
			}
			_ = way[1].CloseWrite()
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}

// askedPort is the port to which a connection went before it was led to the gateway's.
func askedPort(conn *net.TCPConn) (port int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	const originalDestination = 80 // SO_ORIGINAL_DST of linux/netfilter_ipv4.h
	controlErr := raw.Control(func(fd uintptr) {
		// The structure is larger than the sockaddr_in that the kernel writes into it.
		var address *unix.IPv6Mreq
		address, err = unix.GetsockoptIPv6Mreq(int(fd), syscall.IPPROTO_IP, originalDestination)
		if err == nil {
			port = int(address.Multiaddr[2])<<8 | int(address.Multiaddr[3])
		}
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return port, err
}
