package uplink

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An address that appears is told: here the one of the loopback interface, in
// a network namespace of its own, where this test runs itself again.
func TestNetworkComesUp(t *testing.T) {
	const inside = "EDGEAGG_TEST_NETNS"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNetworkComesUp$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestNetworkComesUp")) {
			t.Fatalf("in the namespace: %v\n%s", err, out)
		}
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	comes, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		watchNetwork(ctx, comes)
	}()
	up := func(flags uint16) {
		t.Helper()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		r, err := unix.NewIfreq("lo")
		if err != nil {
			t.Fatal(err)
		}
		r.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			t.Fatal(err)
		}
	}
	// The watch may begin a little later than the first change.
	until(t, "the address", func() bool {
		up(0)
		up(unix.IFF_UP)
		return len(comes) == 1
	})
	cancel()
	<-ended
}

// The wait between tries ends when the network comes up.
func TestRestEndsWithNetwork(t *testing.T) {
	u := &Uplink{network: make(chan struct{}, 1)}
	u.network <- struct{}{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.rest(t.Context(), time.Hour)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on waiting")
	}
}
