package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"edgeagg/internal/record"
)

// hurtJournal is a small journal of one segment that was stopped cleanly, to
// be hurt again and again.
type hurtJournal struct {
	*bench
	file    string
	content []byte
	frames  [][2]int // where each record's frame begins and ends in content
	whole   found
}

// newHurtJournal holds n readings and a stop, with a sync each so many.
func newHurtJournal(t testing.TB, n, sync int) *hurtJournal {
	t.Helper()
	h := &hurtJournal{bench: newBench(t, memory(t))}
	j := h.open(t)
	for i := range n {
		write(t, j, reading(i))
		if i%sync == sync-1 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, j, stop())
	finish(t, j)
	h.file = segmentFiles(t, h.Dir)[0]
	h.content = readFile(t, h.file)
	h.whole = inspect(t, h.Dir)
	hd, err := parseHead(h.content)
	if err != nil {
		t.Fatal(err)
	}
	s := newScan(bytes.NewReader(h.content), &hd, int64(len(h.content)), 0)
	for {
		p, _, _, err := s.next()
		if err != nil {
			break
		}
		h.frames = append(h.frames, [2]int{int(s.off) - frameBytes(len(p)), int(s.off)})
	}
	if len(h.frames) != n+1 {
		t.Fatalf("%d frames of %d", len(h.frames), n+1)
	}
	return h
}

