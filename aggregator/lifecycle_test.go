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

func TestNewNeedsAWriter(t *testing.T) {
	a, err := aggregator.New(bg, aggregator.Config{})
	is(t, err, aggregator.ErrInvalidWriter)
	if a != nil {
		t.Error("New returned an Aggregator with its error")
	}
}

func TestNewTakesANilContext(t *testing.T) {
	var s sink
	//lint:ignore SA1012 a nil context is allowed
	a, err := aggregator.New(nil, aggregator.Config{FctWriter: s.Write}) //nolint:staticcheck
	must(t, err)
	//lint:ignore SA1012 a nil context is allowed
	must(t, a.Start(nil)) //nolint:staticcheck
	write(t, a, "one")
	//lint:ignore SA1012 a nil context is allowed
	must(t, a.Restart(nil)) //nolint:staticcheck
	//lint:ignore SA1012 a nil context is allowed
	must(t, a.Sync(nil)) //nolint:staticcheck
	//lint:ignore SA1012 a nil context is allowed
	if n, err := a.WriteContext(nil, []byte("two")); n != 3 || err != nil { //nolint:staticcheck
		t.Errorf("WriteContext = %d, %v", n, err)
	}
	//lint:ignore SA1012 a nil context is allowed
	_, err = a.Shutdown(nil) //nolint:staticcheck
	must(t, err)
	s.want(t, "one", "two")
}

func TestConfigThatContradictsItself(t *testing.T) {
	for name, cfg := range map[string]aggregator.Config{
		"record longer than the ring": {BufBytes: 100, MaxRecord: 97},
		"ring without room":           {BufBytes: 4},
		"a ring that grows":           {BufBytes: 100, BufMax: 10},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.FctWriter = new(sink).Write
			if _, err := aggregator.New(bg, cfg); !errors.Is(err, aggregator.ErrInvalidConfig) {
				t.Errorf("have error %v, want one that wraps ErrInvalidConfig", err)
			}
		})
	}
}

// Negative numbers mean what 0 means, where they mean nothing else.
func TestNegativeConfig(t *testing.T) {
	var s sink
	a := start(t, aggregator.Config{
		FctWriter: s.Write, BufWriter: -1, AsyncTimer: -1, AsyncFct: func(context.Context) { t.Error("AsyncFct ran") },
		SyncTimer: -1, SyncFct: func(context.Context) { t.Error("SyncFct ran") },
		BufBytes: -1, MaxRecord: -1, BufMaxSize: -1, BufMax: -1, BatchBytes: -1, BatchDelay: -1,
		Retry: aggregator.Retry{MinDelay: -1, MaxDelay: -1},
	})
	write(t, a, "one two")
	must(t, a.Stop())
	s.want(t, "one", "two")
}

// An Aggregator that New did not make can only be had by reflection.
func TestInvalidInstance(t *testing.T) {
	made := reflect.TypeOf(create(t, aggregator.Config{FctWriter: new(sink).Write}))
	for name, v := range map[string]reflect.Value{"nil": reflect.Zero(made), "zero": reflect.New(made.Elem())} {
		t.Run(name, func(t *testing.T) {
			a := v.Interface().(aggregator.Aggregator)
			is(t, a.Start(bg), aggregator.ErrInvalidInstance)
			is(t, a.Stop(), aggregator.ErrInvalidInstance)
			is(t, a.Restart(bg), aggregator.ErrInvalidInstance)
			is(t, a.Close(), aggregator.ErrInvalidInstance)
			is(t, a.Sync(bg), aggregator.ErrInvalidInstance)
			is(t, a.Err(), aggregator.ErrInvalidInstance)
			is(t, a.ErrorsLast(), aggregator.ErrInvalidInstance)
			is(t, a.ErrorsList()[0], aggregator.ErrInvalidInstance)
			for _, f := range []func([]byte) (int, error){a.Write, a.TryWrite, func(p []byte) (int, error) { return a.WriteContext(bg, p) }} {
				n, err := f([]byte("x"))
				is(t, err, aggregator.ErrInvalidInstance)
				if n != 0 {
					t.Errorf("wrote %d bytes", n)
				}
			}
			left, err := a.Shutdown(bg)
			is(t, err, aggregator.ErrInvalidInstance)
			_, deadline := a.Deadline()
			if left != 0 || a.IsRunning() || a.Uptime() != 0 || deadline || a.Value("k") != nil || a.Metrics() != (aggregator.Metrics{}) {
				t.Error("it seems to do something")
			}
			counters(t, a, 0, 0, 0, 0)
			if !closed(a.Done()) {
				t.Error("Done is open")
			}
			a.SetLoggerError(func(string, ...error) {})
			a.SetLoggerInfo(func(string, ...any) {})
		})
	}
}

