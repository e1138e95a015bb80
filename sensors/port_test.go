package sensors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// pty is a pseudo terminal whose far end plays a device.
type pty struct {
	far  *os.File
	name string
}

func newPty(t testing.TB) *pty {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	n, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	return &pty{far, "/dev/pts/" + strconv.Itoa(n)}
}

func serialConfig(port string) *config.Source {
	return &config.Source{
		Name: "s", Kind: "serial", Port: port, Baud: 115200, DataBits: 8, Parity: "none", StopBits: 1,
		Frame: "line", Delimiter: []byte("\n"), MaxLine: 1024, Parse: "text", Timeout: time.Second,
	}
}

func mustOpen(t *testing.T, name string) *port {
	t.Helper()
	p, err := openPort(serialConfig(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestAPortIsLocked(t *testing.T) {
	y := newPty(t)
	p := mustOpen(t, y.name)
	if _, err := openPort(serialConfig(y.name)); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("second open: %v", err)
	}
	// The failed second one took nothing from the first.
	if err := p.Write([]byte("x"), time.Second); err != nil {
		t.Error(err)
	}
	_ = p.Close()
	mustOpen(t, y.name)
}

// Nothing is written after Close, whoever has the descriptor's number by then.
func TestNothingIsWrittenAfterClose(t *testing.T) {
	y := newPty(t)
	p := mustOpen(t, y.name)
	_ = p.Close()
	var files []*os.File
	dir := t.TempDir()
	for i := range 20 { // one of them gets the number
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := p.Write([]byte("lost"), time.Second); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if _, err := p.Read(make([]byte, 10)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	for _, f := range files {
		if st, err := f.Stat(); err != nil || st.Size() != 0 {
			t.Errorf("%s has %d bytes", f.Name(), st.Size())
		}
	}
}

func TestIdleAndGoneAreToldApart(t *testing.T) {
	y := newPty(t)
	p := mustOpen(t, y.name)
	b := make([]byte, 10)
	if _, err := p.Read(b); !errors.Is(err, errIdle) {
		t.Errorf("nothing came: %v", err)
	}
	if _, err := y.far.WriteString("ab"); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Read(b); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	y.far.Close()
	if _, err := p.Read(b); !errors.Is(err, errGone) {
		t.Errorf("the other end is gone: %v", err)
	}
	if _, err := openPort(serialConfig(y.name)); !errors.Is(err, errGone) {
		t.Errorf("open what is gone: %v", err)
	}
}

// A device that takes nothing costs a write its time limit, not the goroutine.
func TestAWriteThatFindsNoRoomEnds(t *testing.T) {
	p := mustOpen(t, newPty(t).name)
	err := p.Write(make([]byte, 1<<20), 50*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "takes nothing") {
		t.Errorf("%v", err)
	}
}

// No descriptor of a port is open in a program that is started meanwhile.
func TestChildrenGetNoDescriptor(t *testing.T) {
	before := descriptors()
	y := newPty(t)
	mustOpen(t, y.name)
	// What a child would get: everything that is not closed by exec.
	for fd := range descriptors() {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || before[fd] {
			continue
		}
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child would get %s", name)
		}
	}
}

// A descriptor that select(2) cannot take is refused at open.
func TestTooManyOpenFiles(t *testing.T) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur < 1100 {
		t.Fatalf("only %d files may be open: ulimit -n 4096", lim.Cur)
	}
	y := newPty(t)
	for range 1030 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if _, err := openPort(serialConfig(y.name)); err == nil || !strings.Contains(err.Error(), "too many files") {
		t.Errorf("%v", err)
	}
}

func TestPortNames(t *testing.T) {
	if _, err := openPort(serialConfig("/dev/none")); !errors.Is(err, errGone) {
		t.Errorf("%v", err)
	}
	if _, err := openPort(serialConfig("by-id:none")); !errors.Is(err, errGone) || !strings.Contains(err.Error(), "by-id:none") {
		t.Errorf("%v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openPort(serialConfig(file)); err == nil {
		t.Error("an ordinary file was opened as a port")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
}

var errFull = errors.New("full")

// sink keeps records, as many as it has room for.
type sink struct {
	mu   sync.Mutex
	room int // 0: no bound
	recs []record.Record
}

func (s *sink) TryWrite(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room > 0 && len(s.recs) >= s.room {
		return 0, errFull
	}
	var d record.Decoder
	var r record.Record
	if err := d.Decode(p, &r); err != nil {
		panic(err)
	}
	s.recs = append(s.recs, r)
	return len(p), nil
}

func (s *sink) WriteContext(ctx context.Context, p []byte) (int, error) {
	for {
		n, err := s.TryWrite(p)
		if err == nil || ctx.Err() != nil {
			return n, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *sink) all() []record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]record.Record(nil), s.recs...)
}

func (s *sink) widen(room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = room
}

// script is what was recorded, a word each.
func script(recs []record.Record) string {
	var words []string
	for _, r := range recs {
		switch r.Kind {
		case record.Event:
			words = append(words, r.Event)
		case record.Gap:
			words = append(words, fmt.Sprintf("gap:%s:%d", r.Reason, r.Count))
		default:
			f := r.Fields[0]
			w := f.Text
			if v, ok := f.Number(); ok {
				w = strconv.FormatFloat(v, 'g', -1, 64)
			}
			if r.Quality != record.Good {
				w += "(" + r.Quality.String() + ": " + r.Why + ")"
			}
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func wallNow() record.Time {
	now := time.Now()
	return record.Time{Wall: now.UnixMicro(), Mono: now.UnixMicro() - 9e14, Set: true}
}

func running(t *testing.T, s *sink, sources ...config.Source) (set *Set, stop func()) {
	t.Helper()
	set, err := New(Options{Sources: sources, Sink: s, Full: errFull, MaxRecord: 4096, Now: wallNow, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		set.Run(ctx)
		close(done)
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-done
		})
	}
	t.Cleanup(stop)
	return set, stop
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A port is pulled and comes back under another name, 100 times: each outage
// is one event, one gap, one event; nothing is left over.
func TestUnplugAndReplug(t *testing.T) {
	link := filepath.Join(t.TempDir(), "tty")
	y := newPty(t)
	if err := os.Symlink(y.name, link); err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	c := *serialConfig(link)
	set, stop := running(t, s, c)
	until(t, "open", func() bool { return set.Sources()[0].Status().State == "ok" })
	before := len(descriptors())
	const rounds = 100
	for i := range rounds {
		y.far.Close()
		os.Remove(link)
		until(t, "unplugged", func() bool { return set.Sources()[0].Status().State == "unplugged" })
		y = newPty(t)
		if err := os.Symlink(y.name, link); err != nil {
			t.Fatal(err)
		}
		until(t, "ok again", func() bool { return set.Sources()[0].Status().State == "ok" })
		if _, err := fmt.Fprintf(y.far, "\nback %d\n", i); err != nil {
			t.Fatal(err)
		}
		until(t, "a line", func() bool {
			r := s.all()
			return len(r) > 0 && r[len(r)-1].Kind == record.Reading
		})
	}
	if after := len(descriptors()); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	stop()
	words := strings.Fields(strings.ReplaceAll(script(s.all()), "back ", "back:"))
	for i := range rounds {
		if got, want := strings.Join(words[4*i:4*i+4], " "), fmt.Sprintf("unplugged gap:unplugged:-1 plugged back:%d", i); got != want {
			t.Fatalf("round %d: %s", i, got)
		}
	}
	for i, r := range s.all() {
		if r.Source != "s" || i > 0 && r.Time.Wall <= s.all()[i-1].Time.Wall {
			t.Fatalf("record %d: %+v", i, r)
		}
	}
}

// The first line after opening may be cut; one behind a silence is whole.
func TestTheFirstLine(t *testing.T) {
	y := newPty(t)
	hold, err := os.OpenFile(y.name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if _, err := y.far.WriteString("tail\nwhole\n"); err != nil { // waits before it is opened
		t.Fatal(err)
	}
	s := &sink{}
	_, stop := running(t, s, *serialConfig(y.name))
	until(t, "two lines", func() bool { return len(s.all()) == 2 })
	stop()
	if got := script(s.all()); got != "tail(uncertain: start) whole" {
		t.Error(got)
	}

	y = newPty(t)
	s = &sink{}
	set, _ := running(t, s, *serialConfig(y.name))
	until(t, "open", func() bool { return set.Sources()[0].Status().State == "ok" })
	opened := time.Now()
	until(t, "a silence", func() bool { return time.Since(opened) > 2*silence })
	if _, err := y.far.WriteString("first\r\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "a line", func() bool { return len(s.all()) == 1 })
	if got := script(s.all()); got != "first" {
		t.Error(got)
	}
}

// start is sent once, then poll each every.
func TestStartAndPoll(t *testing.T) {
	y := newPty(t)
	c := *serialConfig(y.name)
	c.Start, c.Poll, c.Every = "S\n", "P\n", 20*time.Millisecond
	s := &sink{}
	running(t, s, c)
	var got []byte
	b := make([]byte, 64)
	for len(got) < 8 {
		n, err := y.far.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
	}
	if string(got[:8]) != "S\nP\nP\nP\n" {
		t.Errorf("%q", got)
	}
}

// What finds no room is counted, exactly, and told as soon as there is some.
func TestOverflowIsCounted(t *testing.T) {
	y := newPty(t)
	s := &sink{room: 3}
	set, stop := running(t, s, *serialConfig(y.name))
	until(t, "open", func() bool { return set.Sources()[0].Status().State == "ok" })
	for i := range 10 {
		if _, err := fmt.Fprintf(y.far, "\n%d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all read", func() bool { return set.Sources()[0].Status().Readings == 10 })
	s.widen(100)
	until(t, "the gap", func() bool { return len(s.all()) == 4 })
	if _, err := y.far.WriteString("last\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "the last", func() bool { return len(s.all()) == 5 })
	stop()
	if got := script(s.all()); !strings.HasSuffix(got, "1 2 gap:overflow:7 last") {
		t.Error(got)
	}
	if st := set.Sources()[0].Status(); st.Lost[record.Overflow] != 7 {
		t.Errorf("%+v", st)
	}
}

// A port that is not there is told, and the gap that is open at a stop too.
func TestAnOpenGapIsWrittenAtAStop(t *testing.T) {
	s := &sink{}
	set, stop := running(t, s, *serialConfig("/dev/none"))
	until(t, "unplugged", func() bool { return set.Sources()[0].Status().State == "unplugged" })
	stop()
	if got := script(s.all()); got != "unplugged gap:unplugged:-1" {
		t.Error(got)
	}
}