// hurt puts the folder back to the one segment, changed.
func (h *hurtJournal) hurt(t testing.TB, change func(p []byte) []byte) {
	t.Helper()
	for _, f := range append(segmentFiles(t, h.Dir), filepath.Join(h.Dir, lockName)) {
		os.Remove(f)
	}
	if err := os.WriteFile(h.file, change(append([]byte(nil), h.content...)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// touched are the records whose frames are not as they were.
func (h *hurtJournal) touched(t testing.TB) map[uint64]bool {
	t.Helper()
	p, lost := readFile(t, h.file), map[uint64]bool{}
	for i, f := range h.frames {
		if f[1] > len(p) || string(p[f[0]:f[1]]) != string(h.content[f[0]:f[1]]) {
			lost[uint64(i)+1] = true
		}
	}
	return lost
}

// used is where the last record ends.
func (h *hurtJournal) used() int { return h.frames[len(h.frames)-1][1] }

// startAgain opens the hurt journal, writes one reading, and gives what is found then.
func (h *hurtJournal) startAgain(t testing.TB) found {
	t.Helper()
	j := h.open(t)
	write(t, j, reading(99))
	finish(t, j)
	return inspect(t, h.Dir)
}

// The end of the last segment is cut off, or zeroed: every whole record stays,
// no number comes again, and a gap names what is missing.
func TestTheEndIsCutOrZeroed(t *testing.T) {
	h := newHurtJournal(t, 40, 10)
	last := h.whole.order[len(h.whole.order)-1]
	for n := 1; n <= 300; n++ {
		for what, change := range map[string]func([]byte) []byte{
			"cut":    func(p []byte) []byte { return p[:h.used()-n] },
			"zeroed": func(p []byte) []byte { clear(p[h.used()-n:]); return p },
		} {
			h.hurt(t, change)
			sound := len(h.frames) - len(h.touched(t))
			if sound == len(h.frames) {
				continue // the last bytes were zeros before
			}
			if kept := inspect(t, h.Dir); len(kept.order) != sound {
				t.Fatalf("%d bytes %s: %d records are read, %d are whole", n, what, len(kept.order), sound)
			}
			after := h.startAgain(t)
			if len(after.order) != sound+2 {
				t.Fatalf("%d bytes %s: %v", n, what, after.order)
			}
			g := after.gaps(record.Damage)
			if len(g) != 1 || g[0].First != uint64(sound)+1 || g[0].Last != after.order[sound]-1 || g[0].Count != -1 {
				t.Fatalf("%d bytes %s: gaps %+v", n, what, g)
			}
			if after.order[sound] <= last+jump/2 {
				t.Fatalf("%d bytes %s: seq %d after %d", n, what, after.order[sound], last)
			}
		}
	}
}

// The padding behind the last record is cut, or more of it follows: nothing is lost.
func TestThePaddingAtTheEndIsCut(t *testing.T) {
	h := newHurtJournal(t, 40, 10)
	for what, change := range map[string]func([]byte) []byte{
		"to nothing":     func(p []byte) []byte { return p[:h.used()] },
		"by a byte":      func(p []byte) []byte { return p[:len(p)-1] },
		"zeros follow":   func(p []byte) []byte { return append(p, make([]byte, 10_000)...) },
		"a byte follows": func(p []byte) []byte { return append(p, 1) },
	} {
		h.hurt(t, change)
		after := h.startAgain(t)
		if len(after.order) != len(h.whole.order)+1 || after.order[len(after.order)-1] != uint64(len(after.order)) || len(after.missing) != 0 {
			t.Errorf("%s: records %v, missing %+v", what, after.order, after.missing)
		}
	}
}

// Each bit of a journal is flipped: at most the record in which it lies is
// lost, it is named, and start works.
func TestEachBitIsFlipped(t *testing.T) {
	h := newHurtJournal(t, 12, 5)
	n := len(h.frames)
	for bit := range len(h.content) * 8 {
		at, touched := bit/8, -1
		for i, f := range h.frames {
			if f[0] <= at && at < f[1] {
				touched = i
			}
		}
		if h.content[at] == 0 && touched < 0 && at%331 != 0 {
			continue // zeros between records are tried in steps
		}
		h.hurt(t, func(p []byte) []byte { p[at] ^= 1 << (bit % 8); return p })
		got := inspect(t, h.Dir)
		want := n
		if touched >= 0 {
			want--
		}
		if len(got.order) != want || touched >= 0 && got.records[uint64(touched)+1].Kind != 0 {
			t.Fatalf("bit %d of byte %d, in record %d: %d of %d are read", bit%8, at, touched+1, len(got.order), n)
		}
		for seq, r := range got.records {
			if fmt.Sprint(r) != fmt.Sprint(h.whole.records[seq]) {
				t.Fatalf("bit %d of byte %d: record %d is wrong: %+v", bit%8, at, seq, r)
			}
		}
		if touched >= 0 && len(got.damage) == 0 || at >= headBytes && touched < 0 && len(got.damage) == 0 {
			t.Fatalf("bit %d of byte %d: no damage is told", bit%8, at)
		}
		if touched >= 0 && touched < n-1 && (len(got.missing) != 1 || got.missing[0].First != uint64(touched)+1 || got.missing[0].Last != uint64(touched)+1) {
			t.Fatalf("bit %d of byte %d: missing %+v", bit%8, at, got.missing)
		}
		if bit%61 == 0 {
			for _, m := range h.startAgain(t).missing {
				if m.Reason != record.Damage {
					t.Fatalf("bit %d of byte %d: after start no gap names %d to %d", bit%8, at, m.First, m.Last)
				}
			}
		}
	}
}

// A page of the journal reads as zeros, as noise, or as the same page of
// another segment: only the records that touch it are lost, by name.
func TestAPageIsLost(t *testing.T) {
	h := newHurtJournal(t, 1200, 400)
	other := newHurtJournal(t, 1200, 400)
	for at := 0; at < len(h.content); at += page {
		for what, change := range map[string]func([]byte){
			"zeros": func(p []byte) { clear(p) },
			"noise": func(p []byte) {
				for i := range p {
					p[i] = byte(i*i>>3 ^ i)
				}
			},
			"foreign": func(p []byte) { copy(p, other.content[at:]) },
		} {
			if at == 0 && what == "foreign" {
				continue // a foreign head makes a foreign segment
			}
			h.hurt(t, func(p []byte) []byte { change(p[at:min(len(p), at+page)]); return p })
			lost := h.touched(t)
			got := inspect(t, h.Dir)
			for seq := range h.whole.records {
				if _, ok := got.records[seq]; ok == lost[seq] {
					t.Fatalf("page at %d is %s: record %d is read: %v", at, what, seq, ok)
				}
			}
			if atEnd := at+page >= len(h.content); len(lost) > 0 && len(got.damage) == 0 && (!atEnd || what != "zeros") {
				t.Fatalf("page at %d is %s: no damage is told", at, what)
			}
			after := h.startAgain(t)
			for seq := range lost {
				named := false
				for _, g := range after.gaps(record.Damage) {
					named = named || g.First <= seq && seq <= g.Last
				}
				if !named {
					t.Fatalf("page at %d is %s: no gap names %d", at, what, seq)
				}
			}
		}
	}
}

// A page that held one whole record and is zero now is not taken for padding.
func TestAPageOfOneRecordIsZeroed(t *testing.T) {
	h := newHurtJournal(t, 8, 1)
	for i, f := range h.frames[:8] {
		h.hurt(t, func(p []byte) []byte { clear(p[f[0] : f[0]+page]); return p })
		got := inspect(t, h.Dir)
		if seq := uint64(i) + 1; len(got.damage) != 1 || got.damage[0].Tail || len(got.missing) != 1 || got.missing[0].First != seq || got.missing[0].Last != seq {
			t.Errorf("record %d: damage %+v, missing %+v", seq, got.damage, got.missing)
		}
	}
}

// A hole in the newest segment is named once, at the next start.
func TestDamageInTheMiddleIsNamedOnce(t *testing.T) {
	h := newHurtJournal(t, 30, 10)
	h.hurt(t, func(p []byte) []byte { p[h.frames[4][0]] ^= 0xff; return p })
	for range 2 {
		j := h.open(t)
		if j.Lost() > 1 {
			t.Errorf("%d lost", j.Lost())
		}
		write(t, j, reading(99), stop())
		finish(t, j)
	}
	got := inspect(t, h.Dir)
	if g := got.gaps(record.Damage); len(g) != 1 || g[0].Count != 1 || g[0].First != 5 || g[0].Last != 5 {
		t.Fatalf("gaps %+v", g)
	}
	if len(got.missing) != 1 || got.missing[0].Reason != record.Damage {
		t.Errorf("missing %+v", got.missing)
	}
}

func TestSegmentsMissingDoubledRenamedForeign(t *testing.T) {
	make6 := func(t *testing.T) (dir string, files []string, whole found) {
		dir = memory(t)
		j := newBench(t, dir).open(t)
		for i := range 8000 {
			write(t, j, reading(i))
		}
		write(t, j, stop())
		finish(t, j)
		return dir, segmentFiles(t, dir), inspect(t, dir)
	}
	again := func(t *testing.T, dir string) found {
		j := newBench(t, dir).open(t)
		write(t, j, reading(9999), stop())
		finish(t, j)
		return inspect(t, dir)
	}
	t.Run("missing in the middle", func(t *testing.T) {
		dir, files, whole := make6(t)
		os.Remove(files[1])
		got := again(t, dir)
		if len(got.missing) != 1 || int(got.missing[0].Last-got.missing[0].First+1) != len(whole.order)+2-len(got.order) {
			t.Errorf("%d records, missing %+v", len(got.order), got.missing)
		}
	})
	t.Run("none: each sealed one is shorter than its head says", func(t *testing.T) {
		dir, files, _ := make6(t)
		for _, name := range files {
			if h, size, err := headOf(name); err != nil || size >= h.size || size%page != 0 {
				t.Errorf("%s of %s: %d bytes of %d: %v", name, dir, size, h.size, err)
			}
		}
	})
	t.Run("the first is missing", func(t *testing.T) {
		dir, files, whole := make6(t)
		os.Remove(files[0])
		before := inspect(t, dir)
		if len(before.missing) != 1 || before.missing[0].First != 1 || before.missing[0].Last != before.order[0]-1 {
			t.Errorf("before start: missing %+v", before.missing)
		}
		got := again(t, dir)
		if g := got.gaps(record.Damage); len(g) != 1 || g[0].First != 1 || int(g[0].Count) != len(whole.order)+3-len(got.order) {
			t.Errorf("%d records, gaps %+v", len(got.order), g)
		}
	})
	t.Run("missing at the end, behind a clean stop", func(t *testing.T) {
		dir, _, _ := make6(t)
		got := again(t, dir)
		files := segmentFiles(t, dir)
		os.Remove(files[len(files)-1])
		after := again(t, dir)
		if g := after.gaps(record.Damage); len(g) != 1 || g[0].Last < got.order[len(got.order)-1] {
			t.Errorf("gaps %+v", g)
		}
	})
	t.Run("missing at the end", func(t *testing.T) {
		dir, files, whole := make6(t)
		os.Remove(files[len(files)-1])
		got := again(t, dir)
		g := got.gaps(record.Damage)
		if len(g) != 1 || g[0].Last < whole.order[len(whole.order)-1] {
			t.Errorf("gaps %+v", g)
		}
	})
	t.Run("doubled", func(t *testing.T) {
		dir, files, whole := make6(t)
		b, err := os.ReadFile(files[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "copy.seg"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := again(t, dir); len(got.order) != len(whole.order)+2 || len(got.missing)+len(got.damage) != 0 {
			t.Errorf("%d records of %d, %+v", len(got.order), len(whole.order)+2, got.missing)
		}
	})
	t.Run("renamed", func(t *testing.T) {
		dir, files, whole := make6(t)
		if err := os.Rename(files[0], filepath.Join(dir, "zzz.seg")); err != nil {
			t.Fatal(err)
		}
		if got := again(t, dir); len(got.order) != len(whole.order)+2 {
			t.Errorf("%d records of %d", len(got.order), len(whole.order)+2)
		}
	})
	t.Run("foreign", func(t *testing.T) {
		dir, _, whole := make6(t)
		_, files, _ := make6(t)
		b, err := os.ReadFile(files[1])
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "other.seg")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "photo.seg"), []byte("not a segment"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := again(t, dir); len(got.order) != len(whole.order)+2 {
			t.Errorf("%d records of %d", len(got.order), len(whole.order)+2)
		}
		if now, err := os.ReadFile(name); err != nil || string(now) != string(b) {
			t.Errorf("the foreign file was touched: %v", err)
		}
	})
	t.Run("more foreign ones than own ones", func(t *testing.T) {
		dir := memory(t)
		other := newBench(t, dir)
		other.Machine = "m2"
		j := other.open(t)
		for i := range 8000 {
			write(t, j, reading(i))
		}
		finish(t, j)
		b := newBench(t, memory(t))
		j = b.open(t)
		id := j.ID()
		write(t, j, reading(0), stop())
		finish(t, j)
		for _, name := range segmentFiles(t, dir) {
			if err := os.WriteFile(filepath.Join(b.Dir, "other"+filepath.Base(name)), readFile(t, name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		j = b.open(t)
		if j.ID() != id || j.NextSeq() != 3 {
			t.Errorf("without a cursor: journal %s goes on at %d", j.ID(), j.NextSeq())
		}
		if err := j.Ack(1); err != nil {
			t.Fatal(err)
		}
		finish(t, j)
		if got := inspect(t, b.Dir); fmt.Sprint(got.readings()) != "[0]" {
			t.Errorf("with a cursor, from outside: %d readings", len(got.readings()))
		}
	})
	t.Run("of a later version", func(t *testing.T) {
		dir, files, whole := make6(t)
		last := files[len(files)-1]
		b, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		h, err := parseHead(b)
		if err != nil {
			t.Fatal(err)
		}
		p := h.append(nil)
		p[7] = version + 1
		signHead(p)
		copy(b, p)
		copy(b[page:], p)
		if err := os.WriteFile(last, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got := again(t, dir)
		if seq := got.order[len(got.order)-1]; seq <= whole.order[len(whole.order)-1] {
			t.Errorf("seq %d may stand in the later version's segment too", seq)
		}
		if now, err := os.ReadFile(last); err != nil || string(now) != string(b) {
			t.Errorf("the later version's segment was touched: %v", err)
		}
	})
}
