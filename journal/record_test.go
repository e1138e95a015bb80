package journal

import (
	"fmt"
	"testing"

	"edgeagg/internal/record"
)

func TestARecordThatNoSegmentHolds(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), make([]byte, b.MaxRecord+1), reading(1))
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Error); len(g) != 1 || g[0].Count != 1 || fmt.Sprint(got.readings()) != "[0 1]" {
		t.Errorf("%+v", got.records)
	}
}
