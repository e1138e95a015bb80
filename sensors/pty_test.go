package sensors

import (
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// pty is a real pseudo terminal: name is the port, far the device on its other end.
type pty struct {
	name string
	far  *os.File
}

func openPTY(t testing.TB) *pty {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &pty{name: "/dev/pts/" + strconv.Itoa(n), far: os.NewFile(uintptr(fd), "/dev/ptmx")}
	t.Cleanup(func() { p.far.Close() })
	return p
}

// send writes what the device sends.
func (p *pty) send(t testing.TB, s string) {
	t.Helper()
	if _, err := p.far.WriteString(s); err != nil {
		t.Fatal(err)
	}
}
