package aggregator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

// calls makes both kinds of batch writer, which note what each call gets: for
// FctBatch the records with bars between, for FctWriter all as it comes.
type calls struct {
	mu   sync.Mutex
	got  []string
	turn chan int // how many records, or bytes, the next call takes; less: it fails
}

func (c *calls) batch(recs [][]byte) (int, error) {
	c.add(string(bytes.Join(recs, []byte("|"))))
	return c.answer(len(recs))
}

func (c *calls) write(p []byte) (int, error) {
	c.add(string(p))
	return c.answer(len(p))
}

func (c *calls) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, s)
}

func (c *calls) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = nil
}

func (c *calls) answer(all int) (int, error) {
	if c.turn != nil {
		if n, ok := <-c.turn; ok && n < all {
			return n, errRefused
		}
	}
	return all, nil
}

func (c *calls) want(t *testing.T, calls ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !reflect.DeepEqual(c.got, calls) {
		t.Errorf("calls %q, want %q", c.got, calls)
	}
}

// Records that wait together are handed over in one call, up to BatchBytes, in
// order; a longer one goes alone.
func TestBatch(t *testing.T) {
	for name, test := range map[string]struct {
		cfg    aggregator.Config
		joined bool
	}{
		"FctBatch, chunks":  {aggregator.Config{BufWriter: 20, BatchBytes: 10}, false},
		"FctBatch, ring":    {aggregator.Config{BufBytes: 200, BatchBytes: 10}, false},
		"FctWriter, chunks": {aggregator.Config{BufWriter: 20, BatchBytes: 10}, true},
		"FctWriter, ring":   {aggregator.Config{BufBytes: 200, BatchBytes: 10}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := calls{turn: make(chan int)}
				test.cfg.FctWriter = c.write
				if !test.joined {
					test.cfg.FctBatch = c.batch
				}
				a := start(t, test.cfg)
				for range 20 { // come by all places of the ring
					c.forget()
					write(t, a, "first")
					synctest.Wait()
					write(t, a, "a bb ccc dddd eeeee f this-is-a-long-one g h")
					synctest.Wait()
					counters(t, a, 0, 0, 9, 16+18+2)
					for range 5 {
						c.turn <- 1000
						synctest.Wait()
					}
					want := []string{"first", "a|bb|ccc|dddd", "eeeee|f", "this-is-a-long-one", "g|h"}
					if test.joined {
						for i := range want {
							want[i] = strings.ReplaceAll(want[i], "|", "")
						}
					}
					c.want(t, want...)
					counters(t, a, 0, 0, 0, 0)
				}
				must(t, a.Close())
			})
		})
	}
}

// A batch has at most MaxBatch records.
func TestMaxBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		turn := make(chan int)
		a := start(t, aggregator.Config{BufWriter: 5000, FctBatch: func(recs [][]byte) (int, error) {
			<-turn
			sizes = append(sizes, len(recs))
			return len(recs), nil
		}})
		write(t, a, "x")
		synctest.Wait()
		for range 2500 {
			write(t, a, "x")
		}
		close(turn)
		must(t, a.Close())
		if want := []int{1, aggregator.MaxBatch, aggregator.MaxBatch, 2500 - 2*aggregator.MaxBatch}; !reflect.DeepEqual(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
	})
}

