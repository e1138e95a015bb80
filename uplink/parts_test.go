package uplink

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
	"edgeagg/journal"
)

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

// broker is a mosquitto process on a port of its own.
type broker struct {
	t    testing.TB
	conf string
	addr string
	cmd  *exec.Cmd
}

func newBroker(t testing.TB, lines ...string) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, addr: l.Addr().String()}
	l.Close()
	dir := t.TempDir()
	b.conf = filepath.Join(dir, "mosquitto.conf")
	_, port, _ := net.SplitHostPort(b.addr)
	me := "root"
	if os.Getuid() != 0 {
		me = os.Getenv("USER")
	}
	conf := fmt.Sprintf("user %s\nlistener %s 127.0.0.1\npersistence true\npersistence_location %s/\nmax_queued_messages 0\n%s\n", me, port, dir, strings.Join(lines, "\n"))
	if !strings.Contains(conf, "allow_anonymous") {
		conf += "allow_anonymous true\n"
	}
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	b.cmd = exec.Command(path, "-c", b.conf)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	until(b.t, 10*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", b.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *broker) stop() {
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(syscall.SIGTERM)
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// message is what a receiver gets.
type message struct {
	topic    string
	payload  []byte
	retained bool
}

// receiver keeps all it gets, in order.
type receiver struct {
	c   mqtt.Client
	mu  sync.Mutex
	got []message
}

func receive(t testing.TB, b *broker) *receiver {
	t.Helper()
	r := &receiver{}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + b.addr).SetClientID("receiver").SetCleanSession(false).SetProtocolVersion(4).
		SetAutoReconnect(true).SetMaxReconnectInterval(200 * time.Millisecond).SetOrderMatters(true)
	take := func(_ mqtt.Client, m mqtt.Message) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, message{m.Topic(), m.Payload(), m.Retained()})
	}
	o.SetDefaultPublishHandler(take)
	o.SetOnConnectHandler(func(c mqtt.Client) { c.Subscribe("#", 1, take) })
	r.c = mqtt.NewClient(o)
	if tok := r.c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	t.Cleanup(func() { r.c.Disconnect(0) })
	return r
}

func (r *receiver) on(topic string) (p []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.got {
		if m.topic == topic {
			p = append(p, string(m.payload))
		}
	}
	return p
}

func (r *receiver) last(topic string) string {
	if p := r.on(topic); len(p) > 0 {
		return p[len(p)-1]
	}
	return ""
}

