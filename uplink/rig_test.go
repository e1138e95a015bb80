package uplink

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
	"edgeagg/journal"
)

// until polls a condition, and fails the test when it does not come true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("did not come: " + what)
		}
	}
}

// rig is an uplink with a journal of its own.
type rig struct {
	*Uplink
	t       *testing.T
	j       *journal.Journal
	dir     string
	n       int // readings written
	logged  *lines
	cancel  context.CancelFunc
	ended   chan struct{}
	mu      sync.Mutex
	refused [][2]uint64
	status  string
}

// lines is a log that can be read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func now() record.Time {
	at := time.Now().UnixMicro()
	return record.Time{Wall: at, Mono: at - 1e15, Set: true}
}

func openJournal(t testing.TB, dir, device, machine string, log *slog.Logger) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Options{
		Dir: dir, Device: device, Machine: machine, Boot: journal.ID{1},
		MaxBytes: 1 << 30, SegmentBytes: 256 << 10, MaxRecord: 8 << 10, Keep: true, Now: now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func usual(broker ...string) config.Uplink {
	c := config.Uplink{
		ClientID: "edgeagg-d", Topic: "edgeagg/d", HistoryTopic: "edgeagg/d/history", Keepalive: 30 * time.Second,
		Format: "json", Message: 8 << 10, Every: time.Minute, Live: 20 * time.Millisecond, Status: time.Hour,
	}
	for _, b := range broker {
		u, err := url.Parse(b)
		if err != nil {
			panic(err)
		}
		c.Brokers = append(c.Brokers, u)
	}
	return c
}

// newRig makes an uplink that is not yet running.
func newRig(t *testing.T, c config.Uplink, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), logged: &lines{}, status: `{"version":"test"}`}
	log := slog.New(slog.NewTextHandler(r.logged, nil))
	r.j = openJournal(t, r.dir, "d", "m1", log)
	o := Options{
		Config: c, Device: "d", Journal: r.j, Now: now, Log: log,
		Status: func(dst []byte) []byte { return append(dst, r.status...) },
		Refused: func(first, last uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused = append(r.refused, [2]uint64{first, last})
		},
	}
	for _, f := range change {
		f(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	u.backoff = [...]time.Duration{20 * time.Millisecond, 100 * time.Millisecond}
	r.Uplink = u
	t.Cleanup(func() {
		r.stop()
		if err := r.j.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			r.logged.mu.Lock()
			t.Log("log:\n" + r.logged.b.String())
			r.logged.mu.Unlock()
		}
	})
	return r
}

// run starts the uplink until the test ends, or stop.
func (r *rig) run() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan struct{})
	go func() {
		defer close(r.ended)
		r.Run(ctx)
	}()
	return r
}

func (r *rig) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		r.t.Fatal("Run does not end")
	}
}

// connected waits for a connection.
func (r *rig) connected() *rig {
	r.t.Helper()
	until(r.t, "a connection", func() bool { return r.Stats().Connected })
	return r
}

func reading(source string, n int, more ...record.Field) []byte {
	at := now()
	return record.Append(nil, &record.Record{
		Kind: record.Reading, Source: source, Time: at,
		Fields: append([]record.Field{{Name: "n", Type: record.Int, Int: int64(n)}}, more...),
	})
}

// write brings n more numbered readings onto the card.
func (r *rig) write(n int) {
	r.t.Helper()
	recs := make([][]byte, n)
	for i := range recs {
		r.n++
		recs[i] = reading("s", r.n)
	}
	r.put(recs...)
}

func (r *rig) put(recs ...[]byte) {
	r.t.Helper()
	if _, err := r.j.Write(recs); err != nil {
		r.t.Fatal(err)
	}
	if err := r.j.Sync(); err != nil {
		r.t.Fatal(err)
	}
}

// drain opens windows until everything is acknowledged.
func (r *rig) drain() {
	r.t.Helper()
	until(r.t, "everything is acknowledged", func() bool {
		r.Drain(r.t.Context())
		return r.j.Acked() == r.j.Synced()
	})
}

// card is what the journal holds, as JSON lines, in order.
func (r *rig) card() (all []string) {
	r.t.Helper()
	rd := r.j.Reader(1, nil)
	defer rd.Close()
	var d record.Decoder
	var x record.Record
	for {
		e, err := rd.Next()
		if err != nil {
			return all
		}
		if err := e.Decode(&d, &x); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, string(record.AppendJSON(nil, &x)))
	}
}

// source is a source whose newest reading the test sets.
type source struct {
	name, meta string
	mu         sync.Mutex
	p          []byte
	n          uint64
}

func (s *source) set(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p, s.n = p, s.n+1
}

func (s *source) Name() string { return s.name }

func (s *source) Newest(dst []byte) ([]byte, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.p...), s.n
}

func (s *source) Meta(dst []byte) []byte { return append(dst, s.meta...) }

func number(t *testing.T, raw string) int {
	t.Helper()
	var x struct{ Fields struct{ N int } }
	if err := json.Unmarshal([]byte(raw), &x); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, raw))
	}
	return x.Fields.N
}