// BatchDelay is how long the first waits for company: until the batch is full by
// bytes or by records, until somebody waits for room, until Sync or a tick or
// the end asks.
func TestBatchDelay(t *testing.T) {
	cfg := aggregator.Config{BufWriter: 4, BatchBytes: 10, BatchDelay: time.Second}
	begin := func(t *testing.T, cfg aggregator.Config) (aggregator.Aggregator, *calls) {
		c := new(calls)
		cfg.FctBatch = c.batch
		return start(t, cfg), c
	}
	t.Run("time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, c := begin(t, cfg)
			for range 3 {
				c.forget()
				write(t, a, "1")
				time.Sleep(time.Second / 2)
				write(t, a, "2")
				time.Sleep(time.Second/2 - 1)
				synctest.Wait()
				c.want(t)
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				c.want(t, "1|2")
			}
			must(t, a.Close())
		})
	})
	for name, test := range map[string]struct {
		records string
		more    func(aggregator.Aggregator)
		want    []string
	}{
		"bytes":   {"12345 67890", nil, []string{"12345|67890"}},
		"records": {"1 2 3 4", nil, []string{"1|2|3|4"}},
		"Sync":    {"1 2", func(a aggregator.Aggregator) { _ = a.Sync(bg) }, []string{"1|2", "sync"}},
		"Stop":    {"1 2", func(a aggregator.Aggregator) { _ = a.Stop() }, []string{"1|2", "sync"}},
		"Restart": {"1 2", func(a aggregator.Aggregator) { _ = a.Restart(bg) }, []string{"1|2", "sync"}},
		"a full ring": {"1 2 3", func(a aggregator.Aggregator) {
			go func() { _, _ = a.Write([]byte("12345678901234567890")) }()
		}, []string{"1|2|3", "12345678901234567890"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, c := cfg, new(calls)
				cfg.FctBatch = c.batch
				cfg.SyncTimer, cfg.SyncFct = time.Hour, func(context.Context) { c.add("sync") }
				if name == "a full ring" {
					cfg.BufBytes, cfg.BufWriter = 30, 0
				}
				a := start(t, cfg)
				began := time.Now()
				write(t, a, test.records)
				if test.more != nil {
					synctest.Wait()
					c.want(t)
					test.more(a)
				}
				synctest.Wait()
				c.want(t, test.want...)
				if d := time.Since(began); d != 0 {
					t.Errorf("it took %v", d)
				}
				must(t, a.Close())
			})
		})
	}
	t.Run("a tick", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := new(calls)
			cfg := cfg
			cfg.FctBatch, cfg.BatchDelay = c.batch, time.Hour
			cfg.SyncTimer, cfg.SyncFct = time.Second, func(context.Context) { c.add("sync") }
			a := start(t, cfg)
			write(t, a, "1 2")
			time.Sleep(time.Second)
			synctest.Wait()
			c.want(t, "1|2", "sync")
			must(t, a.Close())
		})
	})
}

// What a batch call took is done; the first that it did not take has failed, and
// is dropped or retried; those behind come again in either case.
func TestBatchFailure(t *testing.T) {
	for name, test := range map[string]struct {
		cfg    aggregator.Config
		turns  []int // of records or bytes taken
		joined bool
		calls  []string
		failed []string
	}{
		"FctBatch, dropped": {
			turns: []int{2, 0, 9}, calls: []string{"a|bb|ccc|dd|e", "dd|e", "e"}, failed: []string{"ccc", "dd"},
		},
		"FctBatch, retried": {
			cfg:   aggregator.Config{Retry: aggregator.Retry{Max: -1}},
			turns: []int{2, 0, 1, 9}, calls: []string{"a|bb|ccc|dd|e", "ccc|dd|e", "ccc|dd|e", "dd|e"},
		},
		"FctWriter, dropped": {
			turns: []int{5, 0, 9}, joined: true, calls: []string{"abbcccdde", "dde", "e"}, failed: []string{"ccc", "dd"},
		},
		"FctWriter, retried whole": {
			cfg:   aggregator.Config{Retry: aggregator.Retry{Max: -1}},
			turns: []int{5, 2, 9}, joined: true, calls: []string{"abbcccdde", "cccdde", "cccdde"},
		},
		"retried once": {
			cfg:   aggregator.Config{Retry: aggregator.Retry{Max: 1}},
			turns: []int{0, 0, 0, 9}, calls: []string{"a|bb|ccc|dd|e", "a|bb|ccc|dd|e", "bb|ccc|dd|e", "bb|ccc|dd|e"}, failed: []string{"a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := calls{turn: make(chan int, 1)}
				var failed []string
				cfg := test.cfg
				cfg.FctWriter, cfg.BufWriter, cfg.BatchBytes = c.write, 10, 100
				if !test.joined {
					cfg.FctBatch = c.batch
				}
				cfg.FctFailed = func(p []byte, err error) { failed = append(failed, string(p)) }
				a := start(t, cfg)
				write(t, a, "first")
				synctest.Wait()
				c.forget()
				write(t, a, "a bb ccc dd e")
				c.turn <- 1000
				synctest.Wait()
				for i, n := range test.turns {
					c.turn <- n
					synctest.Wait()
					if i == 0 && cfg.Retry.Max < 0 {
						// The records that wait for their retry are waiting again.
						counters(t, a, 0, 0, 3, 6)
					}
					time.Sleep(time.Second)
				}
				synctest.Wait()
				c.want(t, test.calls...)
				if !reflect.DeepEqual(failed, test.failed) {
					t.Errorf("failed %q, want %q", failed, test.failed)
				}
				counters(t, a, 0, 0, 0, 0)
				close(c.turn)
				must(t, a.Close())
			})
		})
	}
}

