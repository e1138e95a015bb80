package sensors

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/internal/config"
)

func portConfig(name string) *config.Source {
	return &config.Source{Name: "p", Kind: "serial", Port: name, Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1}
}

func openedPort(t *testing.T, c *config.Source) *port {
	t.Helper()
	p, err := openPort(c, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, p) })
	return p
}

// What is written after Close must not reach the file that has the
// descriptor's number by then.
func TestPortWritesNothingAfterClose(t *testing.T) {
	pty := openPTY(t)
	p := openedPort(t, portConfig(pty.name))
	if err := p.Write([]byte("before"), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var files []string
	for i := range 8 { // all numbers that became free, and some more
		f, err := os.Create(filepath.Join(t.TempDir(), string(rune('a'+i))))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f.Name())
	}
	if err := p.Write([]byte("after"), time.Second); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if _, err := p.Read(make([]byte, 1), time.Millisecond); !errors.Is(err, os.ErrClosed) || errors.Is(err, errGone) {
		t.Errorf("Read after Close: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close after Close: %v", err)
	}
	for _, name := range files {
		if b, _ := os.ReadFile(name); len(b) > 0 {
			t.Errorf("%q was written into another file", b)
		}
	}
}

func TestPortTellsThatTheOtherEndIsGone(t *testing.T) {
	pty := openPTY(t)
	p := openedPort(t, portConfig(pty.name))
	pty.far.Close()
	if _, err := p.Read(make([]byte, 1), time.Second); !errors.Is(err, errGone) || errors.Is(err, os.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := p.Write([]byte("x"), time.Second); !errors.Is(err, errGone) {
		t.Errorf("Write: %v", err)
	}
}

// A timeout of the library is 0, nil, which readers give up on after some.
func TestPortReadsOnAfterManyTimeouts(t *testing.T) {
	pty := openPTY(t)
	p := openedPort(t, portConfig(pty.name))
	b := make([]byte, 16)
	for range 200 {
		if n, err := p.Read(b, time.Millisecond/4); n != 0 || !errors.Is(err, errIdle) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	pty.send(t, "hello")
	if n, err := p.Read(b, 5*time.Second); err != nil || string(b[:n]) != "hello" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

// The library panics when it reads a descriptor above 1023.
func TestPortRefusesDescriptorsThatCannotBeRead(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(4096, old.Max), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	pty := openPTY(t)
	var held []int
	free := func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
		held = nil
	}
	defer free()
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if held = append(held, fd); fd >= maxFD {
			break
		}
	}
	before := len(descriptors())
	_, err := openPort(portConfig(pty.name), &Options{})
	if err == nil {
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "too many files are open") {
		t.Errorf("%v", err)
	}
	if n := len(descriptors()); n != before {
		t.Errorf("%d descriptors are left over", n-before)
	}
	free()
	openedPort(t, portConfig(pty.name)) // the lock is free again
}

// TIOCEXCL does not stop root, and not this process.
func TestPortIsLocked(t *testing.T) {
	pty := openPTY(t)
	p := openedPort(t, portConfig(pty.name))
	if q, err := openPort(portConfig(pty.name), &Options{}); err == nil {
		closed(t, q)
		t.Fatal("opened twice")
	} else if !strings.Contains(err.Error(), "has it locked") || errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
	if err := exec.Command("flock", "--nonblock", pty.name, "true").Run(); err == nil {
		t.Error("another program could lock it")
	}
	pty.send(t, "still there")
	b := make([]byte, 16)
	if n, err := p.Read(b, 5*time.Second); err != nil || string(b[:n]) != "still there" {
		t.Errorf("after the second opening: %q, %v", b[:n], err)
	}
	closed(t, p)
	if out, err := exec.Command("flock", "--nonblock", pty.name, "true").CombinedOutput(); err != nil {
		t.Errorf("after Close: %v %s", err, out)
	}
	openedPort(t, portConfig(pty.name))
}

func TestPortIsNotInherited(t *testing.T) {
	pty := openPTY(t)
	before := descriptors()
	openedPort(t, portConfig(pty.name))
	n := 0
	for fd, file := range descriptors() {
		if before[fd] == file {
			continue
		}
		n++
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d (%s) goes to children", fd, file)
		}
	}
	if n < 4 { // ours, the library's, and its pipe
		t.Errorf("only %d descriptors were looked at", n)
	}
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte(pty.name+"\n")) {
		t.Errorf("a child has the port:\n%s", out)
	}
}

