package aggregator_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

// The seed's API, name for name.
var _ interface {
	context.Context
	Start(ctx context.Context) error
	Stop() error
	Restart(ctx context.Context) error
	IsRunning() bool
	Uptime() time.Duration
	ErrorsLast() error
	ErrorsList() []error
	io.Closer
	io.Writer
	NbWaiting() int64
	NbProcessing() int64
	SizeWaiting() int64
	SizeProcessing() int64
} = aggregator.Aggregator(nil)

// sink keeps what it is handed.
type sink struct {
	mu   sync.Mutex
	recs []string
}

func (s *sink) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recs = append(s.recs, string(p))
	return len(p), nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.recs...)
}

func started(t testing.TB, cfg aggregator.Config) aggregator.Aggregator {
	t.Helper()
	a, err := aggregator.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func put(t testing.TB, a io.Writer, s string) {
	t.Helper()
	if n, err := a.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("Write(%q): %d, %v", s, n, err)
	}
}

func TestNewNeedsAWriter(t *testing.T) {
	if _, err := aggregator.New(t.Context(), aggregator.Config{}); !errors.Is(err, aggregator.ErrInvalidWriter) {
		t.Error(err)
	}
}

func TestARecordMustFitTheRing(t *testing.T) {
	s := &sink{}
	a, err := aggregator.New(t.Context(), aggregator.Config{FctWriter: s.write, BufBytes: 10, MaxRecord: 100})
	if err == nil {
		t.Fatalf("a record of 100 bytes does not fit 10: %v", a)
	}
}

func TestStopHandsOverAllThatWasAccepted(t *testing.T) {
	for _, cfg := range []aggregator.Config{
		{BufWriter: 100},
		{BufWriter: 1},
		{BufBytes: 4096, MaxRecord: 64},
		{BufWriter: -5},
		{BufWriter: 2, BufMax: 64},
		{BufWriter: 100, BatchBytes: 512},
	} {
		s := &sink{}
		slow := func(p []byte) (int, error) {
			runtime.Gosched()
			return s.write(p)
		}
		cfg.FctWriter = slow
		a := started(t, cfg)
		want := ""
		for i := range 50 {
			put(t, a, fmt.Sprintf("<%d>", i))
			want += fmt.Sprintf("<%d>", i)
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(s.all(), ""); got != want {
			t.Errorf("%+v: %q", cfg, got)
		}
		if a.NbProcessing() != 0 || a.SizeProcessing() != 0 || a.NbWaiting() != 0 || a.IsRunning() || a.Uptime() != 0 {
			t.Errorf("after Stop: %+v", a.Metrics())
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, aggregator.ErrClosedResources) {
			t.Errorf("Write after Stop: %v", err)
		}
	}
}

func TestLifecycle(t *testing.T) {
	s := &sink{}
	a, err := aggregator.New(t.Context(), aggregator.Config{FctWriter: s.write})
	if err != nil {
		t.Fatal(err)
	}
	closed := func(when string) {
		t.Helper()
		if _, err := a.Write([]byte("x")); !errors.Is(err, aggregator.ErrClosedResources) {
			t.Errorf("Write %s: %v", when, err)
		}
	}
	closed("before Start")
	if err := a.Stop(); err != nil {
		t.Errorf("Stop before Start: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Start(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Start on a context that has ended: %v", err)
	}
	for range 2 {
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(t.Context()); !errors.Is(err, aggregator.ErrStillRunning) {
			t.Errorf("second Start: %v", err)
		}
		if !a.IsRunning() || a.Err() != nil || a.Uptime() <= 0 {
			t.Errorf("running %v, err %v, uptime %v", a.IsRunning(), a.Err(), a.Uptime())
		}
		put(t, a, "r")
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		<-a.Done()
		if !errors.Is(a.Err(), context.Canceled) {
			t.Errorf("Err after Stop: %v", a.Err())
		}
		closed("after Stop")
	}
	for range 2 {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := a.Start(t.Context()); !errors.Is(err, aggregator.ErrClosedResources) {
		t.Errorf("Start after Close: %v", err)
	}
	if err := a.Restart(t.Context()); !errors.Is(err, aggregator.ErrClosedResources) {
		t.Errorf("Restart after Close: %v", err)
	}
	closed("after Close")
	if got := len(s.all()); got != 2 {
		t.Errorf("%d records", got)
	}
}

func TestOneOfEightStartsWins(t *testing.T) {
	s := &sink{}
	a, err := aggregator.New(t.Context(), aggregator.Config{FctWriter: s.write})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			switch err := a.Start(context.Background()); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, aggregator.ErrStillRunning):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 started it", won.Load())
	}
}