func TestWriteNeedsStart(t *testing.T) {
	var s sink
	a := create(t, aggregator.Config{FctWriter: s.Write})
	refused := func(when string) {
		t.Helper()
		for name, f := range map[string]func([]byte) (int, error){
			"Write": a.Write, "TryWrite": a.TryWrite,
			"WriteContext": func(p []byte) (int, error) { return a.WriteContext(bg, p) },
		} {
			if n, err := f([]byte("x")); n != 0 || err != aggregator.ErrClosedResources {
				t.Errorf("%s %s = %d, %v", name, when, n, err)
			}
		}
		is(t, a.Sync(bg), aggregator.ErrClosedResources)
	}
	refused("before Start")
	must(t, a.Start(bg))
	write(t, a, "one")
	must(t, a.Stop())
	refused("after Stop")
	must(t, a.Start(bg))
	write(t, a, "two")
	must(t, a.Close())
	refused("after Close")
	s.want(t, "one", "two")
}

func TestStartTwice(t *testing.T) {
	var s sink
	a := start(t, aggregator.Config{FctWriter: s.Write, BufWriter: 10})
	write(t, a, "one")
	is(t, a.Start(bg), aggregator.ErrStillRunning)
	write(t, a, "two")
	must(t, a.Stop())
	s.want(t, "one", "two")
	is(t, a.Stop(), nil)
	must(t, a.Start(bg))
	must(t, a.Close())
	is(t, a.Close(), nil)
	is(t, a.Stop(), nil)
	is(t, a.Start(bg), aggregator.ErrClosedResources)
	is(t, a.Restart(bg), aggregator.ErrClosedResources)
}

func TestStartEightTimesAtOnce(t *testing.T) {
	for range 200 {
		a := create(t, aggregator.Config{FctWriter: new(sink).Write})
		var started, refused atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				switch err := a.Start(bg); err {
				case nil:
					started.Add(1)
				case aggregator.ErrStillRunning:
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if started.Load() != 1 || refused.Load() != 7 {
			t.Fatalf("%d started, %d refused", started.Load(), refused.Load())
		}
		must(t, a.Close())
	}
}

func TestCloseBeforeStart(t *testing.T) {
	a := create(t, aggregator.Config{FctWriter: new(sink).Write, BufBytes: 100})
	must(t, a.Close())
	is(t, a.Err(), context.Canceled)
	is(t, a.Start(bg), aggregator.ErrClosedResources)
}

// Stop hands over all that was accepted, runs SyncFct, ends AsyncFct, in this
// order, and only then returns.
func TestStopInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []string
		v := newValve()
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) { defer func() { steps = append(steps, string(p)) }(); return v.Write(p) },
			BufWriter: 10,
			SyncTimer: time.Hour,
			SyncFct: func(ctx context.Context) {
				if ctx.Err() != nil {
					t.Error("the last SyncFct cannot work: its context has ended")
				}
				if _, ok := ctx.Deadline(); ok {
					t.Error("the last SyncFct has a deadline")
				}
				steps = append(steps, "sync")
			},
			AsyncTimer: time.Second,
			AsyncMax:   1,
			AsyncFct:   func(ctx context.Context) { <-ctx.Done(); steps = append(steps, "async") },
		})
		time.Sleep(time.Second)
		synctest.Wait() // AsyncFct runs now
		write(t, a, "1 2 3")
		waiting := make(results, 1)
		waiting.go_(a.Stop)
		synctest.Wait()
		if !a.IsRunning() || a.Err() != nil {
			t.Error("it ended before it was drained")
		}
		is(t, a.Start(bg), aggregator.ErrStillRunning)
		v.open()
		must(t, <-waiting)
		if want := []string{"1", "2", "3", "sync", "async"}; !reflect.DeepEqual(steps, want) {
			t.Errorf("have %q, want %q", steps, want)
		}
		if a.IsRunning() || a.Uptime() != 0 {
			t.Error("it still runs")
		}
		counters(t, a, 0, 0, 0, 0)
		is(t, a.Err(), context.Canceled)
	})
}

