package sensors

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"edgeagg/internal/config"
)

// port is the one way to go.bug.st/serial. It belongs to one goroutine, which
// opens, reads, writes and closes it: nothing is called after Close.
//
// The library sets the line and reads. Beside it stands a descriptor of our
// own on the same device, non-blocking, that holds the lock (the library's
// does not stop root, nor a second open of this process) and writes (the
// library's Write can block for ever, and after Close goes to whatever file
// has the number now).
type port struct {
	name   string
	p      serial.Port
	own    *os.File
	fd     int // own's
	closed bool
}

const (
	// readWait is how long a read waits for the first byte.
	readWait = 100 * time.Millisecond
	// maxFD is what select(2), which the library reads with, can take.
	maxFD = 1023
)

var (
	parities = map[string]serial.Parity{
		"none": serial.NoParity, "odd": serial.OddParity, "even": serial.EvenParity, "mark": serial.MarkParity, "space": serial.SpaceParity,
	}
	stops = map[float64]serial.StopBits{1: serial.OneStopBit, 1.5: serial.OnePointFiveStopBits, 2: serial.TwoStopBits}
)

// resolve finds the device that a config's port means now.
func resolve(name string) (string, error) {
	if id, ok := strings.CutPrefix(name, "by-id:"); ok {
		name = filepath.Join("/dev/serial/by-id", id)
	}
	if strings.HasPrefix(name, "usb:") {
		return "", fmt.Errorf("port %s: usb: is not in this version; use the name under /dev/serial/by-id", name)
	}
	return filepath.EvalSymlinks(name)
}

func openPort(c *config.Source) (*port, error) {
	name, err := resolve(c.Port)
	if err != nil {
		return nil, explain(c.Port, err)
	}
	// Nothing may be started in between: the library's descriptors would stay
	// open in it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	own, err := os.OpenFile(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explain(name, err)
	}
	p := &port{name: name, own: own, fd: int(own.Fd())}
	if err := p.take(c); err != nil {
		own.Close()
		return nil, explain(name, err)
	}
	return p, nil
}

// take locks the device and has the library open and set it.
func (p *port) take(c *config.Source) error {
	if err := unix.SetNonblock(p.fd, true); err != nil { // Fd made it blocking
		return err
	}
	if err := unix.Flock(p.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("another program has it locked")
		}
		return fmt.Errorf("lock: %w", err)
	}
	before := descriptors()
	sp, err := serial.Open(p.name, &serial.Mode{BaudRate: c.Baud, DataBits: c.DataBits, Parity: parities[c.Parity], StopBits: stops[c.StopBits]})
	if err != nil {
		return err
	}
	for fd := range descriptors() {
		if before[fd] {
			continue
		}
		if fd > maxFD {
			sp.Close()
			return fmt.Errorf("descriptor %d: reading it needs one up to %d; too many files are open", fd, maxFD)
		}
		unix.CloseOnExec(fd)
	}
	if err := sp.SetReadTimeout(readWait); err != nil {
		sp.Close()
		return err
	}
	p.p = sp
	return nil
}

// descriptors are the numbers of this process's open files.
func descriptors() map[int]bool {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	fds := make(map[int]bool, len(names))
	for _, name := range names {
		if fd, err := strconv.Atoi(name); err == nil && fd != int(d.Fd()) {
			fds[fd] = true
		}
	}
	return fds
}

// explain says what may be done about an error, and whether the port is gone.
func explain(name string, err error) error {
	var sp *serial.PortError
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EIO):
		return fmt.Errorf("open %s: %w: %w", name, errGone, bare(err))
	case errors.Is(err, unix.EACCES), errors.As(err, &sp) && sp.Code() == serial.PermissionDenied:
		return fmt.Errorf("open %s: permission denied (add the user to group dialout)", name)
	case errors.As(err, &sp) && sp.Code() == serial.PortBusy:
		return fmt.Errorf("open %s: another program has it", name)
	}
	return fmt.Errorf("open %s: %w", name, bare(err))
}

// bare takes the path off an error that names it already.
func bare(err error) error {
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Read waits a moment for bytes; errIdle when none came. An error that is
// errGone means that the other end, or the adapter, is gone.
func (p *port) Read(b []byte) (int, error) {
	if p.closed {
		return 0, os.ErrClosed
	}
	n, err := p.p.Read(b)
	switch {
	case err != nil:
		// Nobody else closes it, so "closed" and EIO mean the other end.
		return 0, fmt.Errorf("read %s: %w: %w", p.name, errGone, err)
	case n == 0:
		return 0, errIdle
	}
	return n, nil
}

// Write writes all of b, or fails within limit.
func (p *port) Write(b []byte, limit time.Duration) error {
	if p.closed {
		return os.ErrClosed
	}
	deadline := time.Now().Add(limit)
	for len(b) > 0 {
		n, err := unix.Write(p.fd, b)
		switch {
		case err == nil:
			b = b[n:]
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			return fmt.Errorf("write %s: %w: %w", p.name, errGone, err)
		case !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("write %s: %w", p.name, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("write %s: takes nothing for %v (flow control?)", p.name, limit)
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("write %s: %w", p.name, err)
		}
	}
	return nil
}

// Close gives the device back, the lock last.
func (p *port) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	return errors.Join(p.p.Close(), p.own.Close())
}
