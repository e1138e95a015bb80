package journal

import (
	"bytes"
	"fmt"
	"os"
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

// Close without a stop is as if the process had been killed.
func TestCloseWithoutAStop(t *testing.T) {
	b := newBench(t, memory(t))
	for range 3 {
		j := b.open(t)
		write(t, j, reading(0))
		finish(t, j)
	}
	got := inspect(t, b.Dir)
	if fmt.Sprint(got.order) != "[1 2 3 4 5]" || len(got.events(record.Recovered)) != 2 {
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

// losePower gives up the journal as a power cut would: what was not synced is
// as the card left it.
func losePower(t testing.TB, j *Journal, left func(p []byte)) {
	t.Helper()
	last := j.segs[len(j.segs)-1]
	kill(j)
	p := readFile(t, last.name)
	left(p[whole(last.bytes):])
	if err := os.WriteFile(last.name, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

func toZeros(p []byte) { clear(p) }

// A boot that lost all that it wrote was a boot all the same: what it may have
// shown under a number is not shown again under the same.
func TestPowerCutBeforeTheFirstSync(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0), stop())
	finish(t, j)
	b.Boot = ID{2}
	j = b.open(t)
	write(t, j, reading(1))
	losePower(t, j, toZeros)
	b.Boot = ID{3}
	j = b.open(t)
	write(t, j, reading(2))
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Power); len(g) != 1 || g[0].First != 3 || g[0].Last != jump+2 || fmt.Sprint(got.readings()) != "[0 2]" {
		t.Errorf("gaps %+v, seqs %v", g, got.order)
	}
}

// A start after a power cut that is killed before it wrote a reading loses
// neither the gap nor the jump, and the next one does not jump again.
func TestKillRightAfterAPowerCut(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0))
	kill(j)
	b.Boot = ID{2}
	j = b.open(t)
	write(t, j)
	kill(j)
	j = b.open(t)
	write(t, j, reading(1))
	finish(t, j)
	got := inspect(t, b.Dir)
	if fmt.Sprint(got.order) != fmt.Sprint([]uint64{1, jump + 2, jump + 3, jump + 4}) || len(got.gaps(record.Power)) != 1 || len(got.events(record.Recovered)) != 1 {
		t.Errorf("seqs %v: %+v", got.order, got.records)
	}
}

// The gap that names a jump is damaged: the gap over it names the jump too.
func TestTheGapOverAJumpIsDamaged(t *testing.T) {
	b := newBench(t, memory(t))
	j := b.open(t)
	write(t, j, reading(0))
	kill(j)
	b.Boot = ID{2}
	j = b.open(t)
	write(t, j, reading(1), stop())
	name := j.f.Name()
	finish(t, j)
	p := readFile(t, name)
	p[headBytes] ^= 1
	if err := os.WriteFile(name, p, 0o600); err != nil {
		t.Fatal(err)
	}
	j = b.open(t)
	write(t, j, stop())
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Damage); len(g) != 1 || g[0].First != 2 || g[0].Last != jump+2 || g[0].Count != -1 {
		t.Errorf("gaps %+v", g)
	}
	j = b.open(t)
	j.known = nil // as if a reader had to find it: later starts do not look at older segments
	var lost []uint64
	rd := j.Reader(1, func(first, last uint64) { lost = append(lost, first, last) })
	for range len(got.order) {
		if _, err := rd.Next(); err != nil {
			t.Fatal(err)
		}
	}
	rd.Close()
	finish(t, j)
	if fmt.Sprint(lost) != fmt.Sprint([]uint64{2, jump + 2}) {
		t.Errorf("a reader tells %v", lost)
	}
	for _, m := range got.missing {
		if m.Reason != record.Damage {
			t.Errorf("missing %+v", m)
		}
	}
}

// A process is killed in the middle of a write, which stops at the end of a
// page: its record was never taken, and no number is lost. Other bytes behind
// the last record may have been one: its number does not come again.
func TestBytesBehindTheLastRecordAfterAKill(t *testing.T) {
	for what, c := range map[string]struct {
		stop  int // bytes of the frame that are there
		spoil bool
		jump  bool
	}{
		"write stopped": {stop: page}, "whole": {stop: 3000, spoil: true, jump: true}, "noise": {stop: 100, spoil: true, jump: true},
	} {
		b := newBench(t, memory(t))
		b.MaxRecord = 8 << 10
		j := b.open(t)
		write(t, j, reading(0))
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		p := append(reading(1), bytes.Repeat([]byte{7}, 2*page)...)[:5000]
		if c.spoil {
			p = p[:3000-8]
		}
		frame := appendFrame(nil, j.salted, 2, p)
		if c.spoil {
			frame[0] ^= 1
		}
		if _, err := j.f.WriteAt(frame[:min(c.stop, len(frame))], whole(j.off)); err != nil {
			t.Fatal(err)
		}
		kill(j)
		j = b.open(t)
		write(t, j, reading(2))
		finish(t, j)
		got := inspect(t, b.Dir)
		if jumped := got.order[1] > jump; jumped != c.jump || len(got.order) != 3 || fmt.Sprint(got.readings()) != "[0 2]" {
			t.Errorf("%s: seqs %v", what, got.order)
		}
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
	// The cursor names the old journal until the new one has uploaded something.
	j = b.open(t)
	if err := j.Ack(1); err != nil {
		t.Fatal(err)
	}
	write(t, j, stop())
	finish(t, j)
	b.Machine, b.Device = "m2", "twin"
	var twin ID
	for range 2 {
		j = b.open(t)
		if j.ID() == old {
			t.Fatal("the journal kept its id on another board")
		}
		if twin == (ID{}) {
			twin = j.ID()
		}
		if j.ID() != twin {
			t.Fatal("the journal got another id at each start")
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
