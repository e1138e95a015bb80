package aggregator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

var errRefused = errors.New("refused")

// failing is a writer that refuses what begins with "bad", and writes half of
// what begins with "short".
func (s *sink) failing(p []byte) (int, error) {
	switch {
	case strings.HasPrefix(string(p), "bad"):
		return 0, errRefused
	case strings.HasPrefix(string(p), "short"):
		return len(p) / 2, nil
	case strings.HasPrefix(string(p), "panic"):
		panic("at " + string(p))
	case strings.HasPrefix(string(p), "exit"):
		runtime.Goexit()
	}
	return s.Write(p)
}

// FctWriter's failures stop nothing. They are kept, counted and logged, and the
// records go to FctFailed.
func TestFailuresAreReported(t *testing.T) {
	var s sink
	var failed, logged []string
	var told []any
	a := create(t, aggregator.Config{
		FctWriter: s.failing, BufWriter: 10,
		FctFailed:    func(p []byte, err error) { failed = append(failed, fmt.Sprintf("%s: %.20v", p, err)) },
		PanicHandler: func(v any, stack []byte) { told = append(told, v, strings.Contains(string(stack), "failing")) },
	})
	a.SetLoggerError(func(msg string, err ...error) { logged = append(logged, fmt.Sprintf("%s: %.20v", msg, err[0])) })
	must(t, a.Start(bg))
	if a.ErrorsLast() != nil || a.ErrorsList() != nil {
		t.Error("errors before any")
	}
	write(t, a, "1 bad2 3 short4 5 panic6 7 exit8 9")
	must(t, a.Stop())
	s.want(t, "1", "3", "5", "7", "9")

	errs := a.ErrorsList()
	if len(errs) != 4 || errs[0] != errRefused || errs[1] != io.ErrShortWrite || a.ErrorsLast() != errs[3] {
		t.Errorf("errors %.20v", errs)
	}
	var p *aggregator.PanicError
	if !errors.As(errs[2], &p) || p.Callback != "FctWriter" || p.Value != "at panic6" || !strings.Contains(p.Error(), "failing") {
		t.Errorf("panic: %v", errs[2])
	}
	if !errors.As(errs[3], &p) || p.Unwrap() == nil {
		t.Errorf("Goexit: %v", errs[3])
	}
	if want := []any{"at panic6", true, p.Value, true}; !reflect.DeepEqual(told, want) {
		t.Errorf("PanicHandler got %v, want %v", told, want)
	}
	if want := []string{"bad2: refused", "short4: short write", "panic6: panic in FctWriter: ", "exit8: panic in FctWriter: "}; !reflect.DeepEqual(failed, want) {
		t.Errorf("FctFailed got %q, want %q", failed, want)
	}
	if want := []string{
		"error writing data: refused", "error writing data: short write",
		"panic in FctWriter: panic in FctWriter: ", "panic in FctWriter: panic in FctWriter: ",
	}; !reflect.DeepEqual(logged, want) {
		t.Errorf("logged %q, want %q", logged, want)
	}
	m := a.Metrics()
	if m.Accepted != 9 || m.HandedOver != 9 || m.Failed != 4 || m.Dropped != 4 || m.Errors != 4 || m.Panics != 2 {
		t.Errorf("metrics %+v", m)
	}
	must(t, a.Start(bg))
	if a.ErrorsLast() != nil || a.ErrorsList() != nil {
		t.Error("Start did not begin anew")
	}
	must(t, a.Close())
}

// Of many errors the newest are kept, oldest first.
func TestErrorsListIsBounded(t *testing.T) {
	n := 0
	a := start(t, aggregator.Config{FctWriter: func([]byte) (int, error) { n++; return 0, fmt.Errorf("%d", n) }})
	for range 100 {
		write(t, a, "x")
	}
	must(t, a.Stop())
	var got []string
	for _, err := range a.ErrorsList() {
		got = append(got, err.Error())
	}
	if len(got) != aggregator.MaxErrors || got[0] != "69" || !slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) }) || a.ErrorsLast().Error() != "100" {
		t.Errorf("kept %v, last %v", got, a.ErrorsLast())
	}
	if m := a.Metrics(); m.Errors != 100 {
		t.Errorf("counted %d", m.Errors)
	}
}

// A panic or a Goexit of any callback ends nothing.
func TestPanicsEverywhere(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic(errRefused) }, "Goexit": runtime.Goexit} {
		for _, where := range []string{"SyncFct", "AsyncFct", "FctFailed", "PanicHandler", "logger", "FctBatch"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var s sink
					var mu sync.Mutex
					calls := map[string]int{}
					in := func(here string) {
						mu.Lock()
						calls[here]++
						n := calls[here]
						mu.Unlock()
						if here == where && n < 3 {
							fail()
						}
					}
					cfg := aggregator.Config{
						FctWriter: s.failing, BufWriter: 10,
						SyncTimer: time.Second, SyncFct: func(context.Context) { in("SyncFct") },
						AsyncTimer: time.Second, AsyncFct: func(context.Context) { in("AsyncFct") },
						FctFailed:    func([]byte, error) { in("FctFailed") },
						PanicHandler: func(any, []byte) { in("PanicHandler") },
					}
					if where == "FctBatch" {
						cfg.FctBatch = func(recs [][]byte) (int, error) { in("FctBatch"); return s.batch(recs) }
					}
					a := create(t, cfg)
					a.SetLoggerError(func(string, ...error) { in("logger") })
					a.SetLoggerInfo(func(string, ...any) { in("logger") })
					must(t, a.Start(bg))
					for range 4 {
						write(t, a, "bad panic good")
						time.Sleep(time.Second)
						synctest.Wait()
					}
					err := a.Sync(bg)
					if where != "SyncFct" {
						must(t, err)
					}
					must(t, a.Restart(bg))
					must(t, a.Stop())
					good := 0
					for _, p := range s.got() {
						if p == "good" {
							good++
						}
					}
					if want := 4; good != want && where != "FctBatch" || where == "FctBatch" && good < 2 {
						t.Errorf("%d good records, want %d", good, want)
					}
					var p *aggregator.PanicError
					found := slices.ContainsFunc(a.ErrorsList(), func(err error) bool { return errors.As(err, &p) && p.Callback == where })
					if !found {
						t.Errorf("no error of %s among %.40v", where, a.ErrorsList())
					}
					if how == "panic" && !errors.Is(p, errRefused) {
						t.Error("the panic's error is not in the chain")
					}
					for _, callback := range []string{"SyncFct", "AsyncFct"} {
						if calls[callback] < 4 {
							t.Errorf("%s ran %d times", callback, calls[callback])
						}
					}
				})
			})
		}
	}
}

