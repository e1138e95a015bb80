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

// port is the one way to go.bug.st/serial. Its calls are made one at a time.
//
// The library sets the line and reads. Beside it stands a descriptor of our
// own on the same device, non-blocking, that holds the lock (the library's
// does not stop root, nor a second open of this process) and writes (the
// library's Write can block for ever, and after Close goes to whatever file
// has the number now).
type port struct {
	config, name string // as configured, and what that was when it was opened
	root         *Options
	p            serial.Port
	wait         time.Duration // the library's read timeout
	fd           int           // our own; -1 once closed
}

// maxFD is the highest descriptor that select(2) takes, which the library
// reads with: it panics above.
const maxFD = 1023

var (
	parities = map[string]serial.Parity{
		"none": serial.NoParity, "odd": serial.OddParity, "even": serial.EvenParity, "mark": serial.MarkParity, "space": serial.SpaceParity,
	}
	stops = map[float64]serial.StopBits{1: serial.OneStopBit, 2: serial.TwoStopBits} // Linux has no 1.5
)

// resolve finds the device that a config's port means now.
func resolve(o *Options, name string) (string, error) {
	if strings.HasPrefix(name, "usb:") {
		return "", errors.New("usb: is not in this version; use a name under /dev/serial/by-id, as by-id:NAME")
	}
	if id, ok := strings.CutPrefix(name, "by-id:"); ok {
		name = "/dev/serial/by-id/" + id
	}
	return filepath.EvalSymlinks(o.at(name))
}

func openPort(c *config.Source, o *Options) (*port, error) {
	name, err := resolve(o, c.Port)
	if err != nil {
		return nil, explain(c.Port, err)
	}
	// Nothing may be started in between: the library's descriptors would stay
	// open in it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explain(name, err)
	}
	p := &port{config: c.Port, name: name, root: o, fd: fd}
	if err := p.take(c); err != nil {
		_ = unix.Close(fd) // the reason is told already
		return nil, explain(name, err)
	}
	return p, nil
}

// take locks the device and has the library open and set it.
func (p *port) take(c *config.Source) error {
	if err := unix.Flock(p.fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("another program, or another source, has it locked")
		}
		return fmt.Errorf("lock: %w", err)
	}
	stop, ok := stops[c.StopBits]
	if !ok {
		return fmt.Errorf("%v stop bits: Linux has 1 and 2", c.StopBits)
	}
	before := descriptors()
	sp, err := serial.Open(p.name, &serial.Mode{BaudRate: c.Baud, DataBits: c.DataBits, Parity: parities[c.Parity], StopBits: stop})
	if err != nil {
		return err
	}
	for fd, file := range descriptors() {
		if before[fd] == file {
			continue
		}
		if fd > maxFD {
			err := fmt.Errorf("descriptor %d: reading it needs one up to %d; too many files are open", fd, maxFD)
			return errors.Join(err, sp.Close())
		}
		unix.CloseOnExec(fd)
	}
	p.p = sp
	return nil
}

// descriptors are this process's open files, by number.
func descriptors() map[int]string {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	fds := make(map[int]string, len(entries))
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if file, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			fds[fd] = file
		}
	}
	return fds
}

// explain says what may be done about an error, and whether the port is gone.
func explain(name string, err error) error {
	var sp *serial.PortError
	code := serial.PortErrorCode(-1)
	if errors.As(err, &sp) {
		code = sp.Code()
	}
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		err = path.Err // it names the path once more
	}
	switch {
	case gone(err), code == serial.PortNotFound:
		return fmt.Errorf("open %s: %w: %w", name, errGone, err)
	case errors.Is(err, unix.EACCES), code == serial.PermissionDenied:
		return fmt.Errorf("open %s: %w (add the user to group dialout)", name, unix.EACCES)
	case errors.Is(err, unix.EBUSY), code == serial.PortBusy:
		return fmt.Errorf("open %s: %w (another program has it)", name, unix.EBUSY)
	}
	return fmt.Errorf("open %s: %w", name, err)
}

// gone reports whether err means that the device, or its other end, is not
// there any more.
func gone(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Read waits for bytes, limit at most; errIdle when none came. An error that is
// errGone means that the other end, or the adapter, is gone.
func (p *port) Read(b []byte, limit time.Duration) (int, error) {
	if p.fd < 0 {
		return 0, fmt.Errorf("read %s: %w", p.name, os.ErrClosed)
	}
	if limit != p.wait {
		if err := p.p.SetReadTimeout(limit); err != nil {
			return 0, fmt.Errorf("read %s: %w", p.name, err)
		}
		p.wait = limit
	}
	switch n, err := p.p.Read(b); {
	case err != nil:
		// Nobody else closes it, so "closed" and EIO mean the other end.
		return 0, fmt.Errorf("read %s: %w: %w", p.name, errGone, err)
	case n == 0:
		return 0, errIdle
	default:
		return n, nil
	}
}

// moved gives an error that is errGone when the configured name does not lead
// to this device any more.
func (p *port) moved() error {
	switch name, err := resolve(p.root, p.config); {
	case err != nil:
		return explain(p.config, err)
	case name != p.name:
		return fmt.Errorf("%s is %s now, not %s: %w", p.config, name, p.name, errGone)
	}
	return nil
}

// Write writes all of b, or fails within limit.
func (p *port) Write(b []byte, limit time.Duration) error {
	if p.fd < 0 {
		return fmt.Errorf("write %s: %w", p.name, os.ErrClosed)
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
		case gone(err):
			return fmt.Errorf("write %s: %w: %w", p.name, errGone, err)
		case !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("write %s: %w", p.name, err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("write %s: it takes nothing for %v (flow control?)", p.name, limit)
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
	if p.fd < 0 {
		return nil
	}
	fd := p.fd
	p.fd = -1
	return errors.Join(p.p.Close(), unix.Close(fd))
}
