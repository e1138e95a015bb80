package aggregator_test

import (
	"fmt"
	"sync"
	"testing"

	"edgeagg/aggregator"
)

// Nothing is allocated for a record, from Write to FctWriter's return.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, cfg := range map[string]aggregator.Config{
		"buffer of one":     {BufWriter: 1},
		"buffer of hundred": {BufWriter: 100},
		"big buffer":        {BufWriter: 10000},
		"ring":              {BufBytes: 256 << 10},
		"joined":            {BufWriter: 100, BatchBytes: 4096},
	} {
		for _, size := range []int{16, 256, 16 << 10} {
			if size*cfg.BufWriter > 4<<20 {
				continue
			}
			for _, batch := range []bool{false, true} {
				t.Run(fmt.Sprint(name, size, batch), func(t *testing.T) {
					var shut sync.Mutex
					cfg.FctWriter = func(p []byte) (int, error) { shut.Lock(); defer shut.Unlock(); return len(p), nil }
					if batch {
						cfg.FctBatch = func(recs [][]byte) (int, error) { shut.Lock(); defer shut.Unlock(); return len(recs), nil }
					}
					a := start(t, cfg)
					defer func() { must(t, a.Close()) }()
					p := make([]byte, size)
					burst := func() {
						for range 1000 {
							if _, err := a.Write(p); err != nil {
								t.Fatal(err)
							}
						}
					}
					shut.Lock() // let the buffer fill once, so that it has its memory
					for err := error(nil); err != aggregator.ErrFull; {
						_, err = a.TryWrite(p)
					}
					shut.Unlock()
					burst()
					if n := testing.AllocsPerRun(20, burst); n > 10 {
						t.Errorf("%v allocations for 1000 records", n)
					}
				})
			}
		}
	}
}

// Nor for reading a counter.
func TestCountersDoNotAllocate(t *testing.T) {
	a := start(t, aggregator.Config{FctWriter: new(sink).Write})
	defer func() { must(t, a.Close()) }()
	if n := testing.AllocsPerRun(100, func() {
		_, _, _, _, _ = a.NbWaiting(), a.NbProcessing(), a.SizeWaiting(), a.SizeProcessing(), a.IsRunning()
		_, _ = a.Uptime(), a.Metrics()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