// A parent that ends, by cancel or by deadline, drains what was accepted.
func TestTheParentEnds(t *testing.T) {
	for _, fromNew := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := &sink{}
			gate := make(chan struct{})
			writer := func(p []byte) (int, error) {
				<-gate
				return s.write(p)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			parent, own := context.Background(), ctx
			if fromNew {
				parent, own = ctx, context.Background()
			}
			a, err := aggregator.New(parent, aggregator.Config{FctWriter: writer, BufWriter: 10})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Start(own); err != nil {
				t.Fatal(err)
			}
			if d, ok := a.Deadline(); !ok || d.IsZero() {
				t.Error("no deadline")
			}
			for i := range 5 {
				put(t, a, fmt.Sprint(i))
			}
			<-a.Done()
			if !errors.Is(a.Err(), context.DeadlineExceeded) {
				t.Errorf("Err: %v", a.Err())
			}
			close(gate)
			synctest.Wait()
			if got := fmt.Sprint(s.all()); got != "[0 1 2 3 4]" || a.IsRunning() {
				t.Errorf("%s, running %v", got, a.IsRunning())
			}
		})
	}
}

// A full buffer: Write waits and is counted, TryWrite does not, WriteContext
// gives up, and Stop sends those who wait away.
func TestAFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &sink{}
		a, err := aggregator.New(context.Background(), aggregator.Config{BufWriter: 2, FctWriter: func(p []byte) (int, error) {
			<-gate
			return s.write(p)
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		put(t, a, "in hand")
		synctest.Wait()
		put(t, a, "one")
		put(t, a, "two")
		if a.NbProcessing() != 2 || a.SizeProcessing() != 6 {
			t.Errorf("processing %d, %d bytes", a.NbProcessing(), a.SizeProcessing())
		}
		if _, err := a.TryWrite([]byte("x")); !errors.Is(err, aggregator.ErrFull) {
			t.Errorf("TryWrite: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := a.WriteContext(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("WriteContext: %v", err)
		}
		results := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := a.Write([]byte("wait"))
				results <- err
			}()
		}
		synctest.Wait()
		if a.NbWaiting() != 3 || a.SizeWaiting() != 12 {
			t.Errorf("waiting %d, %d bytes", a.NbWaiting(), a.SizeWaiting())
		}
		gate <- struct{}{} // room for one
		synctest.Wait()
		if a.NbWaiting() != 2 || a.NbProcessing() != 2 {
			t.Errorf("waiting %d, processing %d", a.NbWaiting(), a.NbProcessing())
		}
		done := make(chan error, 1)
		go func() { done <- a.Stop() }()
		synctest.Wait()
		if a.NbWaiting() != 0 {
			t.Errorf("waiting after Stop: %d", a.NbWaiting())
		}
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		took := 0
		for range 3 {
			if err := <-results; err == nil {
				took++
			} else if !errors.Is(err, aggregator.ErrClosedResources) {
				t.Error(err)
			}
		}
		if got := s.all(); took != 1 || len(got) != 4 {
			t.Errorf("%d of 3 were taken, %v were written", took, got)
		}
	})
}