// What ends the loop sends blocked writers away, and what they hold is not
// written; what was accepted is.
func TestWhatEndsTheLoop(t *testing.T) {
	type ends struct {
		parent, ctx context.Context
		cancel      func(aggregator.Aggregator)
		err         error
	}
	for name, how := range map[string]func() ends{
		"Stop":  func() ends { return ends{bg, bg, func(a aggregator.Aggregator) { _ = a.Stop() }, context.Canceled} },
		"Close": func() ends { return ends{bg, bg, func(a aggregator.Aggregator) { _ = a.Close() }, context.Canceled} },
		"Shutdown": func() ends {
			return ends{bg, bg, func(a aggregator.Aggregator) { _, _ = a.Shutdown(bg) }, context.Canceled}
		},
		"Start's context": func() ends {
			ctx, cancel := context.WithCancel(bg)
			return ends{bg, ctx, func(aggregator.Aggregator) { cancel() }, context.Canceled}
		},
		"New's context": func() ends {
			ctx, cancel := context.WithCancel(bg)
			return ends{ctx, bg, func(aggregator.Aggregator) { cancel() }, context.Canceled}
		},
		"one context for both": func() ends {
			ctx, cancel := context.WithCancel(bg)
			return ends{ctx, ctx, func(aggregator.Aggregator) { cancel() }, context.Canceled}
		},
		"a deadline": func() ends {
			ctx, cancel := context.WithTimeout(bg, time.Minute)
			context.AfterFunc(ctx, cancel)
			return ends{bg, ctx, func(aggregator.Aggregator) {}, context.DeadlineExceeded}
		},
		"New's deadline": func() ends {
			ctx, cancel := context.WithTimeout(bg, time.Minute)
			context.AfterFunc(ctx, cancel)
			return ends{ctx, bg, func(aggregator.Aggregator) {}, context.DeadlineExceeded}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := how()
				v := newValve()
				a, err := aggregator.New(e.parent, aggregator.Config{FctWriter: v.Write, BufWriter: 2})
				must(t, err)
				must(t, a.Start(e.ctx))
				write(t, a, "1")
				synctest.Wait() // 1 is in FctWriter's hands
				write(t, a, "22 333")
				var blocked []results
				for _, p := range []string{"4444", "55555"} {
					blocked = append(blocked, writing(a, p))
				}
				synctest.Wait()
				counters(t, a, 2, 9, 2, 5)
				go e.cancel(a)
				if e.err == context.DeadlineExceeded {
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				for _, r := range blocked {
					is(t, <-r, aggregator.ErrClosedResources)
				}
				counters(t, a, 0, 0, 2, 5)
				_, err = a.Write([]byte("6"))
				is(t, err, aggregator.ErrClosedResources)
				v.open()
				synctest.Wait()
				v.want(t, "1", "22", "333")
				counters(t, a, 0, 0, 0, 0)
				if a.IsRunning() {
					t.Error("the loop lives")
				}
				is(t, a.Err(), e.err)
				if !closed(a.Done()) {
					t.Error("Done is open")
				}
			})
		})
	}
}

// A cancelled parent is noticed by the very next call.
func TestCancelIsNoticedAtOnce(t *testing.T) {
	for range 100 {
		parent, cancelParent := context.WithCancel(bg)
		ctx, cancel := context.WithCancel(bg)
		a, err := aggregator.New(parent, aggregator.Config{FctWriter: new(sink).Write})
		must(t, err)
		must(t, a.Start(ctx))
		cancel()
		if _, err := a.Write([]byte("x")); err != aggregator.ErrClosedResources {
			t.Fatalf("Write: %v", err)
		}
		is(t, a.Err(), context.Canceled)
		if !closed(a.Done()) {
			t.Fatal("Done is open")
		}
		must(t, a.Stop())
		must(t, a.Start(bg))
		cancelParent()
		if _, err := a.Write([]byte("x")); err != aggregator.ErrClosedResources {
			t.Fatalf("Write: %v", err)
		}
		must(t, a.Stop())
	}
}

