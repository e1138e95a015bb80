// Command bench puts this module's aggregator beside golib's, a mutex with a
// copy, and a buffered channel, on the same work in one process.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	golib "github.com/nabbar/golib/ioutils/aggregator"

	"edgeagg/aggregator"
)

// lifecycle is what both have.
type lifecycle interface {
	io.WriteCloser
	Start(ctx context.Context) error
	Stop() error
	Restart(ctx context.Context) error
	NbProcessing() int64
	IsRunning() bool
}

// setup is what a subject is made with.
type setup struct {
	buf       int
	write     func(p []byte) (int, error)
	syncTimer time.Duration
	sync      func(context.Context)
}

// subject is one that is measured.
type subject struct {
	name string
	make func(setup) lifecycle
}

// start makes one and waits until it runs.
func (s subject) start(c setup) lifecycle {
	a := s.make(c)
	if err := a.Start(context.Background()); err != nil {
		panic(err)
	}
	for !a.IsRunning() {
		runtime.Gosched()
	}
	return a
}

// seed is golib's, whose Stop takes a context.
type seed struct{ golib.Aggregator }

func (s seed) Stop() error { return s.Aggregator.Stop(context.Background()) }

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return v
}

var subjects = []subject{
	{"golib", func(c setup) lifecycle {
		return seed{must(golib.New(context.Background(), golib.Config{
			BufWriter: c.buf, FctWriter: c.write, SyncTimer: c.syncTimer, SyncFct: c.sync,
		}))}
	}},
	{"ours", func(c setup) lifecycle {
		return must(aggregator.New(context.Background(), aggregator.Config{
			BufWriter: c.buf, FctWriter: c.write, SyncTimer: c.syncTimer, SyncFct: c.sync,
		}))
	}},
}

// cell is the time per record, end to end: from the moment all writers are let
// go until FctWriter has the last byte.
func cell(s subject, writers, buf, size, n int) time.Duration {
	var got atomic.Int64
	total := int64(n) * int64(size)
	done := make(chan struct{})
	a := s.start(setup{buf: buf, write: func(p []byte) (int, error) {
		if got.Add(int64(len(p))) == total {
			close(done)
		}
		return len(p), nil
	}})
	var ready, wg sync.WaitGroup
	ready.Add(writers)
	begin := make(chan struct{})
	for w := range writers {
		k := n / writers
		if w < n%writers {
			k++
		}
		wg.Go(func() {
			p := make([]byte, size)
			for i := range p {
				p[i] = byte(i)
			}
			ready.Done()
			<-begin
			for range k {
				if _, err := a.Write(p); err != nil {
					panic(err)
				}
			}
		})
	}
	ready.Wait()
	runtime.GC()
	t := time.Now()
	close(begin)
	wg.Wait()
	<-done
	took := time.Since(t)
	_ = a.Close()
	return took / time.Duration(n)
}

// floor is a mutex with a copy into one of two halves that a loop swaps.
func floor(size, n int) time.Duration {
	var mu sync.Mutex
	room := sync.NewCond(&mu)
	const records = 100
	halves := [2][]byte{make([]byte, 0, records*(size+4)), make([]byte, 0, records*(size+4))}
	in, got := 0, 0
	wake, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for got < n {
			<-wake
			mu.Lock()
			full := in
			in = 1 - in
			halves[in] = halves[in][:0]
			room.Signal()
			mu.Unlock()
			for b := halves[full]; len(b) > 0; b = b[size+4:] {
				got++
			}
		}
	}()
	p := make([]byte, size+4)
	begin := time.Now()
	for range n {
		mu.Lock()
		for len(halves[in])+len(p) > cap(halves[in]) {
			room.Wait()
		}
		halves[in] = append(halves[in], p...)
		mu.Unlock()
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	<-done
	return time.Since(begin) / time.Duration(n)
}

// channel is a plain buffered channel of copied slices.
func channel(size, n int) time.Duration {
	c := make(chan []byte, 100)
	done := make(chan struct{})
	go func() {
		for range n {
			<-c
		}
		close(done)
	}()
	p := make([]byte, size)
	begin := time.Now()
	for range n {
		c <- append([]byte(nil), p...)
	}
	<-done
	return time.Since(begin) / time.Duration(n)
}

// median of some runs, since the machine's speed drifts.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func main() {
	full := flag.Bool("full", false, "ten times as many records")
	flag.Parse()
	records, bytes := 60_000, 64<<20
	if *full {
		records, bytes = 10*records, 10*bytes
	}
	table(records, bytes)
	floors(10 * records)
	lifecycles()
	counters()
	memory()
	latency()
}

