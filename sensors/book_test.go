package sensors

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

var errFull = errors.New("full")

// book is a sink that keeps what it takes, as long as it has room.
type book struct {
	mu   sync.Mutex
	full bool
	free chan struct{} // closed when there is room
	recs []record.Record
	size []int
	bad  error
}

func newBook() *book {
	b := &book{free: make(chan struct{})}
	close(b.free)
	return b
}

// fill makes the buffer full, or empty again.
func (b *book) fill(full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full == full {
		return
	}
	if b.full = full; full {
		b.free = make(chan struct{})
	} else {
		close(b.free)
	}
}

func (b *book) TryWrite(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full {
		return 0, errFull
	}
	var d record.Decoder
	var r record.Record
	if err := d.Decode(p, &r); err != nil && b.bad == nil {
		b.bad = err
	}
	b.recs, b.size = append(b.recs, r), append(b.size, len(p))
	return len(p), nil
}

func (b *book) WriteContext(ctx context.Context, p []byte) (int, error) {
	for {
		b.mu.Lock()
		free := b.free
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-free:
		}
		if n, err := b.TryWrite(p); err == nil {
			return n, nil
		}
	}
}

// all are the records so far.
func (b *book) all() []record.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]record.Record(nil), b.recs...)
}

// of are the records so far of one kind.
func (b *book) of(k record.Kind) (found []record.Record) {
	for _, r := range b.all() {
		if r.Kind == k {
			found = append(found, r)
		}
	}
	return found
}

// sound fails the test if what was written is not what any source may write.
func (b *book) sound(t *testing.T) {
	t.Helper()
	if b.bad != nil {
		t.Errorf("a record that cannot be decoded: %v", b.bad)
	}
	last := map[string]record.Time{}
	for i, r := range b.all() {
		if l, ok := last[r.Source]; ok && (r.Time.Mono <= l.Mono || r.Time.Wall <= l.Wall && l.Set == r.Time.Set) {
			t.Errorf("record %d of %s: time %v behind %v", i, r.Source, r.Time, l)
		}
		last[r.Source] = r.Time
	}
}

// now is both clocks; the wall clock is set. In a bubble it is 2000 then.
func now() record.Time {
	t := time.Now().UnixMicro()
	return record.Time{Wall: t, Mono: t - 946_684_799_000_000, Set: true}
}

func options(b *book, sources ...config.Source) Options {
	return Options{
		Sources: sources, Sink: b, Full: errFull, MaxRecord: 4096, Now: now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// serve runs sources until the test ends, or stop is called.
func serve(t *testing.T, o Options) (set *Set, stop func()) {
	t.Helper()
	set, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return set, runSet(t, set)
}

func runSet(t *testing.T, set *Set) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { set.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

// closed closes c, and fails the test if that fails.
func closed(t testing.TB, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// until polls a condition, and fails the test when it does not come true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// show is a record's quality, why and fields, for comparisons.
func show(r record.Record) string {
	return string(record.AppendJSON(nil, &record.Record{
		Kind: r.Kind, Quality: r.Quality, Why: r.Why, Fields: r.Fields, Count: r.Count, Reason: r.Reason, Event: r.Event,
		Time: record.Time{Set: true},
	})[len(`{"time":"1970-01-01T00:00:00.000000Z",`):])
}
