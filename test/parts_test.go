package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"
)

// until polls a condition, and fails the test when it does not come true.
func until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// proc is a running process.
type proc struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer
}

func (p *proc) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *proc) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program until the test ends.
func start(t testing.TB, name string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(name), p.output())
		}
	})
	return p
}

func (p *proc) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the process to end and gives its exit status.
func (p *proc) end(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		p.t.Fatalf("%s still runs after %v", p.cmd.Args[0], limit)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *proc) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *proc) says(text string) {
	p.t.Helper()
	until(p.t, 20*time.Second, "output "+text, func() bool { return strings.Contains(p.output(), text) })
}

// broker is a mosquitto on a port of its own, which keeps its sessions over a restart.
type broker struct {
	t    testing.TB
	conf string
	port int
	p    *proc
}

// freePort is a port that nobody takes before the broker has it: it lies below
// those that the kernel gives away by itself (ip_local_port_range), and is
// asked for once in this process.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		p := 10000 + (os.Getpid()*151+int(ports.Add(1)))%20000
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p)); err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

var ports atomic.Int64

func newBroker(t testing.TB, more ...string) *broker {
	t.Helper()
	b := &broker{t: t, port: freePort(t)}
	dir := t.TempDir()
	b.conf = filepath.Join(dir, "mosquitto.conf")
	me := "root"
	if os.Getuid() != 0 {
		me = os.Getenv("USER")
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nuser %s\n%s\n",
		b.port, dir, me, strings.Join(more, "\n"))
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	return b
}

func (b *broker) start() {
	b.t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	b.p = start(b.t, path, "-c", b.conf)
	until(b.t, 10*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", b.addr())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *broker) stop() {
	b.t.Helper()
	b.p.signal(syscall.SIGTERM)
	b.p.end(10 * time.Second)
}

func (b *broker) addr() string { return "127.0.0.1:" + strconv.Itoa(b.port) }
func (b *broker) url() string  { return "mqtt://" + b.addr() }

// rec is one record as it is seen from outside.
type rec struct {
	Seq     uint64
	Time    string
	Clock   string
	Source  string
	Quality string
	Why     string
	Fields  map[string]any
	Event   string
	Gap     *struct {
		Count       int64
		Reason      string
		First, Last uint64
		From, To    string
	}
	raw string
}

// receiver is a subscriber with a session that outlives its connections, and
// keeps all that it gets.
type receiver struct {
	t  *testing.T
	mu sync.Mutex
	// history in the order of arrival, each key once
	records []rec
	seen    map[string]int
	doubled int
	other   map[string][]string // the payloads of other topics
}

func receive(t *testing.T, b *broker) *receiver {
	t.Helper()
	r := &receiver{t: t, seen: make(map[string]int), other: make(map[string][]string)}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + b.addr()).SetClientID("receiver").SetCleanSession(false).SetProtocolVersion(4).
		SetAutoReconnect(true).SetMaxReconnectInterval(300 * time.Millisecond).SetConnectRetry(true).SetOrderMatters(true)
	o.SetDefaultPublishHandler(r.take)
	o.SetOnConnectHandler(func(c mqtt.Client) { c.Subscribe("#", 1, r.take) })
	c := mqtt.NewClient(o)
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal("receiver: ", tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return r
}

func (r *receiver) take(_ mqtt.Client, m mqtt.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !strings.HasSuffix(m.Topic(), "/history") {
		r.other[m.Topic()] = append(r.other[m.Topic()], string(m.Payload()))
		return
	}
	var h struct {
		Device, Journal string
		Resend          bool
		Records         []json.RawMessage
	}
	if err := json.Unmarshal(m.Payload(), &h); err != nil {
		r.t.Errorf("history is not JSON: %v: %q", err, m.Payload())
		return
	}
	for _, raw := range h.Records {
		var x rec
		if err := json.Unmarshal(raw, &x); err != nil {
			r.t.Errorf("record is not JSON: %v: %q", err, raw)
			return
		}
		x.raw = string(raw)
		key := fmt.Sprintf("%s/%s/%d", h.Device, h.Journal, x.Seq)
		if at, ok := r.seen[key]; ok {
			r.doubled++
			if r.records[at].raw != x.raw {
				r.t.Errorf("key %s names two records:\n%s\n%s", key, r.records[at].raw, x.raw)
			}
			continue
		}
		r.seen[key] = len(r.records)
		r.records = append(r.records, x)
	}
}

func (r *receiver) history() []rec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]rec(nil), r.records...)
}

func (r *receiver) on(topic string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.other[topic]...)
}

// cat reads a journal with the command of that name.
func cat(t *testing.T, dir string) (all []rec) {
	t.Helper()
	out, err := exec.Command(edgeagg, "cat", dir).Output()
	if err != nil {
		t.Fatalf("cat: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		var x rec
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("cat wrote %q: %v", line, err)
		}
		x.raw = line
		all = append(all, x)
	}
	return all
}

// sameBooks holds that the receiver has what is on the card, in order, and
// that whatever is missing in the numbers is named by a gap.
func sameBooks(t *testing.T, card, got []rec) {
	t.Helper()
	named := func(first, last uint64) bool {
		for _, x := range card {
			if x.Gap != nil && x.Gap.First <= first && last <= x.Gap.Last {
				return true
			}
		}
		return false
	}
	for i := 1; i < len(card); i++ {
		if a, b := card[i-1].Seq, card[i].Seq; b <= a || b > a+1 && !named(a+1, b-1) {
			t.Fatalf("on the card seq %d follows %d, and no gap says why", b, a)
		}
	}
	if len(card) != len(got) {
		t.Errorf("%d records on the card, %d received", len(card), len(got))
	}
	for i := range min(len(card), len(got)) {
		if card[i].raw != got[i].raw {
			t.Fatalf("record %d differs:\ncard     %s\nreceived %s", i, card[i].raw, got[i].raw)
		}
	}
}

// pty is a pseudo terminal whose far end plays a device. The near end is kept
// open, so that bytes wait while nobody reads.
type pty struct {
	far, near *os.File
	name      string
}

func newPty(t *testing.T) *pty {
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
	p := &pty{far: far, name: "/dev/pts/" + strconv.Itoa(n)}
	if p.near, err = os.OpenFile(p.name, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.near.Close() })
	tio, err := unix.IoctlGetTermios(int(p.near.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	tio.Iflag &^= unix.ICRNL | unix.IXON
	tio.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(p.near.Fd()), unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
	return p
}

// config writes a configuration file.
func config(t *testing.T, format string, args ...any) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "edgeagg.toml")
	if err := os.WriteFile(name, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func writeFile(name, content string) error { return os.WriteFile(name, []byte(content), 0o600) }