// A device that takes nothing must not hold the source.
func TestPortWriteIsBounded(t *testing.T) {
	pty := openPTY(t)
	p := openedPort(t, portConfig(pty.name))
	err := p.Write(make([]byte, 1<<20), 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "takes nothing") {
		t.Fatalf("Write: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestPortSetsTheLine(t *testing.T) {
	tests := []struct {
		c    config.Source
		set  uint32
		mask uint32
	}{
		{config.Source{Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1}, unix.B9600 | unix.CS8, 0},
		{config.Source{Baud: 19200, DataBits: 7, Parity: "even", StopBits: 2}, unix.B19200 | unix.CS7 | unix.PARENB | unix.CSTOPB, 0},
		{config.Source{Baud: 115200, DataBits: 6, Parity: "odd", StopBits: 1}, unix.B115200 | unix.CS6 | unix.PARENB | unix.PARODD, 0},
		{config.Source{Baud: 921600, DataBits: 5, Parity: "mark", StopBits: 1}, unix.B921600 | unix.CS5 | unix.PARENB | unix.PARODD | unix.CMSPAR, 0},
		{config.Source{Baud: 300, DataBits: 8, Parity: "space", StopBits: 1}, unix.B300 | unix.CS8 | unix.PARENB | unix.CMSPAR, 0},
	}
	const mask = unix.CBAUD | unix.CSIZE | unix.PARENB | unix.PARODD | unix.CMSPAR | unix.CSTOPB
	pty := openPTY(t)
	for _, test := range tests {
		test.c.Port = pty.name
		p := openedPort(t, &test.c)
		got, err := unix.IoctlGetTermios(p.fd, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		// A pseudo terminal keeps 8 bits and no parity whatever it is told.
		want := test.set
		if got.Cflag&unix.CSIZE == unix.CS8 && got.Cflag&unix.PARENB == 0 {
			want = want&^(unix.CSIZE|unix.PARENB) | unix.CS8
		}
		if got.Cflag&mask != want {
			t.Errorf("%+v: control flags %#o, expected %#o", test.c, got.Cflag&mask, want)
		}
		if got.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
			t.Errorf("local flags %#o: not raw", got.Lflag)
		}
		closed(t, p)
	}
}

func TestPortErrorsSayWhatHelps(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	half := portConfig(openPTY(t).name)
	half.StopBits = 1.5
	tests := []struct {
		c    *config.Source
		want string
		gone bool
	}{
		{portConfig(filepath.Join(dir, "none")), "none: unplugged: no such file or directory", true},
		{portConfig("by-id:none"), "open by-id:none: unplugged: no such file or directory", true},
		{portConfig("usb:0403:6001"), "by-id:NAME", false},
		{portConfig(plain), "plain: ", false},
		{portConfig(dir), "is a directory", false},
		{half, "1.5 stop bits: Linux has 1 and 2", false},
	}
	for _, test := range tests {
		before := len(descriptors())
		p, err := openPort(test.c, &Options{})
		if err == nil {
			closed(t, p)
			t.Errorf("%s: opened", test.c.Port)
			continue
		}
		if !strings.Contains(err.Error(), test.want) || errors.Is(err, errGone) != test.gone {
			t.Errorf("%s: %v (gone: %v)", test.c.Port, err, errors.Is(err, errGone))
		}
		if n := len(descriptors()); n != before {
			t.Errorf("%s: %d descriptors are left over", test.c.Port, n-before)
		}
	}
}

// by-id names are links that lead to whatever name the device has now.
func TestPortByID(t *testing.T) {
	root := t.TempDir()
	byID := filepath.Join(root, "dev/serial/by-id")
	if err := os.MkdirAll(byID, 0o700); err != nil {
		t.Fatal(err)
	}
	one, two := openPTY(t), openPTY(t)
	link := filepath.Join(byID, "usb-scale")
	if err := os.Symlink(one.name, link); err != nil {
		t.Fatal(err)
	}
	o := &Options{Root: root}
	p, err := openPort(portConfig("by-id:usb-scale"), o)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, p)
	if p.name != one.name {
		t.Errorf("opened %s, expected %s", p.name, one.name)
	}
	if err := p.moved(); err != nil {
		t.Errorf("moved: %v", err)
	}
	repoint(t, link, two.name)
	if err := p.moved(); !errors.Is(err, errGone) {
		t.Errorf("the link leads elsewhere: %v", err)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := p.moved(); !errors.Is(err, errGone) {
		t.Errorf("the link is gone: %v", err)
	}
}

// repoint has a link lead elsewhere, at one moment.
func repoint(t *testing.T, link, to string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}
