package aggregator_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"edgeagg/aggregator"
)

var bg = context.Background()

// sink is a writer that remembers what it was given.
type sink struct {
	mu   sync.Mutex
	recs []string
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recs = append(s.recs, string(p))
	return len(p), nil
}

func (s *sink) batch(recs [][]byte) (int, error) {
	for _, p := range recs {
		_, _ = s.Write(p)
	}
	return len(recs), nil
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recs)
}

func (s *sink) want(t *testing.T, recs ...string) {
	t.Helper()
	if got := s.got(); !slices.Equal(got, recs) {
		t.Errorf("written: %q, want %q", got, recs)
	}
}

// valve is a sink that takes a record when it is told to.
type valve struct {
	sink
	turn chan error // what the next call returns
}

func newValve() *valve { return &valve{turn: make(chan error)} }

func (v *valve) Write(p []byte) (int, error) {
	if err := <-v.turn; err != nil {
		return 0, err
	}
	return v.sink.Write(p)
}

// let lets n records through.
func (v *valve) let(n int) {
	for range n {
		v.turn <- nil
	}
}

// open lets all through from now on.
func (v *valve) open() { close(v.turn) }

func create(t testing.TB, cfg aggregator.Config) aggregator.Aggregator {
	t.Helper()
	a, err := aggregator.New(bg, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func start(t testing.TB, cfg aggregator.Config) aggregator.Aggregator {
	t.Helper()
	a := create(t, cfg)
	must(t, a.Start(bg))
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if err != want {
		t.Errorf("have error %v, want %v", err, want)
	}
}

// write writes each word as a record.
func write(t testing.TB, a aggregator.Aggregator, words string) {
	t.Helper()
	for w := range strings.FieldsSeq(words) {
		if n, err := a.Write([]byte(w)); n != len(w) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", w, n, err)
		}
	}
}

// results collects what goroutines got from their calls.
type results chan error

func (r results) go_(f func() error) { go func() { r <- f() }() }

func writing(a aggregator.Aggregator, p string) results {
	r := make(results, 1)
	go func() {
		_, err := a.Write([]byte(p))
		r <- err
	}()
	return r
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func counters(t *testing.T, a aggregator.Aggregator, waiting, sizeWaiting, processing, sizeProcessing int64) {
	t.Helper()
	got := [4]int64{a.NbWaiting(), a.SizeWaiting(), a.NbProcessing(), a.SizeProcessing()}
	if want := [4]int64{waiting, sizeWaiting, processing, sizeProcessing}; got != want {
		t.Errorf("waiting, processing: have %v, want %v", got, want)
	}
}
