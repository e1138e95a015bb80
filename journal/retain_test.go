package journal

import (
	"testing"

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
