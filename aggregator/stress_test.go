package aggregator_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"edgeagg/aggregator"
)

var rounds = flag.Int("rounds", 1, "rounds of the stress test for each buffer")

// TestStress has a hundred goroutines write numbered records of 16 bytes to 1 MB
// while others restart, stop, start and cancel, and callbacks fail, panic and
// dawdle. At the end each record is accounted for: what Write accepted was
// written or dropped, once, in the order of its goroutine; nothing else was.
func TestStress(t *testing.T) {
	for name, cfg := range map[string]aggregator.Config{
		"buffer of 1":       {BufWriter: 1},
		"buffer of 100":     {BufWriter: 100},
		"buffer of 10000":   {BufWriter: 10000},
		"buffer that grows": {BufWriter: 2, BufMax: 500},
		"ring":              {BufBytes: 3 << 20},
		"batches":           {BufBytes: 3 << 20, BatchBytes: 4096},
	} {
		for round := range *rounds {
			t.Run(fmt.Sprint(name, ", seed ", round), func(t *testing.T) { stress(t, cfg, uint64(round), name == "batches") })
		}
	}
}

func stress(t *testing.T, cfg aggregator.Config, seed uint64, batches bool) {
	const writers, each = 100, 60
	var mu sync.Mutex
	fate := map[[2]uint32]int{} // how often a record was written or dropped
	var last [writers]uint32
	settle := func(p []byte) {
		w, i := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
		mu.Lock()
		defer mu.Unlock()
		if fate[[2]uint32{w, i}]++; i <= last[w] || len(p) != int(binary.LittleEndian.Uint32(p[8:])) {
			t.Errorf("writer %d: record %d of %d bytes behind %d", w, i, len(p), last[w])
		}
		last[w] = i
	}
	var n atomic.Uint32
	mishap := func() error {
		switch n.Add(1) % 97 {
		case 13:
			panic("mishap")
		case 29:
			runtime.Goexit()
		case 57:
			return errors.New("mishap")
		case 71:
			for range 50 {
				runtime.Gosched()
			}
		}
		return nil
	}
	cfg.FctWriter = func(p []byte) (int, error) {
		if err := mishap(); err != nil {
			return 0, err
		}
		settle(p)
		return len(p), nil
	}
	if batches {
		cfg.FctBatch = func(recs [][]byte) (int, error) {
			if err := mishap(); err != nil {
				return 0, err
			}
			for _, p := range recs {
				settle(p)
			}
			return len(recs), nil
		}
	}
	cfg.FctFailed = func(p []byte, _ error) { settle(p) }
	cfg.SyncTimer, cfg.SyncFct = 100_000, func(context.Context) { _ = mishap() }
	cfg.AsyncTimer, cfg.AsyncMax, cfg.AsyncFct = 100_000, 2, func(ctx context.Context) { _ = mishap() }
	a := start(t, cfg)
	if !a.IsRunning() {
		t.Fatal("not running")
	}

	var accepted atomic.Int64
	var wg, ops sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for i := range uint32(each) {
				size := 16 + r.IntN(1000)
				if r.IntN(500) == 0 {
					size = 1 << 20
				}
				p := make([]byte, size)
				binary.LittleEndian.PutUint32(p, uint32(w))
				binary.LittleEndian.PutUint32(p[4:], i+1)
				binary.LittleEndian.PutUint32(p[8:], uint32(size))
				write := a.Write
				if r.IntN(4) == 0 {
					write = a.TryWrite
				}
				switch _, err := write(p); err {
				case nil:
					accepted.Add(1)
				case aggregator.ErrClosedResources, aggregator.ErrFull:
					runtime.Gosched()
				default:
					t.Error(err)
				}
				clear(p)
			}
		})
	}
	for g := range 4 {
		ops.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(1000+g)))
			ctx, cancel := context.WithCancel(bg)
			for {
				select {
				case <-done:
					cancel()
					return
				default:
				}
				switch r.IntN(6) {
				case 0:
					_ = a.Stop()
				case 1:
					cancel()
					ctx, cancel = context.WithCancel(bg)
				case 2, 3:
					_ = a.Restart(ctx)
				case 4:
					_ = a.Sync(bg)
				case 5:
					_ = a.Metrics()
				}
				_ = a.Start(ctx)
			}
		})
	}
	wg.Wait()
	close(done)
	ops.Wait()
	must(t, a.Close())
	mu.Lock()
	defer mu.Unlock()
	for record, times := range fate {
		if times != 1 {
			t.Errorf("record %v came %d times", record, times)
		}
	}
	if int64(len(fate)) != accepted.Load() {
		t.Errorf("%d accepted, %d came", accepted.Load(), len(fate))
	}
	counters(t, a, 0, 0, 0, 0)
	if m := a.Metrics(); int64(m.Accepted) != accepted.Load() || m.HandedOver != m.Accepted {
		t.Errorf("%+v", m)
	}
}