func unpack(t testing.TB, p string) string {
	t.Helper()
	if !strings.HasPrefix(p, "\x1f\x8b") {
		return p
	}
	z, err := gzip.NewReader(bytes.NewReader([]byte(p)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// history is the seqs received, each once, in the order in which they came first.
func (r *receiver) history(t testing.TB) (seqs []uint64, doubled int) {
	t.Helper()
	seen := map[uint64]bool{}
	for _, p := range r.on("edgeagg/dev/history") {
		var m struct {
			Device, Journal string
			Resend          bool
			Records         []struct{ Seq uint64 }
		}
		if err := json.Unmarshal([]byte(unpack(t, p)), &m); err != nil {
			t.Fatalf("%v: %q", err, p)
		}
		if m.Resend {
			continue
		}
		for _, x := range m.Records {
			if seen[x.Seq] {
				doubled++
				continue
			}
			seen[x.Seq] = true
			seqs = append(seqs, x.Seq)
		}
	}
	return seqs, doubled
}

// whole holds that seqs are 1 to n in order.
func whole(t testing.TB, seqs []uint64, n uint64) {
	t.Helper()
	if uint64(len(seqs)) != n {
		t.Fatalf("%d of %d records", len(seqs), n)
	}
	for i, s := range seqs {
		if s != uint64(i+1) {
			t.Fatalf("seq %d at place %d", s, i)
		}
	}
}

// source is a source with one reading after another.
type source struct{ n atomic.Uint64 }

func (s *source) Name() string { return "live" }
func (s *source) Newest(dst []byte) ([]byte, uint64) {
	n := s.n.Load()
	if n == 0 {
		return dst, 0
	}
	return record.Append(dst, &record.Record{Kind: record.Reading, Source: "live", Time: record.Time{Wall: 1, Set: true}, Fields: []record.Field{{Name: "t", Num: float64(n)}}}), n
}
func (s *source) Meta(dst []byte) []byte {
	return append(dst, `{"kind":"simulate","fields":[{"name":"t","unit":"Cel"},{"name":"text"}]}`...)
}

// rig is an uplink with a journal of its own.
type rig struct {
	*Uplink
	t    testing.TB
	j    *journal.Journal
	src  *source
	log  *bytes.Buffer
	stop func()

	mu      sync.Mutex
	refused [][2]uint64
	set     atomic.Bool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newRig(t testing.TB, addr string, change func(*config.Uplink)) *rig {
	t.Helper()
	g := &rig{t: t, src: &source{}, log: &bytes.Buffer{}}
	g.set.Store(true)
	now := func() record.Time { return record.Time{Wall: time.Now().UnixMicro(), Mono: 1, Set: g.set.Load()} }
	var err error
	g.j, err = journal.Open(journal.Options{
		Dir: t.TempDir(), Device: "dev", Machine: "m", MaxBytes: 1 << 30, SegmentBytes: 256 << 10, MaxRecord: 4096, Keep: true,
		Now: now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.j.Close() })
	c := config.Uplink{
		Brokers: []*url.URL{{Scheme: "mqtt", Host: addr}}, ClientID: "edgeagg-dev", Keepalive: 30 * time.Second, Topic: "edgeagg/dev",
		HistoryTopic: "edgeagg/dev/history", Format: "json", Message: 8 << 10, Every: 50 * time.Millisecond, Live: 20 * time.Millisecond, Status: 100 * time.Millisecond,
	}
	if change != nil {
		change(&c)
	}
	g.Uplink, err = New(Options{
		Config: c, Device: "dev", Journal: g.j, Sources: []Source{g.src}, Now: now, Log: slog.New(slog.NewTextHandler(&lockedBuffer{b: g.log}, nil)),
		Status: func(dst []byte) []byte { return append(dst, `{"at":"now"}`...) },
		Refused: func(a, b uint64) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.refused = append(g.refused, [2]uint64{a, b})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		g.Run(ctx)
		close(done)
	}()
	var once sync.Once
	g.stop = func() {
		once.Do(func() {
			cancel()
			<-done
		})
	}
	t.Cleanup(g.stop)
	return g
}

// write puts n records of size bytes into the journal, synced.
func (g *rig) write(n, size int) {
	g.t.Helper()
	for i := range n {
		p := record.Append(nil, &record.Record{
			Kind: record.Reading, Source: "s", Time: record.Time{Wall: 1_700_000_000_000_000 + int64(i)*1e6, Mono: 1, Set: true},
			Fields: []record.Field{{Name: "temperature", Num: 21.5 + float64(i%100)/100}, {Name: "x", Type: record.String, Text: strings.Repeat("x", size)}},
		})
		if _, err := g.j.Write([][]byte{p}); err != nil {
			g.t.Fatal(err)
		}
	}
	if err := g.j.Sync(); err != nil {
		g.t.Fatal(err)
	}
}

// drained opens windows until everything is acknowledged.
func (g *rig) drained(limit time.Duration) {
	g.t.Helper()
	until(g.t, limit, "all is acknowledged", func() bool {
		g.Drain(g.t.Context())
		return g.j.Acked() == g.j.Synced()
	})
}

// wire is a link that misbehaves.
type wire struct {
	ln      net.Listener
	to      string
	mu      sync.Mutex
	conns   []net.Conn
	mute    atomic.Bool  // the broker's answers are swallowed
	budget  atomic.Int64 // bytes up to the next cut; 0: none
	accepts atomic.Int64
	dead    atomic.Bool // nothing goes through any more, and nothing is taken
	stuck   atomic.Bool // it is, and bytes wait
}

func newWire(t testing.TB, to string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, to: to}
	t.Cleanup(func() { ln.Close(); w.cut() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.accepts.Add(1)
			go w.forward(c)
		}
	}()
	return w
}

func (w *wire) addr() string { return w.ln.Addr().String() }

func (w *wire) forward(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	w.conns = append(w.conns, near, far)
	w.mu.Unlock()
	go func() {
		defer near.Close()
		b := make([]byte, 4096)
		for {
			n, err := far.Read(b)
			if err != nil {
				return
			}
			if w.mute.Load() || w.dead.Load() {
				continue
			}
			if _, err := near.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1024)
	for {
		n, err := near.Read(b)
		if err != nil {
			return
		}
		if w.dead.Load() {
			w.stuck.Store(true)
			w.park()
			return
		}
		if left := w.budget.Load(); left > 0 {
			if left <= int64(n) { // in the middle of a packet
				_, _ = far.Write(b[:left])
				w.budget.Store(0)
				w.cut()
				return
			}
			w.budget.Add(-int64(n))
		}
		if _, err := far.Write(b[:n]); err != nil {
			return
		}
	}
}

// park keeps a connection open, unread, until it is cut.
func (w *wire) park() {
	for {
		w.mu.Lock()
		gone := w.conns == nil
		w.mu.Unlock()
		if gone {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}