func TestFixedMemory(t *testing.T) {
	s := &sink{}
	a := started(t, aggregator.Config{FctWriter: s.write, BufBytes: 1024, MaxRecord: 100})
	if _, err := a.Write(make([]byte, 101)); !errors.Is(err, aggregator.ErrTooLong) {
		t.Errorf("a longer record: %v", err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	var want []string
	for i := range 5000 {
		p := bytes.Repeat([]byte{byte(i)}, 1+rng.IntN(100))
		put(t, a, string(p))
		want = append(want, string(p))
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := s.all(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d of %d records", len(got), len(want))
	}
}

func TestErrorsAreToldAndDoNotStopTheLoop(t *testing.T) {
	fail := errors.New("no")
	var told []error
	var failed []string
	n := 0
	a := started(t, aggregator.Config{
		BufWriter: 10,
		FctWriter: func(p []byte) (int, error) {
			n++
			switch n {
			case 1:
				return 0, fail
			case 2:
				return 1, nil // short
			case 3:
				panic("ouch")
			}
			return len(p), nil
		},
		FctFailed: func(p []byte, _ error) { failed = append(failed, string(p)) },
	})
	a.SetLoggerError(func(_ string, err ...error) {
		told = append(told, err...)
		panic("a logger panics too")
	})
	for i := range 5 {
		put(t, a, fmt.Sprint("r", i))
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	list := a.ErrorsList()
	var p *aggregator.PanicError
	if len(list) != 3 || !errors.Is(list[0], fail) || !errors.Is(list[1], io.ErrShortWrite) || !errors.As(list[2], &p) {
		t.Fatalf("%v", list)
	}
	if !errors.Is(a.ErrorsLast(), list[2]) || p.Value != "ouch" || !bytes.Contains(p.Stack, []byte("goroutine")) {
		t.Errorf("last %v", a.ErrorsLast())
	}
	if fmt.Sprint(failed) != "[r0 r1 r2]" || len(told) != 3 || n != 5 {
		t.Errorf("failed %v, told %v, %d calls", failed, told, n)
	}
	if m := a.Metrics(); m.Errors != 3 || m.Dropped != 3 || m.Written != 2 || m.Accepted != 5 || m.Panics < 4 {
		t.Errorf("%+v", m)
	}
}

func TestErrorsListIsBounded(t *testing.T) {
	n := 0
	a := started(t, aggregator.Config{BufWriter: 10, FctWriter: func([]byte) (int, error) {
		n++
		return 0, fmt.Errorf("error %d", n)
	}})
	for range 100 {
		put(t, a, "x")
	}
	_ = a.Stop()
	list := a.ErrorsList()
	if len(list) != aggregator.MaxErrors || list[len(list)-1].Error() != "error 100" || a.Metrics().Errors != 100 {
		t.Errorf("%d kept, last %v, %d in all", len(list), a.ErrorsLast(), a.Metrics().Errors)
	}
}

// A record that fails is retried, in order, while the buffer fills; Shutdown
// says how many were left when its time is over.
func TestRetryAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		s := &sink{}
		var left []string
		a, err := aggregator.New(context.Background(), aggregator.Config{
			BufBytes: 200, MaxRecord: 10,
			Retry:     aggregator.Retry{Max: -1, MinDelay: 10 * time.Millisecond, MaxDelay: time.Second},
			FctFailed: func(p []byte, _ error) { left = append(left, string(p)) },
			FctBatch: func(recs [][]byte) (int, error) {
				if broken.Load() {
					return 0, errors.New("the card takes nothing")
				}
				for _, r := range recs {
					_, _ = s.write(r)
				}
				return len(recs), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		taken := 0
		for range 100 {
			if _, err := a.TryWrite([]byte(fmt.Sprintf("%02d", taken))); err == nil {
				taken++
			}
			time.Sleep(time.Millisecond)
		}
		if taken < 10 || taken == 100 {
			t.Fatalf("%d were taken", taken)
		}
		broken.Store(false)
		time.Sleep(2 * time.Second)
		if got := s.all(); len(got) != taken || got[0] != "00" || got[taken-1] != fmt.Sprintf("%02d", taken-1) {
			t.Fatalf("%v", got)
		}
		broken.Store(true)
		for range 3 {
			put(t, a, "xx")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if n, err := a.Shutdown(ctx); n != 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %d left, %v", n, err)
		}
		if len(left) != 3 || a.IsRunning() || a.NbProcessing() != 0 {
			t.Errorf("left %v, running %v", left, a.IsRunning())
		}
	})
}

func TestBatchesKeepTheirBoundaries(t *testing.T) {
	gate := make(chan struct{})
	var batches [][]string
	a := started(t, aggregator.Config{BufBytes: 4096, MaxRecord: 100, BatchBytes: 40, FctBatch: func(recs [][]byte) (int, error) {
		<-gate
		var b []string
		for _, r := range recs[:min(len(recs), 3)] { // takes three at most
			b = append(b, string(r))
		}
		batches = append(batches, b)
		if len(recs) > 3 {
			return 3, nil
		}
		return len(recs), nil
	}, Retry: aggregator.Retry{Max: -1, MinDelay: time.Microsecond}})
	var want []string
	for i := range 40 {
		s := fmt.Sprintf("record %d", i)
		put(t, a, s)
		want = append(want, s)
	}
	close(gate)
	if _, err := a.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	most := 0
	for _, b := range batches {
		got = append(got, b...)
		most = max(most, len(b))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || most < 2 {
		t.Errorf("batches %v", batches)
	}
	if a.NbProcessing() != 0 {
		t.Errorf("%d in processing", a.NbProcessing())
	}
}

func TestBatchDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan int, 10)
		a, err := aggregator.New(context.Background(), aggregator.Config{BufBytes: 4096, MaxRecord: 100, BatchDelay: 50 * time.Millisecond, FctBatch: func(recs [][]byte) (int, error) {
			calls <- len(recs)
			return len(recs), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			put(t, a, "x")
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if len(calls) != 0 {
			t.Errorf("handed over before the delay: %d", <-calls)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if n := <-calls; n != 10 {
			t.Errorf("%d records", n)
		}
		_ = a.Close()
	})
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs, asyncs, most, now atomic.Int64
		a, err := aggregator.New(context.Background(), aggregator.Config{
			FctWriter: func(p []byte) (int, error) { return len(p), nil },
			SyncTimer: time.Second, SyncFct: func(context.Context) { syncs.Add(1) },
			AsyncTimer: time.Second, AsyncMax: 2,
			AsyncFct: func(ctx context.Context) {
				asyncs.Add(1)
				most.Store(max(most.Load(), now.Add(1)))
				defer now.Add(-1)
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5500 * time.Millisecond)
		synctest.Wait()
		if syncs.Load() != 5 || asyncs.Load() != 2 || most.Load() != 2 {
			t.Errorf("%d syncs, %d asyncs, %d at once", syncs.Load(), asyncs.Load(), most.Load())
		}
		begin := time.Now()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if now.Load() != 0 || time.Since(begin) > 0 {
			t.Errorf("%d AsyncFct still run; Stop took %v", now.Load(), time.Since(begin))
		}
		if syncs.Load() != 6 {
			t.Errorf("no last sync: %d", syncs.Load())
		}
		time.Sleep(5 * time.Second)
		if syncs.Load() != 6 || asyncs.Load() != 2 {
			t.Error("timers go on after Stop")
		}
	})
}

// Ticks that pass while the loop is busy are not made up for.
func TestLateTicksComeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		a, err := aggregator.New(context.Background(), aggregator.Config{
			FctWriter: func(p []byte) (int, error) {
				time.Sleep(10500 * time.Millisecond)
				return len(p), nil
			},
			SyncTimer: time.Second, SyncFct: func(context.Context) { syncs.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		put(t, a, "slow")
		time.Sleep(10600 * time.Millisecond)
		synctest.Wait()
		if syncs.Load() != 1 {
			t.Errorf("%d syncs", syncs.Load())
		}
		_ = a.Close()
	})
}

func TestSyncOnDemand(t *testing.T) {
	s := &sink{}
	var at []int
	a := started(t, aggregator.Config{BufWriter: 100, FctWriter: s.write, SyncFct: func(context.Context) { at = append(at, len(s.all())) }})
	for i := range 50 {
		put(t, a, fmt.Sprint(i))
	}
	if err := a.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(at) != "[50]" {
		t.Errorf("synced behind %v records", at)
	}
	_ = a.Stop()
	if err := a.Sync(t.Context()); !errors.Is(err, aggregator.ErrClosedResources) {
		t.Errorf("Sync after Stop: %v", err)
	}
}

// A callback may stop, close or restart the aggregator that runs it.
func TestACallbackStopsIt(t *testing.T) {
	for name, act := range map[string]func(aggregator.Aggregator) error{
		"Stop":    aggregator.Aggregator.Stop,
		"Close":   aggregator.Aggregator.Close,
		"Restart": func(a aggregator.Aggregator) error { return a.Restart(context.Background()) },
	} {
		for _, from := range []string{"FctWriter", "SyncFct", "AsyncFct"} {
			t.Run(name+" in "+from, func(t *testing.T) {
				var a aggregator.Aggregator
				var once sync.Once
				acted := make(chan error, 1)
				call := func() { once.Do(func() { acted <- act(a) }) }
				cfg := aggregator.Config{FctWriter: func(p []byte) (int, error) {
					if from == "FctWriter" {
						call()
					}
					return len(p), nil
				}}
				switch from {
				case "SyncFct":
					cfg.SyncTimer, cfg.SyncFct = time.Millisecond, func(context.Context) { call() }
				case "AsyncFct":
					cfg.AsyncTimer, cfg.AsyncFct = time.Millisecond, func(context.Context) { call() }
				}
				var err error
				if a, err = aggregator.New(context.Background(), cfg); err != nil {
					t.Fatal(err)
				}
				if err := a.Start(context.Background()); err != nil {
					t.Fatal(err)
				}
				if from == "FctWriter" {
					put(t, a, "x")
				}
				if err := <-acted; err != nil {
					t.Error(err)
				}
				if name == "Restart" {
					put(t, a, "y")
				} else {
					<-a.Done()
				}
				if err := a.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestRestartKeepsWhatWaits(t *testing.T) {
	s := &sink{}
	a := started(t, aggregator.Config{BufWriter: 8, FctWriter: s.write})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				if _, err := fmt.Fprintf(a, "%d:%d", g, i); err != nil {
					t.Errorf("Write during Restart: %v", err)
					return
				}
			}
		})
	}
	for range 200 {
		if err := a.Restart(context.Background()); err != nil {
			t.Fatal(err)
		}
		if !a.IsRunning() || a.Err() != nil {
			t.Fatal("not running after Restart")
		}
	}
	wg.Wait()
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	next := map[byte]int{}
	for _, r := range s.all() {
		var g, i int
		if _, err := fmt.Sscanf(r, "%d:%d", &g, &i); err != nil || i != next[byte(g)] {
			t.Fatalf("%q, expected %d of %d", r, next[byte(g)], g)
		}
		next[byte(g)]++
	}
	if len(s.all()) != 8000 {
		t.Errorf("%d records", len(s.all()))
	}
}

func TestTheBufferGrowsUnderPressureAndShrinksWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		a, err := aggregator.New(context.Background(), aggregator.Config{BufWriter: 2, BufMax: 64, FctWriter: func(p []byte) (int, error) {
			<-gate
			return len(p), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		taken := func() (n int) {
			for {
				if _, err := a.TryWrite([]byte("x")); err != nil {
					return n
				}
				n++
			}
		}
		if n := taken(); n < 64 || n > 65 {
			t.Errorf("%d records of at most 64, and one in hand", n)
		}
		close(gate)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		gate = make(chan struct{})
		if n := a.NbProcessing(); n != 0 {
			t.Errorf("%d left", n)
		}
		close(gate)
		_ = a.Close()
	})
}

func TestNothingIsAllocated(t *testing.T) {
	for name, cfg := range map[string]aggregator.Config{
		"ring":  {BufBytes: 64 << 10, MaxRecord: 1024},
		"count": {BufWriter: 1000},
		"batch": {BufBytes: 64 << 10, MaxRecord: 1024, FctBatch: func(recs [][]byte) (int, error) { return len(recs), nil }},
	} {
		if cfg.FctBatch == nil {
			cfg.FctWriter = func(p []byte) (int, error) { return len(p), nil }
		}
		a := started(t, cfg)
		p := make([]byte, 256)
		for range 5000 {
			put(t, a, string(p))
		}
		if n := testing.AllocsPerRun(5000, func() { _, _ = a.Write(p) }); n != 0 {
			t.Errorf("%s: %v allocations a Write", name, n)
		}
	}
}

func TestMetricsText(t *testing.T) {
	a := started(t, aggregator.Config{FctWriter: func(p []byte) (int, error) { return len(p), nil }})
	put(t, a, "abc")
	_ = a.Stop()
	var b strings.Builder
	if err := a.Metrics().WritePrometheus(&b, "agg_"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# TYPE agg_written_records_total counter\nagg_written_records_total 1\n", "agg_accepted_bytes_total 3\n", "# TYPE agg_waiting_records gauge\nagg_waiting_records 0\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestValuesAndLoggers(t *testing.T) {
	type key struct{}
	s := &sink{}
	a, err := aggregator.New(context.WithValue(t.Context(), key{}, "new"), aggregator.Config{FctWriter: s.write, PanicHandler: func(any, []byte) { panic("again") }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close() }()
	var said []string
	a.SetLoggerInfo(func(msg string, _ ...any) { said = append(said, msg) })
	if a.Value(key{}) != "new" {
		t.Error("no value before Start")
	}
	if err := a.Start(context.WithValue(t.Context(), key{}, "start")); err != nil {
		t.Fatal(err)
	}
	if a.Value(key{}) != "start" {
		t.Error("no value of Start's context")
	}
	if n, err := a.Write(nil); n != 0 || err != nil {
		t.Errorf("an empty write: %d, %v", n, err)
	}
	_ = a.Stop()
	if len(said) != 2 {
		t.Errorf("said %v", said)
	}
	a.SetLoggerInfo(nil)
	a.SetLoggerError(nil)
}

// Everything at once, with each record accounted for: handed over exactly
// once if Write said so, and never if it did not.
func TestStress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 12 {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		cfg := aggregator.Config{BufWriter: []int{1, 8, 1000}[rng.IntN(3)], SyncTimer: time.Millisecond, SyncFct: func(context.Context) {}, AsyncTimer: time.Millisecond, AsyncMax: -1, AsyncFct: func(context.Context) {}}
		if round%3 == 1 {
			cfg.BufBytes, cfg.MaxRecord, cfg.BufWriter = 64<<10, 16<<10, 0
		}
		got := map[[2]uint32]int{}
		last := map[uint32]uint32{}
		take := func(p []byte) {
			k := [2]uint32{binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])}
			got[k]++
			if k[1] <= last[k[0]] {
				t.Errorf("record %d of %d behind %d", k[1], k[0], last[k[0]])
			}
			last[k[0]] = k[1]
		}
		cfg.FctWriter = func(p []byte) (int, error) { take(p); return len(p), nil }
		if round%4 == 2 {
			cfg.FctWriter = nil
			cfg.FctBatch = func(recs [][]byte) (int, error) {
				for _, p := range recs {
					take(p)
				}
				return len(recs), nil
			}
		}
		a, err := aggregator.New(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = a.Start(context.Background())
		var mu sync.Mutex
		accepted := map[[2]uint32]bool{}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for g := range uint32(100) {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(g)))
				for i := uint32(1); i < 60; i++ {
					p := make([]byte, 8+rng.IntN(1<<rng.IntN(13)))
					binary.LittleEndian.PutUint32(p, g)
					binary.LittleEndian.PutUint32(p[4:], i)
					var err error
					switch rng.IntN(3) {
					case 0:
						_, err = a.Write(p)
					case 1:
						_, err = a.TryWrite(p)
					case 2:
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(1000))*time.Microsecond)
						_, err = a.WriteContext(ctx, p)
						cancel()
					}
					if err == nil {
						mu.Lock()
						accepted[[2]uint32{g, i}] = true
						mu.Unlock()
					}
				}
			})
		}
		var control sync.WaitGroup
		for range 3 {
			control.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					switch rand.IntN(4) {
					case 0:
						_ = a.Stop()
					case 1, 2:
						_ = a.Start(context.Background())
					case 3:
						_ = a.Restart(context.Background())
					}
					runtime.Gosched()
				}
			})
		}
		wg.Wait()
		close(stop)
		control.Wait()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for k := range accepted {
			if got[k] != 1 {
				t.Fatalf("round %d: record %v was handed over %d times", round, k, got[k])
			}
		}
		if len(got) != len(accepted) {
			t.Fatalf("round %d: %d accepted, %d handed over", round, len(accepted), len(got))
		}
		if a.NbProcessing() != 0 || a.NbWaiting() != 0 {
			t.Fatalf("round %d: %+v", round, a.Metrics())
		}
	}
}
