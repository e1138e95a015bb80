package journal

import (
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

func TestEviction(t *testing.T) {
	for _, keep := range []bool{true, false} {
		b := newBench(t, memory(t))
		b.MaxBytes, b.Keep = 256<<10, keep
		j := b.open(t)
		const n = 30_000
		for i := range n {
			write(t, j, reading(i))
		}
		if err := j.Ack(j.last - 5); err != nil {
			t.Fatal(err)
		}
		if j.Bytes() > b.MaxBytes {
			t.Errorf("%d bytes are kept", j.Bytes())
		}
		finish(t, j)
		got := inspect(t, b.Dir)
		if r := got.readings(); r[len(r)-1] != n-1 {
			t.Errorf("the newest reading is %d", r[len(r)-1])
		}
		gaps, events := got.gaps(record.Evicted), got.events(record.Retention)
		if keep {
			if len(gaps) == 0 || gaps[0].Count != int64(gaps[0].Last-gaps[0].First+1) || len(events) != 0 {
				t.Errorf("%d gaps, %d events", len(gaps), len(events))
			}
			if got.missing != nil {
				t.Errorf("missing %+v", got.missing)
			}
			if j.Lost() == 0 {
				t.Error("nothing counts as lost")
			}
		} else if len(gaps) != 0 || len(events) > 1 {
			t.Errorf("without a broker: %d gaps, %d events", len(gaps), len(events))
		}
	}
}

// Uploaded segments go without a gap.
func TestEvictionOfWhatIsUploaded(t *testing.T) {
	b := newBench(t, memory(t))
	b.MaxBytes = 256 << 10
	j := b.open(t)
	for i := range 30_000 {
		write(t, j, reading(i))
		if i%500 == 0 {
			if err := j.Ack(j.last); err != nil {
				t.Fatal(err)
			}
		}
	}
	finish(t, j)
	if got := inspect(t, b.Dir); len(got.gaps(record.Evicted)) != 0 {
		t.Errorf("gaps %+v", got.gaps(record.Evicted))
	}
}

// What an eviction takes is on the card as a gap before the segment goes: a
// power cut between the two costs nothing.
func TestAnEvictionIsToldBeforeItHappens(t *testing.T) {
	b := newBench(t, memory(t))
	b.MaxBytes = 3 * b.SegmentBytes
	j := b.open(t)
	for n := 0; len(segmentFiles(t, b.Dir)) < 3; n++ {
		write(t, j, wide(n))
	}
	real := fsync
	told := false
	fsync = func(f *os.File) error {
		err := real(f)
		if f == j.dir && !told { // the new segment is there for good
			got := inspect(t, b.Dir)
			g := got.gaps(record.Evicted)
			told = len(g) == 1 && g[0].First == 1 && got.order[0] == 1
		}
		return err
	}
	defer func() { fsync = real }()
	for n := 0; j.First() == 1 && n < 1000; n++ {
		write(t, j, wide(n))
	}
	if !told || j.First() == 1 {
		t.Errorf("told %v, first is %d", told, j.First())
	}
	finish(t, j)
}

// A segment that was removed by hand is a loss only if it was not uploaded.
func TestUploadedRecordsThatAreMissingNeedNoGap(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	for n := range 100 {
		write(t, j, wide(n))
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := j.Ack(30); err != nil {
		t.Fatal(err)
	}
	write(t, j, stop())
	finish(t, j)
	files := segmentFiles(t, b.Dir)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	j = b.open(t)
	write(t, j, stop())
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Damage); j.First() < 2 || j.First() > 31 || len(g) != 0 {
		t.Errorf("first kept is %d, gaps %+v", j.First(), g)
	}
}

// What an eviction takes is told once, however often making room fails.
func TestAnEvictionThatFailsIsToldOnce(t *testing.T) {
	b := newBench(t, memory(t))
	b.MaxBytes = 3 * b.SegmentBytes
	j := b.open(t)
	n := 0
	for len(segmentFiles(t, b.Dir)) < 3 {
		write(t, j, wide(n))
		n++
	}
	real := fsync
	fsync = func(*os.File) error { return unix.EIO }
	defer func() { fsync = real }()
	var err error
	for ; err == nil && n < 1000; n++ {
		_, err = j.Write([][]byte{wide(n)})
	}
	for range 3 {
		if _, err := j.Write([][]byte{wide(n)}); !errors.Is(err, unix.EIO) {
			t.Fatalf("Write: %v", err)
		}
	}
	if j.First() != 1 {
		t.Error("evicted before it was told")
	}
	fsync = real
	write(t, j, wide(n))
	finish(t, j)
	if g := inspect(t, b.Dir).gaps(record.Evicted); len(g) != 1 || g[0].First != 1 || j.First() != g[0].Last+1 {
		t.Errorf("first kept is %d, gaps %+v", j.First(), g)
	}
}

// From outside, a journal that is being written and evicted is whole.
func TestAWalkBesideTheWriter(t *testing.T) {
	b := newBench(t, memory(t))
	b.MaxBytes = 4 * b.SegmentBytes
	j := b.open(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for walks := 0; ; walks++ {
			select {
			case <-done:
				if walks == 0 {
					t.Error("the writer was done before the first walk")
				}
				return
			default:
			}
			w, err := Inspect(b.Dir)
			if err != nil {
				t.Error(err)
				return
			}
			for {
				it, err := w.Next()
				if err != nil {
					if !errors.Is(err, io.EOF) {
						t.Error(err)
					}
					break
				}
				if it.First != 0 && it.Reason == "" || it.Damage.Length > 0 && !it.Damage.Tail {
					t.Errorf("missing %d to %d, damage %+v", it.First, it.Last, it.Damage)
				}
			}
			w.Close()
		}
	})
	for n := range 3000 {
		write(t, j, wide(n))
		if n%10 == 0 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
			if err := j.Ack(j.Synced()); err != nil { // so that no gap explains an eviction
				t.Fatal(err)
			}
		}
	}
	close(done)
	wg.Wait()
	finish(t, j)
}
