package aggregator_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

// buffers are the kinds of buffer that every record has to come through whole.
var buffers = map[string]aggregator.Config{
	"of one":         {},
	"of a hundred":   {BufWriter: 100},
	"as big as ever": {BufWriter: math.MaxInt},
	"that grows":     {BufWriter: 2, BufMax: 50},
	"of few bytes":   {BufWriter: 1000, BufMaxSize: 100},
	"tight ring":     {BufBytes: 1004, MaxRecord: 1000},
	"odd ring":       {BufBytes: 3331, MaxRecord: 1000},
	"wide ring":      {BufBytes: 1 << 20},
	"counted ring":   {BufBytes: 1 << 20, BufWriter: 3},
}

// Each record reaches FctWriter once, whole, in one call, in the order of its
// goroutine, and the caller may reuse its slice.
func TestEachRecordOnce(t *testing.T) {
	for name, cfg := range buffers {
		t.Run(name, func(t *testing.T) {
			const writers, each = 8, 500
			var next [writers]int
			cfg.FctWriter = func(p []byte) (int, error) {
				var w, i int
				if _, err := fmt.Sscanf(string(p), "%d %d ", &w, &i); err != nil {
					t.Errorf("cannot read %q: %v", p, err)
					return len(p), nil
				}
				if i != next[w] || len(p) != 10+(i*97+w)%990 || strings.Trim(string(p[10:]), "x") != "" {
					t.Errorf("writer %d: record %d of %d bytes, want record %d", w, i, len(p), next[w])
				}
				next[w] = i + 1
				return len(p), nil
			}
			a := start(t, cfg)
			done := make(results, writers)
			for w := range writers {
				done.go_(func() error {
					p := bytes.Repeat([]byte("x"), 1000)
					for i := range each {
						copy(p, fmt.Sprintf("%-10s", fmt.Sprintf("%d %d ", w, i)))
						p := p[:10+(i*97+w)%990]
						if n, err := a.Write(p); n != len(p) || err != nil {
							return fmt.Errorf("Write = %d, %w", n, err)
						}
						copy(p, "zzzzzzzzzz")
						clear(p[10:])
						for j := range p[10:] {
							p[10+j] = 'x'
						}
					}
					return nil
				})
			}
			for range writers {
				must(t, <-done)
			}
			must(t, a.Stop())
			for w, n := range next {
				if n != each {
					t.Errorf("writer %d: %d of %d records", w, n, each)
				}
			}
		})
	}
}

// BufWriter is a hard bound: so many records are accepted and not handed over,
// and the next Write waits.
func TestBufWriterIsABound(t *testing.T) {
	for _, size := range []int{0, 1, 2, 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newValve()
				a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: size})
				size := int64(max(size, 1))
				write(t, a, "xx")
				synctest.Wait()
				counters(t, a, 0, 0, 0, 0) // FctWriter has it
				for i := range size {
					write(t, a, "xx")
					synctest.Wait()
					counters(t, a, 0, 0, i+1, 2*(i+1))
				}
				if n, err := a.TryWrite([]byte("no")); n != 0 || err != aggregator.ErrFull {
					t.Errorf("TryWrite = %d, %v", n, err)
				}
				blocked := writing(a, "yyy")
				synctest.Wait()
				counters(t, a, 1, 3, size, 2*size)
				if n, err := a.TryWrite([]byte("no")); n != 0 || err != aggregator.ErrFull {
					t.Errorf("TryWrite = %d, %v", n, err)
				}
				v.let(1) // and at once there is room
				synctest.Wait()
				must(t, <-blocked)
				counters(t, a, 0, 0, size, 2*size+1)
				v.open()
				synctest.Wait()
				counters(t, a, 0, 0, 0, 0)
				must(t, a.Close())
			})
		})
	}
}

// Those who wait come in in the order in which they came.
func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write})
		write(t, a, "a")
		synctest.Wait()
		write(t, a, "b")
		for _, p := range []string{"c", "d", "e"} {
			writing(a, p)
			synctest.Wait()
		}
		v.open()
		must(t, a.Sync(bg))
		v.want(t, "a", "b", "c", "d", "e")
		must(t, a.Close())
	})
}

// An empty record is none, whatever the state.
func TestEmptyRecord(t *testing.T) {
	var s sink
	a := create(t, aggregator.Config{FctWriter: s.Write})
	empty := func() {
		t.Helper()
		for _, p := range [][]byte{nil, {}} {
			if n, err := a.Write(p); n != 0 || err != nil {
				t.Errorf("Write(%v) = %d, %v", p, n, err)
			}
		}
	}
	empty()
	must(t, a.Start(bg))
	empty()
	must(t, a.Stop())
	empty()
	s.want(t)
}

func TestWriteContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write})
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2")
		var blocked []results
		for _, p := range []string{"3", "4", "5"} {
			blocked = append(blocked, writing(a, p))
			synctest.Wait()
			ctx, cancel := context.WithTimeout(bg, time.Second)
			defer cancel()
			begin := time.Now()
			n, err := a.WriteContext(ctx, []byte("late"))
			if n != 0 || err != context.DeadlineExceeded || time.Since(begin) != time.Second {
				t.Errorf("WriteContext = %d, %v after %v", n, err, time.Since(begin))
			}
			if n, err := a.WriteContext(ctx, []byte("later")); n != 0 || err != context.DeadlineExceeded {
				t.Errorf("WriteContext = %d, %v", n, err)
			}
		}
		counters(t, a, 3, 3, 1, 1) // those who gave up are no longer counted
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		last := make(results, 1)
		last.go_(func() error { _, err := a.WriteContext(ctx, []byte("6")); return err })
		synctest.Wait()
		v.open()
		for _, r := range append(blocked, last) {
			must(t, <-r)
		}
		must(t, a.Close())
		v.want(t, "1", "2", "3", "4", "5", "6")
	})
}

// A record that came in as its context ended was accepted, and says so.
func TestWriteContextRace(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			a := start(t, aggregator.Config{FctWriter: v.Write})
			write(t, a, "1")
			synctest.Wait()
			write(t, a, "2")
			ctx, cancel := context.WithCancel(bg)
			r := make(results, 1)
			r.go_(func() error { _, err := a.WriteContext(ctx, []byte("3")); return err })
			synctest.Wait()
			go v.open()
			go cancel()
			err := <-r
			must(t, a.Close())
			switch got := len(v.got()); {
			case err == nil && got != 3, err == context.Canceled && got != 2:
				t.Errorf("%v with %d records written", err, got)
			case err != nil && err != context.Canceled:
				t.Error(err)
			}
		})
	}
}

func TestMaxRecord(t *testing.T) {
	for name, cfg := range map[string]aggregator.Config{
		"ring":                       {BufBytes: 100, MaxRecord: 10},
		"chunks":                     {MaxRecord: 10},
		"as long as the ring allows": {BufBytes: 14},
	} {
		t.Run(name, func(t *testing.T) {
			var s sink
			cfg.FctWriter = s.Write
			a := start(t, cfg)
			for _, f := range []func([]byte) (int, error){a.Write, a.TryWrite} {
				if n, err := f([]byte("01234567890")); n != 0 || err != aggregator.ErrTooLong {
					t.Errorf("%d, %v", n, err)
				}
			}
			write(t, a, "0123456789")
			must(t, a.Close())
			s.want(t, "0123456789")
			if m := a.Metrics(); m.TooLong != 2 {
				t.Errorf("TooLong = %d", m.TooLong)
			}
		})
	}
}

// SyncFct, FctFailed and loggers may write too. Were the buffer full, they would
// wait for the loop that waits for them, so they get ErrFull.
func TestWriteFromTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		var a aggregator.Aggregator
		var errs []error
		a = create(t, aggregator.Config{FctWriter: s.Write, SyncFct: func(context.Context) {
			for range 3 {
				_, err := a.Write([]byte("s"))
				errs = append(errs, err)
			}
		}, BufWriter: 2})
		must(t, a.Start(bg))
		must(t, a.Sync(bg))
		must(t, a.Stop())
		s.want(t, "s", "s")
		if errs[0] != nil || errs[1] != nil || errs[2] != aggregator.ErrFull {
			t.Error(errs)
		}
	})
}

// While SyncFct runs, other goroutines wait as ever.
func TestWriteWhileSyncFctRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		a := start(t, aggregator.Config{FctWriter: s.Write, SyncTimer: time.Minute, SyncFct: func(context.Context) { time.Sleep(time.Second) }})
		time.Sleep(time.Minute)
		synctest.Wait()
		write(t, a, "1")
		begin := time.Now()
		write(t, a, "2")
		if d := time.Since(begin); d != time.Second {
			t.Errorf("it waited %v", d)
		}
		must(t, a.Close())
		s.want(t, "1", "2")
	})
}

// AsyncFct is not the loop, and may wait for room.
func TestWriteFromAsyncFct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		var a aggregator.Aggregator
		var wrote atomic.Int32
		a = create(t, aggregator.Config{FctWriter: s.Write, AsyncTimer: time.Second, AsyncFct: func(context.Context) {
			for range 50 {
				if _, err := a.Write([]byte("a")); err != nil {
					t.Error(err)
				}
				wrote.Add(1)
			}
		}})
		must(t, a.Start(bg))
		time.Sleep(1500 * time.Millisecond)
		must(t, a.Stop())
		if n := len(s.got()); n != 50 || wrote.Load() != 50 {
			t.Errorf("%d records", n)
		}
	})
}
