package aggregator_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"edgeagg/aggregator"
)

// The ring takes records until its bytes are used up, wherever it begins, and
// has room for as many again when they are written.
func TestRingIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufBytes: 100})
		fill := func() (n int) {
			for {
				if _, err := a.TryWrite([]byte("sixteen bytes ab")); err == aggregator.ErrFull {
					return n
				} else if err != nil {
					t.Fatal(err)
				}
				n++
			}
		}
		if n := fill(); n != 5 {
			t.Errorf("a ring of 100 bytes took %d records of 16 + 4", n)
		}
		for range 20 {
			v.let(1)
			synctest.Wait()
			if n := fill(); n != 1 {
				t.Errorf("where one was written %d came in", n)
			}
		}
		if m := a.Metrics(); m.Memory != 100 {
			t.Errorf("Memory = %d", m.Memory)
		}
		v.open()
		synctest.Wait()
		must(t, a.Close())
		if n := len(v.got()); n != 25 {
			t.Errorf("%d records written", n)
		}
	})
}

// A record that needs the whole ring waits until it is empty, and gets in.
func TestRecordAsLongAsTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufBytes: 64})
		write(t, a, "1 2 3")
		long := strings.Repeat("x", 60)
		blocked := writing(a, long)
		synctest.Wait()
		counters(t, a, 1, 60, 2, 2)
		v.open()
		must(t, <-blocked)
		for range 5 {
			write(t, a, long)
			write(t, a, "4")
		}
		must(t, a.Close())
		if n := len(v.got()); n != 14 {
			t.Errorf("%d records written", n)
		}
	})
}

// Without a ring the bytes are bounded too; but one record always gets in.
func TestBufMaxSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: 100, BufMaxSize: 10})
		write(t, a, "inhand")
		synctest.Wait()
		write(t, a, "longer-than-all-of-it")
		if _, err := a.TryWrite([]byte("x")); err != aggregator.ErrFull {
			t.Error(err)
		}
		v.let(1)
		synctest.Wait()
		write(t, a, "12345 67890")
		if _, err := a.TryWrite([]byte("x")); err != aggregator.ErrFull {
			t.Error(err)
		}
		v.open()
		must(t, a.Close())
		v.want(t, "inhand", "longer-than-all-of-it", "12345", "67890")
	})
}

// Under pressure the capacity doubles up to BufMax, and halves when unused.
func TestBufferGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: 4, BufMax: 50})
		capacity := func() int { return a.Metrics().Capacity }
		write(t, a, "inhand")
		synctest.Wait()
		steps := []int{}
		for i := range 50 {
			write(t, a, fmt.Sprint(i))
			if c := capacity(); len(steps) == 0 || steps[len(steps)-1] != c {
				steps = append(steps, c)
			}
		}
		if got, want := fmt.Sprint(steps), "[4 8 16 32 50]"; got != want {
			t.Errorf("capacity went %s, want %s", got, want)
		}
		if _, err := a.TryWrite([]byte("x")); err != aggregator.ErrFull {
			t.Error(err)
		}
		v.open()
		must(t, a.Sync(bg))
		if capacity() != 50 {
			t.Errorf("capacity %d at once after the burst", capacity())
		}
		time.Sleep(10 * time.Second)
		if capacity() != 4 {
			t.Errorf("capacity %d after 10 idle seconds", capacity())
		}
		must(t, a.Close())
		if n := len(v.got()); n != 51 {
			t.Errorf("%d records written", n)
		}
	})
}

// The memory of a burst is given back when it was not needed for a second.
func TestMemoryIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newValve()
		a := start(t, aggregator.Config{FctWriter: v.Write, BufWriter: 1000})
		p := bytes.Repeat([]byte("x"), 1000)
		for range 1000 {
			if _, err := a.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		burst := a.Metrics().Memory
		if burst < 1000*1000 {
			t.Errorf("memory %d of a burst of a million bytes", burst)
		}
		v.open()
		must(t, a.Sync(bg))
		time.Sleep(5 * time.Second)
		if m := a.Metrics().Memory; m > 64<<10 {
			t.Errorf("memory %d after an idle time, %d in the burst", m, burst)
		}
		_, err := a.Write(p)
		must(t, err)
		must(t, a.Stop())
		if m := a.Metrics().Memory; m != 0 {
			t.Errorf("memory %d after Stop", m)
		}
	})
}