func TestStartOnAnEndedContext(t *testing.T) {
	ended, cancel := context.WithCancel(bg)
	cancel()
	late, cancel := context.WithTimeout(bg, -1)
	defer cancel()
	for ctx, want := range map[context.Context]error{ended: context.Canceled, late: context.DeadlineExceeded} {
		a := create(t, aggregator.Config{FctWriter: new(sink).Write})
		is(t, a.Start(ctx), want)
		is(t, a.Restart(ctx), want)
		if a.IsRunning() {
			t.Error("it runs")
		}
		must(t, a.Start(bg))
		is(t, a.Restart(ctx), want)
		write(t, a, "it-runs-on")
		must(t, a.Stop())

		a, err := aggregator.New(ctx, aggregator.Config{FctWriter: new(sink).Write})
		must(t, err)
		is(t, a.Start(bg), want)
		is(t, a.Err(), want)
		if !closed(a.Done()) {
			t.Error("Done is open")
		}
	}
}

func TestRestartKeepsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		syncs := 0
		a := start(t, aggregator.Config{
			FctWriter: v.Write, BufWriter: 2, SyncTimer: time.Hour, SyncFct: func(context.Context) { syncs++ },
			AsyncTimer: time.Minute, AsyncFct: func(ctx context.Context) { <-ctx.Done() },
		})
		before := a.Done()
		time.Sleep(time.Minute)
		synctest.Wait() // AsyncFct runs now
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2 3")
		blocked := []results{writing(a, "4")}
		synctest.Wait()
		blocked = append(blocked, writing(a, "5"))
		synctest.Wait()
		restarted := make(results, 1)
		restarted.go_(func() error { return a.Restart(bg) })
		synctest.Wait()
		counters(t, a, 2, 2, 2, 2)
		v.let(2)
		synctest.Wait()
		if len(restarted) > 0 {
			t.Error("Restart returned before 3, accepted before it, was handed over")
		}
		v.let(1)
		must(t, <-restarted)
		if !closed(before) {
			t.Error("Done of the run before is open")
		}
		if closed(a.Done()) || a.Err() != nil || !a.IsRunning() {
			t.Error("it is closed after Restart")
		}
		if syncs != 1 {
			t.Errorf("SyncFct ran %d times", syncs)
		}
		for _, r := range blocked {
			must(t, <-r)
		}
		if a.Uptime() != 0 {
			t.Errorf("Uptime %v right after Restart", a.Uptime())
		}
		v.open()
		must(t, a.Stop())
		v.want(t, "1", "2", "3", "4", "5")
	})
}

func TestRestartOfAStoppedOneStartsIt(t *testing.T) {
	var s sink
	a := create(t, aggregator.Config{FctWriter: s.Write})
	must(t, a.Restart(bg))
	write(t, a, "1")
	must(t, a.Stop())
	must(t, a.Restart(bg))
	write(t, a, "2")
	must(t, a.Stop())
	s.want(t, "1", "2")
}

func TestRestartGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write})
		write(t, a, "1")
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		is(t, a.Restart(ctx), context.DeadlineExceeded)
		v.open()
		synctest.Wait()
		write(t, a, "2")
		must(t, a.Stop())
		v.want(t, "1", "2")
	})
}

// Whoever comes first: Stop while Restart waits makes Restart start anew.
func TestRestartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write})
		write(t, a, "1")
		synctest.Wait()
		r := make(results, 3)
		r.go_(func() error { return a.Restart(bg) })
		synctest.Wait()
		r.go_(a.Stop)
		synctest.Wait()
		r.go_(func() error { return a.Restart(bg) }) // finds it stopping
		synctest.Wait()
		v.open()
		for range 3 {
			must(t, <-r)
		}
		synctest.Wait()
		write(t, a, "2")
		must(t, a.Stop())
		v.want(t, "1", "2")
	})
}

