package aggregator_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

// SyncFct runs between two calls of FctWriter, in the same goroutine.
func TestSyncFctIsNeverBesideFctWriter(t *testing.T) {
	var busy sync.Mutex
	alone := func() {
		if !busy.TryLock() {
			t.Error("two at once")
			return
		}
		defer busy.Unlock()
		time.Sleep(3 * time.Millisecond)
	}
	synctest.Test(t, func(t *testing.T) {
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) { alone(); return len(p), nil }, BufWriter: 10,
			SyncTimer: 10 * time.Millisecond, SyncFct: func(context.Context) { alone() },
		})
		for range 1000 {
			write(t, a, "x")
		}
		must(t, a.Sync(bg))
		must(t, a.Close())
	})
}

// Ticks come at multiples of the interval. One that the loop is late for is run
// once, and those that passed meanwhile are not made up for.
func TestLateTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) { time.Sleep(3500 * time.Millisecond); return len(p), nil },
			SyncTimer: time.Second, SyncFct: func(context.Context) {
				at = append(at, time.Since(begin))
				if len(at) == 4 {
					time.Sleep(2300 * time.Millisecond)
				}
			},
		})
		time.Sleep(1200 * time.Millisecond)
		write(t, a, "x") // until 4.7 s
		time.Sleep(10*time.Second - 1200*time.Millisecond - 1)
		must(t, a.Close())
		ms := time.Millisecond
		if want := []time.Duration{1000 * ms, 4700 * ms, 5000 * ms, 6000 * ms, 9000 * ms, 10000*ms - 1}; !reflect.DeepEqual(at, want) {
			t.Errorf("SyncFct at %v, want %v", at, want)
		}
	})
}

// Timers of 0 do not run, also not at the end; SyncFct then runs for Sync.
func TestNoTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs, asyncs atomic.Int32
		a := start(t, aggregator.Config{
			FctWriter: new(sink).Write,
			SyncFct:   func(context.Context) { syncs.Add(1) },
			AsyncFct:  func(context.Context) { asyncs.Add(1) },
		})
		write(t, a, "x")
		time.Sleep(time.Hour)
		must(t, a.Restart(bg))
		must(t, a.Stop())
		if syncs.Load() != 0 || asyncs.Load() != 0 {
			t.Errorf("%d, %d", syncs.Load(), asyncs.Load())
		}
		must(t, a.Start(bg))
		must(t, a.Sync(bg))
		if syncs.Load() != 1 {
			t.Errorf("%d", syncs.Load())
		}
		must(t, a.Close())
	})
	synctest.Test(t, func(t *testing.T) { // and without functions neither
		a := start(t, aggregator.Config{FctWriter: new(sink).Write, SyncTimer: time.Second, AsyncTimer: time.Second})
		time.Sleep(time.Minute)
		must(t, a.Sync(bg))
		must(t, a.Close())
	})
}

// AsyncFct runs at each tick, as many at once as AsyncMax says, also while
// FctWriter and SyncFct hang, and never holds them up.
func TestAsyncMax(t *testing.T) {
	for limit, want := range map[int]int32{-1: 10, 0: 1, 1: 1, 3: 3} {
		synctest.Test(t, func(t *testing.T) {
			var now, most, all atomic.Int32
			v := newValve()
			a := start(t, aggregator.Config{
				FctWriter: v.Write, AsyncTimer: time.Second, AsyncMax: limit,
				AsyncFct: func(ctx context.Context) {
					all.Add(1)
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
					}
					<-ctx.Done()
					now.Add(-1)
				},
			})
			write(t, a, "x") // FctWriter hangs
			time.Sleep(10*time.Second + 1)
			synctest.Wait()
			if most.Load() != want || all.Load() != want {
				t.Errorf("AsyncMax %d: %d at once, %d in all, want %d", limit, most.Load(), all.Load(), want)
			}
			if m := a.Metrics(); m.Asyncs != uint64(want) || m.AsyncsSkipped != uint64(10-want) {
				t.Errorf("AsyncMax %d: %+v", limit, m)
			}
			v.open()
			must(t, a.Stop())
			if now.Load() != 0 {
				t.Error("Stop did not wait for AsyncFct")
			}
		})
	}
}

func TestAsyncTicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		a := start(t, aggregator.Config{FctWriter: new(sink).Write, AsyncTimer: time.Second, AsyncFct: func(context.Context) { runs.Add(1) }})
		for i := range int32(100) {
			if runs.Load() != i {
				t.Fatalf("%d runs after %d s", runs.Load(), i)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		must(t, a.Stop())
		time.Sleep(time.Minute)
		if runs.Load() != 100 {
			t.Error("it ran after Stop")
		}
	})
}