func heap() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A buffered record costs its length and at most 12 bytes.
func TestBytesPerRecord(t *testing.T) {
	for _, ring := range []bool{false, true} {
		for _, size := range []int{16, 100, 300, 512, 1000, 4096} {
			t.Run(fmt.Sprint(size, ring), func(t *testing.T) {
				const n = 10000
				v := newValve()
				cfg := aggregator.Config{FctWriter: v.Write, BufWriter: n}
				before := heap()
				if ring {
					cfg.BufBytes = n * (size + 4)
				}
				a := start(t, cfg)
				p := make([]byte, size)
				for range n {
					if _, err := a.Write(p); err != nil {
						t.Fatal(err)
					}
				}
				per := float64(heap()-before)/n - float64(size)
				t.Logf("len + %.1f bytes", per)
				if per > 12 {
					t.Errorf("len + %.1f bytes", per)
				}
				v.open()
				must(t, a.Close())
			})
		}
	}
}

// Without a fixed buffer nothing is allocated for records that do not come.
func TestMemoryAfterStart(t *testing.T) {
	for _, size := range []int{1, 100, 10000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const n = 100
			var s sink
			all := make([]aggregator.Aggregator, n)
			before := heap()
			for i := range all {
				all[i] = start(t, aggregator.Config{FctWriter: s.Write, BufWriter: size})
			}
			per := (heap() - before) / n
			t.Logf("%d bytes", per)
			if per > 2048 { // half of what golib takes for the smallest buffer
				t.Errorf("%d bytes", per)
			}
			for _, a := range all {
				must(t, a.Close())
			}
		})
	}
}

// A buffer that is never empty uses its memory over and over.
func TestMemoryIsUsedAgain(t *testing.T) {
	for _, size := range []int{100, 3000, 20000} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(size, batch), func(t *testing.T) {
				const n = 50
				v := newValve()
				cfg := aggregator.Config{FctWriter: v.Write, BufWriter: n}
				if batch {
					cfg.FctBatch = func(recs [][]byte) (int, error) { return 1, <-v.turn }
				}
				a := start(t, cfg)
				p := make([]byte, size)
				for range n {
					_, err := a.Write(p)
					must(t, err)
				}
				for range 20 * n {
					v.turn <- nil
					_, err := a.Write(p)
					must(t, err)
				}
				if m := a.Metrics().Memory; m < n*size || m > 2*(n+2)*size+128<<10 {
					t.Errorf("%d bytes for %d records of %d", m, n, size)
				}
				v.open()
				must(t, a.Close())
			})
		}
	}
}

// After Stop all memory of the chunks is given back, and what is left of a run
// does not come up in the next.
func TestNextRunBeginsEmpty(t *testing.T) {
	for _, cfg := range []aggregator.Config{{BufWriter: 10}, {BufBytes: 100}} {
		synctest.Test(t, func(t *testing.T) {
			v := newValve()
			cfg.FctWriter = v.Write
			a := start(t, cfg)
			for range 3 {
				v.turn = make(chan error)
				write(t, a, "1 2 3")
				synctest.Wait()
				ctx, cancel := context.WithCancel(bg)
				cancel()
				_, _ = a.Shutdown(ctx)
				v.let(1)
				synctest.Wait()
				counters(t, a, 0, 0, 0, 0)
				if m := a.Metrics(); m.Memory != cfg.BufBytes || m.Accepted != m.HandedOver+m.Dropped {
					t.Errorf("%+v", m)
				}
				must(t, a.Start(bg))
			}
			must(t, a.Close())
			v.want(t, "1", "1", "1")
		})
	}
}