// A callback that stops, closes, restarts or syncs does not wait for itself: it
// asks, and it happens when the callback has returned.
func TestCallbacksThatEndTheirLoop(t *testing.T) {
	calls := map[string]func(aggregator.Aggregator) error{
		"Stop":     aggregator.Aggregator.Stop,
		"Close":    aggregator.Aggregator.Close,
		"Shutdown": func(a aggregator.Aggregator) error { _, err := a.Shutdown(bg); return err },
		"Restart":  func(a aggregator.Aggregator) error { return a.Restart(bg) },
		"Sync":     func(a aggregator.Aggregator) error { return a.Sync(bg) },
	}
	for name, call := range calls {
		for _, from := range []string{"FctWriter", "FctBatch", "SyncFct", "AsyncFct", "FctFailed", "PanicHandler", "logger"} {
			t.Run(name+" from "+from, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var a aggregator.Aggregator
					var once sync.Once
					in := func(here string) {
						if here == from {
							once.Do(func() { must(t, call(a)) })
						}
					}
					cfg := aggregator.Config{
						BufWriter: 10,
						FctWriter: func(p []byte) (int, error) {
							in("FctWriter")
							if string(p) == "panic" {
								panic(p)
							}
							return 0, errors.New("refused")
						},
						SyncTimer: time.Second, SyncFct: func(context.Context) { in("SyncFct") },
						AsyncTimer: time.Second, AsyncFct: func(context.Context) { in("AsyncFct") },
						FctFailed:    func([]byte, error) { in("FctFailed") },
						PanicHandler: func(any, []byte) { in("PanicHandler") },
					}
					if from == "FctBatch" {
						cfg.FctBatch = func(recs [][]byte) (int, error) { in("FctBatch"); return len(recs), nil }
					}
					a = create(t, cfg)
					a.SetLoggerError(func(string, ...error) { in("logger") })
					before := a.Done()
					must(t, a.Start(bg))
					for _, p := range []string{"fail", "panic"} {
						_, _ = a.Write([]byte(p)) // the first may end it
					}
					time.Sleep(1500 * time.Millisecond)
					synctest.Wait()
					if runs := name == "Restart" || name == "Sync"; a.IsRunning() != runs {
						t.Errorf("IsRunning = %v", a.IsRunning())
					}
					if ended := name != "Sync"; closed(before) != ended {
						t.Errorf("Done closed: %v", closed(before))
					}
					must(t, a.Close())
				})
			})
		}
	}
}

// From inside a callback of a loop that ends already there is no way to wait
// for the next.
func TestRestartFromACallbackThatStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a aggregator.Aggregator
		a = create(t, aggregator.Config{FctWriter: func(p []byte) (int, error) {
			must(t, a.Stop())
			is(t, a.Restart(bg), aggregator.ErrStillRunning)
			is(t, a.Start(bg), aggregator.ErrStillRunning)
			return len(p), nil
		}})
		must(t, a.Start(bg))
		write(t, a, "1")
		synctest.Wait()
		if a.IsRunning() {
			t.Error("it runs")
		}
	})
}

func TestCloseByMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write})
		write(t, a, "1")
		r := make(results, 8)
		for range 8 {
			r.go_(a.Close)
		}
		synctest.Wait()
		if len(r) > 0 {
			t.Error("Close returned before the record was written")
		}
		v.open()
		for range 8 {
			must(t, <-r)
		}
		v.want(t, "1")
	})
}

func TestShutdown(t *testing.T) {
	refuse := errors.New("refused")
	type report struct {
		left   int
		failed []string
		wrote  []string
	}
	for _, test := range []struct {
		name  string
		retry int
		turns []error // what FctWriter answers; then it hangs
		want  report
	}{
		{"drained", 0, []error{nil, nil, nil}, report{0, nil, []string{"1", "2", "3"}}},
		{"FctWriter hangs", 0, nil, report{3, []string{"2", "3"}, nil}},
		{"FctWriter hangs later", 0, []error{nil, nil}, report{1, nil, []string{"1", "2"}}},
		{"a failed record is not left", 0, []error{refuse, nil}, report{1, []string{"1"}, []string{"2"}}},
		{"retried until then", -1, []error{refuse, refuse, nil}, report{2, []string{"3"}, []string{"1"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newValve()
				var failed []string
				a := start(t, aggregator.Config{
					FctWriter: v.Write, BufWriter: 10, Retry: aggregator.Retry{Max: test.retry},
					FctFailed: func(p []byte, _ error) { failed = append(failed, string(p)) },
				})
				write(t, a, "1 2 3")
				go func() {
					for _, err := range test.turns {
						v.turn <- err
					}
				}()
				ctx, cancel := context.WithTimeout(bg, time.Minute)
				defer cancel()
				left, err := a.Shutdown(ctx)
				if left > 0 != (errors.Is(err, context.DeadlineExceeded) && errors.Is(err, aggregator.ErrLeft)) {
					t.Errorf("error %v with %d left", err, left)
				}
				if hangs := left > 0; a.IsRunning() != hangs {
					t.Errorf("IsRunning = %v", a.IsRunning())
				}
				got := report{left, nil, v.got()}
				if left > 0 {
					v.turn <- refuse // the call that hung returns
				}
				synctest.Wait()
				got.failed = failed
				if left > 0 { // then what hung is given up as well
					got.failed = got.failed[:0]
					for _, p := range failed {
						if p != map[int]string{3: "1", 1: "3", 2: "2"}[left] {
							got.failed = append(got.failed, p)
						}
					}
					if len(got.failed) == 0 {
						got.failed = nil
					}
				}
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("have %+v, want %+v", got, test.want)
				}
				if a.IsRunning() {
					t.Error("it runs")
				}
				counters(t, a, 0, 0, 0, 0)
				must(t, a.Close())
			})
		})
	}
}