// table prints all cells. Those of more than 256 MiB in flight are left out.
func table(records, bytes int) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\t\n", args...) }
	row("size\tbuffer\twriters\tgolib ns\tours ns\tratio")
	sum, cells, worst := 0.0, 0, 0.0
	for _, size := range []int{16, 256, 64 << 10, 1 << 20} {
		for _, buf := range []int{1, 100, 10_000} {
			if size*buf > 256<<20 {
				continue
			}
			for _, writers := range []int{1, 8, 100} {
				n := max(500, min(records, bytes/size))
				var took [2][]time.Duration
				for range 5 { // in turn
					for i, s := range subjects {
						took[i] = append(took[i], cell(s, writers, buf, size, n))
					}
				}
				g, o := median(took[0]), median(took[1])
				r := float64(o) / float64(g)
				sum, cells, worst = sum+math.Log(r), cells+1, max(worst, r)
				row("%d\t%d\t%d\t%d\t%d\t%.3f", size, buf, writers, g.Nanoseconds(), o.Nanoseconds(), r)
			}
		}
	}
	_ = t.Flush()
	fmt.Printf("geometric mean of the ratios %.3f, worst %.3f\n\n", math.Exp(sum/float64(cells)), worst)
}

func floors(n int) {
	for _, size := range []int{16, 256} {
		var o, f, c []time.Duration
		for range 5 {
			o = append(o, cell(subjects[1], 1, 100, size, n))
			f = append(f, floor(size, n))
			c = append(c, channel(size, n))
		}
		fmt.Printf("one writer, buffer 100, %3d B: ours %d ns, mutex and copy %d ns (ratio %.2f), channel of copies %d ns\n",
			size, median(o).Nanoseconds(), median(f).Nanoseconds(), float64(median(o))/float64(median(f)), median(c).Nanoseconds())
	}
	fmt.Println()
}

func nothing(p []byte) (int, error) { return len(p), nil }

func lifecycles() {
	names := []string{"Start", "Restart", "Stop"}
	var took [2][3]time.Duration
	for i, s := range subjects {
		var all [3][]time.Duration
		a := s.make(setup{buf: 100, write: nothing})
		ctx := context.Background()
		for range 100 {
			for op, f := range []func() error{
				func() error { return a.Start(ctx) }, func() error { return a.Restart(ctx) }, a.Stop,
			} {
				t := time.Now()
				_ = f()
				all[op] = append(all[op], time.Since(t))
				for op == 0 && !a.IsRunning() {
					runtime.Gosched()
				}
			}
		}
		_ = a.Close()
		for op := range all {
			took[i][op] = median(all[op])
		}
	}
	for op, name := range names {
		fmt.Printf("%-8s golib %v, ours %v (ratio %.4f)\n", name, took[0][op], took[1][op], float64(took[1][op])/float64(took[0][op]))
	}
	fmt.Println()
}

func counters() {
	for _, s := range subjects {
		a := s.start(setup{buf: 100, write: nothing})
		const reads = 1_000_000
		t := time.Now()
		for range reads {
			a.NbProcessing()
		}
		counter := time.Since(t)
		t = time.Now()
		for range reads {
			a.IsRunning()
		}
		fmt.Printf("%-5s a counter %.1f ns, IsRunning %.1f ns\n", s.name, float64(counter)/reads, float64(time.Since(t))/reads)
		_ = a.Close()
	}
	fmt.Println()
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// memory prints what New, Start and a record that waits take.
func memory() {
	const many = 100
	for _, buf := range []int{1, 100, 10_000} {
		for _, s := range subjects {
			list := make([]lifecycle, 0, many)
			base := heap()
			for range many {
				list = append(list, s.make(setup{buf: buf, write: nothing}))
			}
			made := heap()
			for _, a := range list {
				_ = a.Start(context.Background())
			}
			started := heap()
			for _, a := range list {
				_ = a.Close()
			}
			fmt.Printf("buffer %5d: %-5s heap after New %.0f B, after Start %.0f B\n", buf, s.name, (made-base)/many, (started-base)/many)
		}
	}
	for _, size := range []int{16, 256, 1000, 64 << 10} {
		for _, s := range subjects {
			n := min(10_000, 64<<20/size)
			gate := make(chan struct{})
			base := heap()
			a := s.start(setup{buf: n, write: func(p []byte) (int, error) { <-gate; return len(p), nil }})
			p := make([]byte, size)
			for range n {
				_, _ = a.Write(p)
			}
			fmt.Printf("a waiting record of %5d B: %-5s len + %.1f B\n", size, s.name, (heap()-base)/float64(n)-float64(size))
			close(gate)
			_ = a.Close()
		}
	}
	fmt.Println()
}

// latency is that of Write while SyncFct stalls for 50 ms, ten times a second.
func latency() {
	for _, buf := range []int{8, 1000} {
		for _, s := range subjects {
			a := s.start(setup{
				buf: buf, write: nothing,
				syncTimer: 100 * time.Millisecond, sync: func(context.Context) { time.Sleep(50 * time.Millisecond) },
			})
			var all []time.Duration
			p := make([]byte, 64)
			for range 3000 {
				t := time.Now()
				_, _ = a.Write(p)
				all = append(all, time.Since(t))
				time.Sleep(200 * time.Microsecond)
			}
			_ = a.Close()
			slices.Sort(all)
			fmt.Printf("p99 of Write while SyncFct stalls 50 ms, buffer %4d: %-5s %v\n", buf, s.name, all[len(all)*99/100])
		}
	}
}
