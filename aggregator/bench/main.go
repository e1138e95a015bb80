package main

import (
	"context"
	"edgeagg/aggregator"
	"fmt"
	g "github.com/nabbar/golib/ioutils/aggregator"
	"runtime"
)

func heap() int {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
func main() {
	w := func(p []byte) (int, error) { return len(p), nil }
	for range 2 {
		for _, buf := range []int{1, 100, 10000} {
			const n = 200
			ours := make([]aggregator.Aggregator, n)
			theirs := make([]g.Aggregator, n)
			h0 := heap()
			for i := range n {
				ours[i], _ = aggregator.New(context.Background(), aggregator.Config{FctWriter: w, BufWriter: buf})
			}
			h1 := heap()
			for i := range n {
				ours[i].Start(context.Background())
			}
			h2 := heap()
			for i := range n {
				theirs[i], _ = g.New(context.Background(), g.Config{FctWriter: w, BufWriter: buf})
			}
			h3 := heap()
			for i := range n {
				theirs[i].Start(context.Background())
			}
			h4 := heap()
			fmt.Println(buf, "ours", (h1-h0)/n, (h2-h0)/n, "golib", (h3-h2)/n, (h4-h2)/n)
			for i := range n {
				ours[i].Close()
				theirs[i].Close()
			}
		}
	}
}