// Sync tells of SyncFct's panic, and of a Goexit.
func TestSyncTellsOfAPanic(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic("x") }, "Goexit": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			a := start(t, aggregator.Config{FctWriter: new(sink).Write, SyncFct: func(context.Context) { fail() }})
			var p *aggregator.PanicError
			if err := a.Sync(bg); !errors.As(err, &p) || p.Callback != "SyncFct" {
				t.Errorf("Sync: %v", err)
			}
			must(t, a.Close())
		})
	}
}

// A logger that is taken away is not called.
func TestLoggers(t *testing.T) {
	var lines []string
	a := create(t, aggregator.Config{FctWriter: new(sink).failing})
	a.SetLoggerInfo(func(msg string, arg ...any) { lines = append(lines, fmt.Sprint(append([]any{msg}, arg...)...)) })
	a.SetLoggerError(func(msg string, err ...error) { lines = append(lines, fmt.Sprint(msg, err)) })
	must(t, a.Start(bg))
	write(t, a, "bad")
	must(t, a.Stop())
	if want := []string{"starting aggregator", "error writing data[refused]", "stopping aggregator"}; !reflect.DeepEqual(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
	a.SetLoggerInfo(nil)
	a.SetLoggerError(nil)
	must(t, a.Start(bg))
	write(t, a, "bad")
	must(t, a.Stop())
	if len(lines) != 3 {
		t.Errorf("logged %q", lines[3:])
	}
}

// Retries come after delays that double between the bounds; what is behind waits,
// and so order is kept; meanwhile the buffer fills and timers go on.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		begin := time.Now()
		var at []time.Duration
		syncs := 0
		var down atomic.Bool
		down.Store(true)
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) {
				at = append(at, time.Since(begin)/time.Second)
				if down.Load() {
					return 0, errRefused
				}
				return s.Write(p)
			},
			BufWriter: 3,
			Retry:     aggregator.Retry{Max: -1, MinDelay: time.Second, MaxDelay: 4 * time.Second},
			SyncTimer: time.Second, SyncFct: func(context.Context) { syncs++ },
		})
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2 3")
		synctest.Wait()
		counters(t, a, 0, 0, 3, 3)
		if _, err := a.TryWrite([]byte("4")); err != aggregator.ErrFull {
			t.Error(err)
		}
		waiting := writing(a, "4")
		time.Sleep(12*time.Second - 1)
		down.Store(false)
		time.Sleep(4 * time.Second)
		must(t, <-waiting)
		must(t, a.Stop())
		s.want(t, "1", "2", "3", "4")
		if want := []time.Duration{0, 1, 3, 7, 11, 15, 15, 15, 15}; !reflect.DeepEqual(at, want) {
			t.Errorf("tries at %v s, want %v s", at, want)
		}
		if syncs != 15+1 {
			t.Errorf("SyncFct ran %d times", syncs)
		}
		if m := a.Metrics(); m.Retried != 5 || m.Failed != 5 || m.Dropped != 0 || m.HandedOver != 4 {
			t.Errorf("%+v", m)
		}
	})
}

// After Max further tries a record is dropped, and the next begins anew.
func TestRetryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		var failed []string
		a := start(t, aggregator.Config{
			FctWriter: s.failing, BufWriter: 10, Retry: aggregator.Retry{Max: 2},
			FctFailed: func(p []byte, err error) {
				if err != errRefused {
					t.Error(err)
				}
				failed = append(failed, string(p))
			},
		})
		write(t, a, "1 bad2 3 bad4 5")
		time.Sleep(time.Second)
		synctest.Wait()
		s.want(t, "1", "3", "5")
		if want := []string{"bad2", "bad4"}; !reflect.DeepEqual(failed, want) {
			t.Errorf("failed %q, want %q", failed, want)
		}
		if m := a.Metrics(); m.Failed != 6 || m.Retried != 4 || m.Dropped != 2 {
			t.Errorf("%+v", m)
		}
		must(t, a.Stop())
	})
}

// Restart does not wait for a record that fails.
func TestRestartWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		var down atomic.Bool
		down.Store(true)
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) {
				if down.Load() {
					return 0, errRefused
				}
				return s.Write(p)
			},
			BufWriter: 10, Retry: aggregator.Retry{Max: -1, MinDelay: time.Hour, MaxDelay: time.Hour},
		})
		write(t, a, "1 2")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		is(t, a.Sync(ctx), context.DeadlineExceeded) // which Sync cannot
		must(t, a.Restart(bg))
		is(t, a.ErrorsLast(), errRefused)
		down.Store(false)
		time.Sleep(time.Hour)
		must(t, a.Sync(bg))
		s.want(t, "1", "2")
		must(t, a.Stop())
	})
}