// An error of a batch call that took all is only noted, and a count out of
// bounds is put within.
func TestBatchCounts(t *testing.T) {
	for n, dropped := range map[int]uint64{-1: 1, 0: 1, 1: 0, 2: 0} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a := start(t, aggregator.Config{FctBatch: func(recs [][]byte) (int, error) { return n, errRefused }})
			write(t, a, "x")
			must(t, a.Stop())
			is(t, a.ErrorsLast(), errRefused)
			if m := a.Metrics(); m.Dropped != dropped || m.Errors != 1 {
				t.Errorf("%+v", m)
			}
		})
	}
}

// All bytes written and an error all the same: the last record has failed.
func TestJoinedErrorBehindAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls{turn: make(chan int)}
		var failed []string
		a := start(t, aggregator.Config{
			FctWriter: func(p []byte) (int, error) { _, _ = c.write(p); return len(p), errRefused }, BufWriter: 10, BatchBytes: 100,
			FctFailed: func(p []byte, err error) { failed = append(failed, string(p)) },
		})
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2 3 4")
		close(c.turn)
		must(t, a.Close())
		c.want(t, "1", "234")
		if want := []string{"1", "4"}; !reflect.DeepEqual(failed, want) {
			t.Errorf("failed %q, want %q", failed, want)
		}
	})
}

// After a panic of FctBatch nobody knows what it took. The first record has
// failed; the others come again.
func TestBatchPanic(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic("x") }, "Goexit": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := calls{turn: make(chan int)}
				var failed []string
				n := 0
				a := start(t, aggregator.Config{
					FctBatch: func(recs [][]byte) (int, error) {
						if n++; n == 2 {
							fail()
						}
						return c.batch(recs)
					}, BufWriter: 10,
					FctFailed: func(p []byte, err error) { failed = append(failed, string(p)) },
				})
				write(t, a, "1")
				synctest.Wait()
				write(t, a, "2 3 4")
				close(c.turn)
				must(t, a.Close())
				c.want(t, "1", "3|4")
				if want := []string{"2"}; !reflect.DeepEqual(failed, want) {
					t.Errorf("failed %q, want %q", failed, want)
				}
			})
		})
	}
}

// Shutdown gives the records of a batch that never comes through back as left.
func TestShutdownOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls{turn: make(chan int)}
		var failed []string
		a := start(t, aggregator.Config{
			FctBatch: c.batch, BufBytes: 1000, Retry: aggregator.Retry{Max: -1},
			FctFailed: func(p []byte, err error) { failed = append(failed, string(p)) },
		})
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2 3 4")
		close(c.turn)
		left, err := a.Shutdown(bg)
		must(t, err)
		if left != 0 {
			t.Error(left)
		}
		c.want(t, "1", "2|3|4")
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()

		c.turn = make(chan int)
		must(t, a.Start(bg))
		write(t, a, "1")
		synctest.Wait()
		write(t, a, "2 3 4")
		left, err = a.Shutdown(ctx)
		if left != 4 || !errors.Is(err, context.DeadlineExceeded) || !a.IsRunning() {
			t.Errorf("%d left, %v", left, err)
		}
		c.turn <- 9
		synctest.Wait()
		if want := []string{"2", "3", "4"}; !reflect.DeepEqual(failed, want) || a.IsRunning() {
			t.Errorf("failed %q, want %q", failed, want)
		}
	})
}

// The ring has room again for what a batch held as soon as the next is gathered,
// though it is never empty.
func TestRingBehindBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calls{turn: make(chan int)}
		a := start(t, aggregator.Config{FctBatch: c.batch, BufBytes: 64, BatchBytes: 8})
		fill := func() (n int) {
			for {
				if _, err := a.TryWrite([]byte("1234")); err != nil { // 8 bytes in the ring
					is(t, err, aggregator.ErrFull)
					return n
				}
				synctest.Wait()
				n++
			}
		}
		if n := fill(); n != 8 {
			t.Errorf("%d came into the ring", n)
		}
		c.turn <- 9 // a batch of one is done, and one of two in hand
		synctest.Wait()
		if n := fill(); n != 1 {
			t.Errorf("%d came in for 1", n)
		}
		for range 30 {
			c.turn <- 9
			synctest.Wait()
			if n := fill(); n != 2 {
				t.Errorf("%d came in for 2", n)
			}
		}
		close(c.turn)
		must(t, a.Close())
	})
}
