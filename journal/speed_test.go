package journal

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The way of a batch to the card makes no garbage.
func TestWriteAndSyncAllocateNothing(t *testing.T) {
	b := newBench(t, memory(t))
	b.SegmentBytes = 64 << 20
	j := b.open(t)
	defer finish(t, j)
	recs := [][]byte{reading(1), reading(2), reading(3)}
	round := func() {
		if _, err := j.Write(recs); err != nil {
			t.Fatal(err)
		}
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations for Write and Sync", n)
	}
}

// Nor does reading them back.
func TestReadingAllocatesNothing(t *testing.T) {
	b := newBench(t, memory(t))
	b.SegmentBytes = 64 << 20
	j := b.open(t)
	defer finish(t, j)
	for n := range 3000 {
		write(t, j, reading(n))
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	rd := j.Reader(1, nil)
	defer rd.Close()
	if _, err := rd.Next(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(2000, func() {
		if _, err := rd.Next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for Next", n)
	}
}

// payload is a record of n bytes.
func payload(n int) []byte {
	p := make([]byte, n)
	p[0] = 1
	return p
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 16, 64 << 10 / 64} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			o := newBench(b, b.TempDir())
			o.SegmentBytes, o.MaxBytes, o.Keep = 4<<20, 64<<20, false
			j := o.open(b)
			recs := make([][]byte, batch)
			for i := range recs {
				recs[i] = payload(64)
			}
			b.SetBytes(int64(64 * batch))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Write(recs); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "records/s")
			finish(b, j)
		})
	}
}

// filled is a stopped journal of records of 64 bytes in a folder of the benchmark.
func filled(b *testing.B, bytes, segment int64) *bench {
	b.Helper()
	o := newBench(b, b.TempDir())
	o.SegmentBytes, o.MaxBytes = segment, 4<<30
	j := o.open(b)
	recs := make([][]byte, 1024)
	for i := range recs {
		recs[i] = payload(64)
	}
	for j.Bytes() < bytes {
		if _, err := j.Write(recs); err != nil {
			b.Fatal(err)
		}
	}
	write(b, j, stop())
	finish(b, j)
	return o
}

// BenchmarkRead compares a Reader with reading the same bytes and their CRC32C alone.
func BenchmarkRead(b *testing.B) {
	o := filled(b, 64<<20, 4<<20)
	j := o.open(b)
	defer finish(b, j)
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(j.Bytes())
		buf := make([]byte, chunk)
		for b.Loop() {
			for _, name := range segmentFiles(b, o.Dir) {
				f, err := os.Open(name)
				if err != nil {
					b.Fatal(err)
				}
				sum := uint32(0)
				for {
					n, err := f.Read(buf)
					if err == io.EOF {
						break
					}
					sum = crc32.Update(sum, castagnoli, buf[:n])
				}
				f.Close()
			}
		}
	})
	b.Run("reader", func(b *testing.B) {
		b.SetBytes(j.Bytes())
		n := 0
		for b.Loop() {
			rd := j.Reader(1, nil)
			n = 0
			for {
				if _, err := rd.Next(); err != nil {
					break
				}
				n++
			}
			rd.Close()
		}
		b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
	})
}

// BenchmarkOpen opens a journal of 1 GiB.
func BenchmarkOpen(b *testing.B) {
	o := filled(b, 1<<30, 4<<20)
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		os.Remove(filepath.Join(o.Dir, lockName))
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		j := o.open(b)
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		kill(j)
		b.StartTimer()
	}
	b.ReportMetric(float64(after.HeapAlloc)-float64(before.HeapAlloc), "heap-bytes")
}