// The contexts that callbacks get carry the values of both parents, Start's
// first, and their deadline.
func TestCallbackContexts(t *testing.T) {
	type key string
	synctest.Test(t, func(t *testing.T) {
		parent := context.WithValue(context.WithValue(bg, key("a"), "parent"), key("b"), "parent")
		parent, cancel := context.WithTimeout(parent, time.Hour)
		defer cancel()
		ctx, cancel := context.WithTimeout(context.WithValue(bg, key("a"), "start"), time.Minute)
		defer cancel()
		check := func(ctx context.Context) {
			if a, b := ctx.Value(key("a")), ctx.Value(key("b")); a != "start" || b != "parent" || ctx.Value(key("c")) != nil {
				t.Errorf("values %v, %v", a, b)
			}
		}
		deadline := func(ctx context.Context, in time.Duration) {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != in {
				t.Errorf("deadline in %v (%v), want %v", time.Until(d), ok, in)
			}
		}
		asyncs := 0
		a, err := aggregator.New(parent, aggregator.Config{
			FctWriter:  new(sink).Write,
			AsyncTimer: time.Second, AsyncFct: func(ctx context.Context) { asyncs++; check(ctx); deadline(ctx, time.Minute-time.Second) },
			SyncFct: func(ctx context.Context) { check(ctx); deadline(ctx, time.Minute) },
		})
		must(t, err)
		deadline(a, time.Hour)
		if a.Value(key("a")) != "parent" {
			t.Error("value before Start")
		}
		before := a.Done()
		must(t, a.Start(ctx))
		if a.Done() != before {
			t.Error("Start changed Done")
		}
		check(a)
		deadline(a, time.Minute)
		must(t, a.Sync(bg))
		time.Sleep(time.Second)
		synctest.Wait()
		if asyncs != 1 {
			t.Error(asyncs)
		}
		child, cancel := context.WithCancel(a)
		defer cancel()
		must(t, a.Stop())
		<-child.Done()
		is(t, child.Err(), context.Canceled)
	})
}

// Stop tells a SyncFct that runs to come to an end; then comes the last one.
func TestStopEndsARunningSyncFct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs []error
		a := start(t, aggregator.Config{FctWriter: new(sink).Write, SyncTimer: time.Second, SyncFct: func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(time.Hour):
			}
			runs = append(runs, ctx.Err())
		}})
		time.Sleep(time.Second)
		synctest.Wait()
		must(t, a.Stop())
		if want := []error{context.Canceled, nil}; !reflect.DeepEqual(runs, want) {
			t.Errorf("%v, want %v", runs, want)
		}
	})
}

// Sync returns when all that was accepted before has been handed over and
// SyncFct has run once for all who asked.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		var runs [][]string
		a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: 10, SyncFct: func(context.Context) { runs = append(runs, v.got()) }})
		write(t, a, "1 2 3")
		r := make(results, 3)
		r.go_(func() error { return a.Sync(bg) })
		r.go_(func() error { return a.Sync(bg) })
		synctest.Wait()
		write(t, a, "4 5")
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		is(t, a.Sync(ctx), context.DeadlineExceeded)
		is(t, a.Sync(ctx), context.DeadlineExceeded)
		v.let(2)
		synctest.Wait()
		if len(r) != 0 {
			t.Error("Sync returned early")
		}
		v.let(1)
		synctest.Wait()
		if len(r) != 2 || len(runs) != 1 || len(runs[0]) != 3 {
			t.Errorf("%d returned after %v", len(r), runs)
		}
		r.go_(func() error { return a.Sync(bg) }) // is answered by the end
		synctest.Wait()
		r.go_(a.Stop)
		synctest.Wait()
		is(t, a.Sync(bg), aggregator.ErrClosedResources)
		v.open()
		for range cap(r) + 1 {
			must(t, <-r)
		}
		if last := runs[len(runs)-1]; len(last) != 5 {
			t.Errorf("the last SyncFct came after %d records", len(last))
		}
	})
}

// A Sync that waits when the loop gives up is told so.
func TestSyncOfWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, aggregator.Config{
			FctWriter: func([]byte) (int, error) { return 0, errRefused }, Retry: aggregator.Retry{Max: -1, MinDelay: time.Hour, MaxDelay: time.Hour},
		})
		write(t, a, "x")
		r := make(results, 1)
		r.go_(func() error { return a.Sync(bg) })
		synctest.Wait()
		if err := a.Close(); !errors.Is(err, aggregator.ErrLeft) {
			t.Error(err)
		}
		if err := <-r; !errors.Is(err, aggregator.ErrLeft) {
			t.Error(err)
		}
	})
}
