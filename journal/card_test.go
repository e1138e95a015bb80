package journal

import (
	"fmt"
	"os"
	"testing"
)

// After an error of the card, what was not known to be synced is written
// again, under the same numbers, and read once.
func TestAnAbandonedSegment(t *testing.T) {
	dir := t.TempDir()
	j := newBench(t, dir).open(t)
	write(t, j, reading(0))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, j, reading(1), reading(2))
	j.leave()
	write(t, j, reading(3))
	if got := j.Synced(); got != 3 {
		t.Errorf("synced up to %d: the new segment begins with a sync", got)
	}
	finish(t, j)
	got := inspect(t, dir)
	if fmt.Sprint(got.readings()) != "[0 1 2 3]" || fmt.Sprint(got.order) != "[1 2 3 4]" {
		t.Errorf("readings %v under %v", got.readings(), got.order)
	}
	if len(got.damage)+len(got.missing) != 0 {
		t.Errorf("damage %v, missing %v", got.damage, got.missing)
	}
}

// The card refuses fdatasync: Sync says so, and nothing counts as synced until
// it stands in a new segment.
func TestSyncFails(t *testing.T) {
	dir := t.TempDir()
	j := newBench(t, dir).open(t)
	write(t, j, reading(0))
	real := j.f
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	j.f = w // fdatasync of a pipe is EINVAL
	if err := j.Sync(); err == nil {
		t.Fatal("Sync did not fail")
	}
	real.Close()
	if j.Synced() != 0 {
		t.Fatalf("synced up to %d", j.Synced())
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if j.Synced() != 1 {
		t.Fatalf("synced up to %d", j.Synced())
	}
	finish(t, j)
	if got := inspect(t, dir); fmt.Sprint(got.readings()) != "[0]" {
		t.Errorf("readings %v", got.readings())
	}
}