// A writer that keeps failing is retried until Shutdown's context ends, and the
// loop has ended when Shutdown returns.
func TestShutdownOfAFailingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := errors.New("refused")
		tries, syncs := 0, 0
		var failed []string
		a := start(t, aggregator.Config{
			FctWriter: func([]byte) (int, error) { tries++; return 0, refuse }, BufWriter: 10,
			Retry: aggregator.Retry{Max: -1, MinDelay: time.Second, MaxDelay: 2 * time.Second},
			FctFailed: func(p []byte, err error) {
				failed = append(failed, string(p))
				if !errors.Is(err, aggregator.ErrLeft) || !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			},
			SyncTimer: time.Hour, SyncFct: func(ctx context.Context) {
				if syncs++; syncs == 1 && ctx.Err() == nil {
					t.Error("SyncFct may take its time")
				}
			},
		})
		write(t, a, "1 2 3")
		ctx, cancel := context.WithTimeout(bg, 6*time.Second)
		defer cancel()
		left, err := a.Shutdown(ctx)
		if left != 3 || !errors.Is(err, context.DeadlineExceeded) || a.IsRunning() {
			t.Errorf("%d left, %v, running %v", left, err, a.IsRunning())
		}
		if want := []string{"1", "2", "3"}; !reflect.DeepEqual(failed, want) {
			t.Errorf("FctFailed got %q, want %q", failed, want)
		}
		if tries != 4 || syncs != 1 { // at 0, 1, 3 and 5 s
			t.Errorf("%d tries, %d syncs", tries, syncs)
		}
		must(t, a.Start(bg))
		if a.ErrorsLast() != nil {
			t.Error("Start did not begin anew")
		}
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// Stop does not wait for a writer that fails for ever.
func TestStopOfAFailingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refuse := errors.New("refused")
		bad := true
		var s sink
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) {
				if bad {
					return 0, refuse
				}
				return s.Write(p)
			},
			BufWriter: 10, Retry: aggregator.Retry{Max: -1, MinDelay: time.Hour, MaxDelay: time.Hour},
		})
		write(t, a, "1 2")
		synctest.Wait()
		counters(t, a, 0, 0, 2, 2) // a record that waits for its retry counts again
		begin := time.Now()
		err := a.Stop()
		if !errors.Is(err, aggregator.ErrLeft) || !errors.Is(err, refuse) || time.Since(begin) != 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		must(t, a.Start(bg))
		write(t, a, "3 4")
		synctest.Wait()
		bad = false
		must(t, a.Stop()) // its last try succeeds
		s.want(t, "3", "4")
	})
}

func TestUptime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := create(t, aggregator.Config{FctWriter: new(sink).Write})
		time.Sleep(time.Second)
		if a.Uptime() != 0 || a.IsRunning() {
			t.Error("it is up before Start")
		}
		must(t, a.Start(bg))
		time.Sleep(time.Second)
		if a.Uptime() != time.Second || !a.IsRunning() || a.Metrics().Uptime != time.Second {
			t.Errorf("Uptime %v", a.Uptime())
		}
		must(t, a.Stop())
		if a.Uptime() != 0 {
			t.Errorf("Uptime %v after Stop", a.Uptime())
		}
	})
}

// Who waits for Done before Start learns of the end, whatever it is.
func TestDoneFromBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(bg)
		a, err := aggregator.New(ctx, aggregator.Config{FctWriter: new(sink).Write})
		must(t, err)
		done := a.Done()
		cancel()
		<-done
		is(t, a.Err(), context.Canceled)

		a = create(t, aggregator.Config{FctWriter: new(sink).Write})
		done = a.Done()
		must(t, a.Start(a)) // its own context is that of New
		synctest.Wait()
		if closed(done) {
			t.Error("Start closed Done")
		}
		must(t, a.Stop())
		<-done
		is(t, a.Start(a), context.Canceled)

		a = create(t, aggregator.Config{FctWriter: new(sink).Write})
		done = a.Done()
		must(t, a.Close())
		<-done
	})
}
