package journal

import (
	"fmt"
	"testing"
)

func TestWriteAndSyncAllocateNothing(t *testing.T) {
	b := newBench(t, memory(t))
	b.SegmentBytes = 64 << 20
	j := b.open(t)
	defer finish(t, j)
	recs := [][]byte{reading(1), reading(2), reading(3)}
	write(t, j, recs...)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := j.Write(recs); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a Write", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 800} {
		b.Run(fmt.Sprint(batch, " records a write"), func(b *testing.B) {
			be := newBench(b, memory(b))
			be.SegmentBytes = 64 << 20
			be.MaxBytes = 256 << 20
			j := be.open(b)
			p := make([]byte, 64)
			p[0] = 1
			recs := make([][]byte, batch)
			for i := range recs {
				recs[i] = p
			}
			b.SetBytes(int64(64 * batch))
			for b.Loop() {
				if _, err := j.Write(recs); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "records/s")
			_ = j.Close()
		})
	}
}
