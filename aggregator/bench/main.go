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

// subject is one that is measured.
type subject struct {
	name string
	make func(buf int, write func([]byte) (int, error)) lifecycle
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
	{"golib", func(buf int, w func([]byte) (int, error)) lifecycle {
		return seed{must(golib.New(context.Background(), golib.Config{BufWriter: buf, FctWriter: w}))}
	}},
	{"ours", func(buf int, w func([]byte) (int, error)) lifecycle {
		return must(aggregator.New(context.Background(), aggregator.Config{BufWriter: buf, FctWriter: w}))
	}},
}

// cell is the time per record, end to end: until FctWriter has the last byte.
func cell(s subject, writers, buf, size, n int) time.Duration {
	var got atomic.Int64
	total := int64(n) * int64(size)
	done := make(chan struct{})
	a := s.make(buf, func(p []byte) (int, error) {
		if got.Add(int64(len(p))) == total {
			close(done)
		}
		return len(p), nil
	})
	if err := a.Start(context.Background()); err != nil {
		panic(err)
	}
	for !a.IsRunning() {
		runtime.Gosched()
	}
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		k := n / writers
		if w < n%writers {
			k++
		}
		wg.Go(func() {
			p := make([]byte, size)
			for range k {
				for {
					if _, err := a.Write(p); err == nil {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	<-done
	took := time.Since(begin)
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

func best(runs int, f func() time.Duration) time.Duration {
	var all []time.Duration
	for range runs {
		all = append(all, f())
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func main() {
	full := flag.Bool("full", false, "more records in each cell")
	flag.Parse()
	budget := 32 << 20
	most := 60_000
	if *full {
		budget, most = 256<<20, 500_000
	}
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
				n := max(200, min(most, budget/size))
				var g, o []time.Duration
				for range 3 { // in turn, since the machine's speed drifts
					g = append(g, cell(subjects[0], writers, buf, size, n))
					o = append(o, cell(subjects[1], writers, buf, size, n))
				}
				slices.Sort(g)
				slices.Sort(o)
				r := float64(o[1]) / float64(g[1])
				sum, cells, worst = sum+math.Log(r), cells+1, max(worst, r)
				row("%d\t%d\t%d\t%d\t%d\t%.3f", size, buf, writers, g[1].Nanoseconds(), o[1].Nanoseconds(), r)
			}
		}
	}
	_ = t.Flush()
	fmt.Printf("geometric mean of the ratios %.3f, worst %.3f\n\n", math.Exp(sum/float64(cells)), worst)

	for _, size := range []int{16, 256} {
		n := most * 10
		o := best(5, func() time.Duration { return cell(subjects[1], 1, 100, size, n) })
		f := best(5, func() time.Duration { return floor(size, n) })
		c := best(5, func() time.Duration { return channel(size, n) })
		fmt.Printf("one writer, buffer 100, %3d B: ours %d ns, mutex and copy %d ns (ours is %.2f of it), channel %d ns\n", size, o.Nanoseconds(), f.Nanoseconds(), float64(o)/float64(f), c.Nanoseconds())
	}
	fmt.Println()
	ops := map[string][2]time.Duration{}
	for i, s := range subjects {
		a := s.make(100, func(p []byte) (int, error) { return len(p), nil })
		var start, stop, restart []time.Duration
		for range 50 {
			b := time.Now()
			_ = a.Start(context.Background())
			start = append(start, time.Since(b))
			for !a.IsRunning() {
				runtime.Gosched()
			}
			b = time.Now()
			_ = a.Restart(context.Background())
			restart = append(restart, time.Since(b))
			b = time.Now()
			_ = a.Stop()
			stop = append(stop, time.Since(b))
		}
		_ = a.Close()
		for name, l := range map[string][]time.Duration{"Start": start, "Stop": stop, "Restart": restart} {
			slices.Sort(l)
			v := ops[name]
			v[i] = l[len(l)/2]
			ops[name] = v
		}
		a = s.make(100, func(p []byte) (int, error) { return len(p), nil })
		_ = a.Start(context.Background())
		const reads = 1_000_000
		b := time.Now()
		for range reads {
			a.NbProcessing()
		}
		counter := time.Since(b)
		b = time.Now()
		for range reads {
			a.IsRunning()
		}
		fmt.Printf("%-5s a counter %.1f ns, IsRunning %.1f ns\n", s.name, float64(counter)/reads, float64(time.Since(b))/reads)
		_ = a.Close()
		mem(s)
	}
	for _, name := range []string{"Start", "Stop", "Restart"} {
		v := ops[name]
		fmt.Printf("%-8s golib %v, ours %v (%.4f)\n", name, v[0], v[1], float64(v[1])/float64(v[0]))
	}
	for _, buf := range []int{8, 1000} {
		for _, s := range subjects {
			fmt.Printf("p99 of Write while each 50th record takes 5 ms, buffer %4d: %-5s %v\n", buf, s.name, p99(s, buf))
		}
	}
}

// mem prints what New, Start and a record that waits take.
func mem(s subject) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const many, records, size = 100, 10_000, 100
	list := make([]lifecycle, 0, many)
	base := heap()
	for range many {
		list = append(list, s.make(1, func(p []byte) (int, error) { return len(p), nil }))
	}
	made := heap()
	for _, a := range list {
		_ = a.Start(context.Background())
	}
	started := heap()
	for _, a := range list {
		_ = a.Close()
	}
	list = nil
	gate := make(chan struct{})
	a := s.make(records, func(p []byte) (int, error) {
		<-gate
		return len(p), nil
	})
	_ = a.Start(context.Background())
	empty := heap()
	p := make([]byte, size)
	for range records {
		_, _ = a.Write(p)
	}
	full := heap()
	close(gate)
	_ = a.Close()
	fmt.Printf("%-5s heap after New %d B, after Start %d B, per waiting record of %d B %.1f B\n", s.name, (made-base)/many, (started-base)/many, size, float64(full-empty)/records)
	runtime.KeepAlive(list)
}

// p99 is the 99th percentile of Write's time with a writer that pauses.
func p99(s subject, buf int) time.Duration {
	n := 0
	a := s.make(buf, func(p []byte) (int, error) {
		if n++; n%50 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		return len(p), nil
	})
	_ = a.Start(context.Background())
	for !a.IsRunning() {
		runtime.Gosched()
	}
	var all []time.Duration
	p := make([]byte, 64)
	for range 3000 {
		b := time.Now()
		_, _ = a.Write(p)
		all = append(all, time.Since(b))
		time.Sleep(100 * time.Microsecond)
	}
	_ = a.Close()
	slices.Sort(all)
	return all[len(all)*99/100]
}
