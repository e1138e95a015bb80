package journal

import (
	"fmt"
	"testing"
	"time"

	"edgeagg/internal/record"
)

func TestKillInTheSameBoot(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1))
	kill(j)
	j = b.open(t)
	if j.Synced() != 2 {
		t.Errorf("synced up to %d", j.Synced())
	}
	write(t, j, reading(2))
	finish(t, j)
	got := inspect(t, b.Dir)
	if fmt.Sprint(got.order) != "[1 2 3 4]" || len(got.events(record.Recovered)) != 1 || len(got.gaps(record.Power)) != 0 {
		t.Errorf("seqs %v, %+v", got.order, got.records)
	}
}

func TestPowerCut(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), reading(1))
	kill(j)
	b.Boot = ID{2}
	j = b.open(t)
	write(t, j, reading(2), stop())
	finish(t, j)
	got := inspect(t, b.Dir)
	g := got.gaps(record.Power)
	if len(g) != 1 || g[0].First != 3 || g[0].Last != jump+2 || g[0].Count != -1 || g[0].Seq != jump+3 {
		t.Fatalf("power gaps %+v", g)
	}
	if len(got.missing) != 1 || got.missing[0].Reason != record.Power {
		t.Errorf("missing %+v", got.missing)
	}
	// After a clean stop another boot goes on without a jump.
	b.Boot = ID{3}
	j = b.open(t)
	write(t, j, reading(3))
	finish(t, j)
	if after := inspect(t, b.Dir); after.order[len(after.order)-1] != got.order[len(got.order)-1]+1 {
		t.Errorf("seqs %v", after.order)
	}
}

// The cursor is ahead of what the card holds: those numbers do not come again.
func TestTheCursorIsAheadOfTheJournal(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), stop())
	if err := j.Ack(500); err != nil {
		t.Fatal(err)
	}
	finish(t, j)
	j = b.open(t)
	if j.Acked() != 500 {
		t.Errorf("cursor %d", j.Acked())
	}
	write(t, j, reading(1))
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Damage); len(g) != 1 || g[0].First != 3 || g[0].Last < 500 {
		t.Errorf("gaps %+v", g)
	}
}

// Records from before the clock was set get the right time once it is, also
// from the next process; an event tells by how much.
func TestTheClockIsSetLater(t *testing.T) {
	b := newBench(t, memory(t))
	b.set, b.wall = false, 1000
	early := func(j *Journal, n int64) {
		now := b.Now()
		write(t, j, record.Append(nil, &record.Record{Kind: record.Reading, Source: "s", Time: now, Fields: []record.Field{{Name: "n", Type: record.Int, Int: n}}}))
	}
	j := b.open(t)
	early(j, 0)
	early(j, 1)
	kill(j)
	j = b.open(t) // a second process of the same boot
	early(j, 2)
	if got := inspect(t, b.Dir); got.records[1].Corrected || got.records[1].Time.Wall > 1e9 {
		t.Errorf("before: %+v", got.records[1])
	}
	moved := int64(1_800_000_000_000_000)
	b.wall += moved
	b.set = true
	early(j, 3)
	if !j.ClockSet() {
		t.Error("the journal has not seen it")
	}
	write(t, j, stop())
	finish(t, j)
	got := inspect(t, b.Dir)
	e := got.events(record.ClockSet)
	if len(e) != 1 || e[0].First != 1 || e[0].Last != 4 || e[0].Offset != time.Duration(moved)*time.Microsecond {
		t.Fatalf("clock events %+v", e)
	}
	last := int64(0)
	for _, seq := range got.order[:4] {
		r := got.records[seq]
		if !r.Corrected || r.Time.Wall < moved || r.Time.Wall <= last {
			t.Errorf("record %d: %+v", seq, r.Time)
		}
		last = r.Time.Wall
	}
	// The next process of this boot knows, though its clock says nothing.
	b.set = false
	j = b.open(t)
	if !j.ClockSet() {
		t.Error("forgotten")
	}
	finish(t, j)
}

// On another board the folder becomes another journal; the backlog keeps its id.
func TestAClonedCard(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	old := j.ID()
	write(t, j, reading(0), stop())
	finish(t, j)
	b.Machine, b.Device = "m2", "twin"
	for range 2 {
		j = b.open(t)
		if j.ID() == old {
			t.Fatal("the journal kept its id on another board")
		}
		write(t, j, reading(1), stop())
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		rd := j.Reader(1, nil)
		e, err := rd.Next()
		if err != nil || e.Journal != old || e.Device != "test" {
			t.Errorf("backlog: %+v, %v", e, err)
		}
		rd.Close()
		finish(t, j)
	}
	w, err := Inspect(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[ID]bool{}
	for {
		it, err := w.Next()
		if err != nil {
			break
		}
		ids[it.Journal] = true
	}
	w.Close()
	if len(ids) != 2 || len(w.Foreign) != 0 {
		t.Errorf("%d journals, left out %v", len(ids), w.Foreign)
	}
}
