package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edgeagg/internal/record"
)

// bench is a board of the test's own: its boot, its clock, its identity.
type bench struct {
	Options
	wall, mono int64
	set        bool
}

func newBench(dir string) *bench {
	b := &bench{wall: 1_700_000_000_000_000, mono: 1_000_000, set: true}
	b.Options = Options{
		Dir: dir, Device: "test", Machine: "m1", Boot: ID{1},
		MaxBytes: 1 << 30, SegmentBytes: 64 << 10, MaxRecord: 4 << 10, Keep: true,
		Now: func() record.Time {
			b.wall++
			b.mono++
			return record.Time{Wall: b.wall, Mono: b.mono, Set: b.set}
		},
		Log: slog.New(slog.DiscardHandler),
	}
	return b
}

func (b *bench) open(t testing.TB) *Journal {
	t.Helper()
	j, err := Open(b.Options)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// kill gives up the journal as SIGKILL would: what was written stays in the
// page cache, nothing else happens.
func kill(j *Journal) {
	if j.f != nil {
		j.f.Close()
	}
	_ = j.cursor.close()
	j.dir.Close()
}

func reading(n int) []byte {
	return record.Append(nil, &record.Record{
		Kind: record.Reading, Source: "s", Time: record.Time{Wall: int64(n + 1), Mono: int64(n + 1), Set: true},
		Fields: []record.Field{{Name: "n", Type: record.Int, Int: int64(n)}},
	})
}

func stop() []byte {
	return record.Append(nil, &record.Record{Kind: record.Event, Event: record.Stop, Time: record.Time{Wall: 1, Set: true}})
}

func write(t testing.TB, j *Journal, recs ...[]byte) {
	t.Helper()
	if n, err := j.Write(recs); n != len(recs) || err != nil {
		t.Fatalf("Write took %d of %d: %v", n, len(recs), err)
	}
}

func finish(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// found is what a stranger's reading of a folder gives.
type found struct {
	records map[uint64]record.Record
	order   []uint64
	missing []Item
	damage  []Damage
}

func inspect(t testing.TB, dir string) (f found) {
	t.Helper()
	f.records = make(map[uint64]record.Record)
	w, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var d record.Decoder
	for {
		it, err := w.Next()
		if errors.Is(err, io.EOF) {
			return f
		}
		if err != nil {
			t.Fatal(err)
		}
		if it.Damage.Length > 0 {
			f.damage = append(f.damage, it.Damage)
		}
		if it.First > 0 {
			f.missing = append(f.missing, it)
		}
		if it.Payload == nil {
			continue
		}
		var r record.Record
		if err := it.Decode(&d, &r); err != nil {
			t.Fatal(err)
		}
		if n := len(f.order); n > 0 && f.order[n-1] >= it.Seq {
			t.Fatalf("seq %d behind %d", it.Seq, f.order[n-1])
		}
		f.order = append(f.order, it.Seq)
		f.records[it.Seq] = r
	}
}

// gaps are the journaled gaps with a reason.
func (f found) gaps(reason string) (g []record.Record) {
	for _, seq := range f.order {
		if r := f.records[seq]; r.Kind == record.Gap && r.Reason == reason {
			g = append(g, r)
		}
	}
	return g
}

func (f found) events(name string) (e []record.Record) {
	for _, seq := range f.order {
		if r := f.records[seq]; r.Kind == record.Event && r.Event == name {
			e = append(e, r)
		}
	}
	return e
}

func (f found) readings() (n []int) {
	for _, seq := range f.order {
		if r := f.records[seq]; r.Kind == record.Reading {
			n = append(n, int(r.Fields[0].Int))
		}
	}
	return n
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWhatIsSyncedIsReadBesideTheWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := newBench(dir).open(t)
	const n = 5000
	rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
	defer rd.Close()
	seq := uint64(0)
	for i := range n {
		write(t, j, reading(i))
		if i%7 != 0 {
			continue
		}
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
		for {
			e, err := rd.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq++; e.Seq != seq || string(e.Payload) != string(reading(int(seq-1))) {
				t.Fatalf("read %d, expected %d", e.Seq, seq)
			}
		}
		if seq != uint64(i+1) {
			t.Fatalf("read up to %d, synced are %d", seq, i+1)
		}
	}
	finish(t, j)
	if got := inspect(t, dir); len(got.readings()) != n || len(got.damage)+len(got.missing) != 0 {
		t.Fatalf("found %d of %d, damage %v, missing %v", len(got.readings()), n, got.damage, got.missing)
	}
	if len(segmentFiles(t, dir)) < 2 {
		t.Error("the journal never rolled")
	}
}

func TestRecordsThatAreNotSyncedAreNotRead(t *testing.T) {
	j := newBench(t.TempDir()).open(t)
	defer finish(t, j)
	rd := j.Reader(1, nil)
	defer rd.Close()
	write(t, j, reading(1))
	if _, err := rd.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("a record that is not synced was read: %v", err)
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if e, err := rd.Next(); err != nil || e.Seq != 1 {
		t.Fatalf("%d, %v", e.Seq, err)
	}
}

// A reader on its own goroutine sees each record once while segments are
// rolled, evicted and abandoned.
func TestReaderBesideTheWriter(t *testing.T) {
	b := newBench(t.TempDir())
	b.MaxBytes = 1 << 20
	j := b.open(t)
	var wg sync.WaitGroup
	const n = 20_000
	done := make(chan struct{})
	wg.Go(func() {
		rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
		defer rd.Close()
		last := uint64(0)
		for {
			e, err := rd.Next()
			if errors.Is(err, io.EOF) {
				select {
				case <-done:
					if j.Synced() == last {
						return
					}
				default:
				}
				continue
			}
			if err != nil {
				if errors.Is(err, os.ErrNotExist) { // evicted under its hands
					continue
				}
				t.Error(err)
				return
			}
			if e.Seq <= last {
				t.Errorf("seq %d behind %d", e.Seq, last)
			}
			last = e.Seq
			if last%64 == 0 {
				if err := j.Ack(last); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range n {
		write(t, j, reading(i))
		if i%100 == 0 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if i%5000 == 4999 {
			j.abandon() // as after an error of the card
		}
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	close(done)
	wg.Wait()
	finish(t, j)
}

// After an error of the card, what was not known to be synced is written
// again, under the same numbers, and read once.
func TestAnAbandonedSegment(t *testing.T) {
	dir := t.TempDir()
	j := newBench(dir).open(t)
	write(t, j, reading(0))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, j, reading(1), reading(2))
	j.abandon()
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
	j := newBench(dir).open(t)
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

// A small journal that was stopped cleanly, byte by byte.
func stopped(t testing.TB, n int) (dir, file string, content []byte) {
	t.Helper()
	dir = t.TempDir()
	j := newBench(dir).open(t)
	for i := range n {
		write(t, j, reading(i))
		if i%10 == 9 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, j, stop())
	finish(t, j)
	file = segmentFiles(t, dir)[0]
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return dir, file, content
}

// The end of the last segment is cut off, or zeroed: every whole record stays,
// no number comes again, and a gap names what is missing.
func TestTheEndIsCutOrZeroed(t *testing.T) {
	dir, file, content := stopped(t, 40)
	whole := inspect(t, dir)
	for n := 1; n <= 300; n++ {
		for _, zero := range []bool{false, true} {
			hurt := append([]byte(nil), content...)
			if zero {
				clear(hurt[len(hurt)-n:])
				if string(hurt) == string(content) {
					continue
				}
			} else {
				hurt = hurt[:len(hurt)-n]
			}
			for _, f := range segmentFiles(t, dir) {
				os.Remove(f)
			}
			if err := os.WriteFile(file, hurt, 0o600); err != nil {
				t.Fatal(err)
			}
			kept := inspect(t, dir)
			j := newBench(dir).open(t)
			write(t, j, reading(99))
			finish(t, j)
			after := inspect(t, dir)
			k := len(kept.order)
			if k >= len(whole.order) || len(after.order) != k+2 {
				t.Fatalf("%d bytes, zeroed %v: %d of %d kept, then %d", n, zero, k, len(whole.order), len(after.order))
			}
			g := after.gaps(record.Damage)
			if len(g) != 1 || g[0].First != after.order[k-1]+1 || g[0].Last != after.order[k]-1 || g[0].Count != -1 {
				t.Fatalf("%d bytes, zeroed %v: gaps %+v", n, zero, g)
			}
			if last := whole.order[len(whole.order)-1]; after.order[k] <= last {
				t.Fatalf("%d bytes, zeroed %v: seq %d is used again", n, zero, after.order[k])
			}
		}
	}
}

// Each bit of a journal is flipped: at most one record is lost, it is named,
// and start works.
func TestEachBitIsFlipped(t *testing.T) {
	dir, file, content := stopped(t, 12)
	whole := inspect(t, dir)
	last := whole.order[len(whole.order)-1]
	for bit := range len(content) * 8 {
		// Zeros between pages are looked at in steps.
		at := bit / 8
		if content[at] == 0 && at%499 != 0 {
			continue
		}
		hurt := append([]byte(nil), content...)
		hurt[at] ^= 1 << (bit % 8)
		if err := os.WriteFile(file, hurt, 0o600); err != nil {
			t.Fatal(err)
		}
		got := inspect(t, dir)
		if lost := len(whole.order) - len(got.order); lost > 1 {
			t.Fatalf("bit %d of byte %d: %d records lost", bit%8, at, lost)
		} else if lost == 1 && got.order[len(got.order)-1] == last && (len(got.missing) != 1 || got.missing[0].First != got.missing[0].Last) {
			t.Fatalf("bit %d of byte %d: missing %+v", bit%8, at, got.missing)
		}
		for seq, r := range got.records {
			if fmt.Sprint(r) != fmt.Sprint(whole.records[seq]) {
				t.Fatalf("bit %d of byte %d: record %d is wrong: %+v", bit%8, at, seq, r)
			}
		}
		if bit%101 == 0 {
			j := newBench(dir).open(t)
			write(t, j, reading(99))
			finish(t, j)
			for _, f := range segmentFiles(t, dir)[1:] {
				os.Remove(f)
			}
		}
	}
}

// A hole in the newest segment is named once, at the next start.
func TestDamageInTheMiddleIsNamedAtStart(t *testing.T) {
	dir, file, content := stopped(t, 30)
	at := headBytes + 100
	content[at] ^= 0xff
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		j := newBench(dir).open(t)
		write(t, j, reading(99), stop())
		finish(t, j)
	}
	got := inspect(t, dir)
	g := got.gaps(record.Damage)
	if len(g) != 1 || g[0].Count != 1 || g[0].First != g[0].Last {
		t.Fatalf("gaps %+v", g)
	}
	if len(got.missing) != 1 || got.missing[0].Reason != record.Damage {
		t.Errorf("missing %+v", got.missing)
	}
}

// Damage that comes after the start is told by the reader, once.
func TestDamageBehindTheReadersBack(t *testing.T) {
	dir := t.TempDir()
	b := newBench(dir)
	j := b.open(t)
	for i := range 3000 {
		write(t, j, reading(i))
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	file := segmentFiles(t, dir)[0]
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 100), 20_000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	type span struct{ a, b uint64 }
	var told []span
	got := 0
	for range 2 {
		got = 0
		rd := j.Reader(1, func(a, b uint64) { told = append(told, span{a, b}) })
		for {
			_, err := rd.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		rd.Close()
	}
	if len(told) != 1 || uint64(got)+told[0].b-told[0].a+1 != 3000 {
		t.Errorf("read %d, told %v", got, told)
	}
	finish(t, j)
}

func TestSegmentsMissingDoubledRenamedForeign(t *testing.T) {
	make6 := func(t *testing.T) (dir string, files []string, whole found) {
		dir = t.TempDir()
		j := newBench(dir).open(t)
		for i := range 8000 {
			write(t, j, reading(i))
		}
		write(t, j, stop())
		finish(t, j)
		return dir, segmentFiles(t, dir), inspect(t, dir)
	}
	again := func(t *testing.T, dir string) found {
		j := newBench(dir).open(t)
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
		other, files, _ := make6(t)
		_ = other
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
		seal(p)
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

func TestTheFolderIsLocked(t *testing.T) {
	b := newBench(t.TempDir())
	j := b.open(t)
	if _, err := Open(b.Options); err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second Open: %v", err)
	}
	finish(t, j)
	finish(t, b.open(t))
}

func TestKillInTheSameBoot(t *testing.T) {
	b := newBench(t.TempDir())
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
	b := newBench(t.TempDir())
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
	b := newBench(t.TempDir())
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

func TestCursor(t *testing.T) {
	b := newBench(t.TempDir())
	j := b.open(t)
	write(t, j, reading(0), reading(1), reading(2), reading(3))
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 3; seq++ {
		if err := j.Ack(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Ack(2); err != nil || j.Acked() != 3 {
		t.Errorf("the cursor went back to %d: %v", j.Acked(), err)
	}
	write(t, j, stop())
	finish(t, j)
	name := filepath.Join(b.Dir, cursorName)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(p []byte) []byte
		want   uint64
	}{
		"as it was":          {func(p []byte) []byte { return p }, 3},
		"newer slot torn":    {func(p []byte) []byte { p[3%2*page+20] ^= 1; return p }, 2},
		"both slots torn":    {func(p []byte) []byte { p[20] ^= 1; p[page+20] ^= 1; return p }, 0},
		"of another journal": {func([]byte) []byte { return append(cursorSlot(ID{9}, 3, 1), make([]byte, page)...) }, 0},
		"empty":              {func([]byte) []byte { return nil }, 0},
		"garbage":            {func([]byte) []byte { return []byte("garbage") }, 0},
	} {
		if err := os.WriteFile(name, c.change(append([]byte(nil), content...)), 0o600); err != nil {
			t.Fatal(err)
		}
		j := b.open(t)
		if j.Acked() != c.want {
			t.Errorf("%s: cursor %d, expected %d", what, j.Acked(), c.want)
		}
		write(t, j, stop())
		finish(t, j)
	}
}

func TestEviction(t *testing.T) {
	for _, keep := range []bool{true, false} {
		b := newBench(t.TempDir())
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
	b := newBench(t.TempDir())
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

// Records from before the clock was set get the right time once it is, also
// from the next process; an event tells by how much.
func TestTheClockIsSetLater(t *testing.T) {
	b := newBench(t.TempDir())
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
	b := newBench(t.TempDir())
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

// Kills, power cuts, cuts of the file, moves of the cursor and clean stops in
// any order: no number names two records, and each hole has its gap.
func TestAnyOrderOfTroubles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 30 {
		b := newBench(t.TempDir())
		used := map[uint64]string{}
		n := 0
		for life := range 8 {
			j := b.open(t)
			for range rng.IntN(200) {
				p := reading(n)
				n++
				write(t, j, p)
				if rng.IntN(5) == 0 {
					if err := j.Sync(); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(40) == 0 {
					j.abandon()
				}
				if rng.IntN(20) == 0 && j.Synced() > j.Acked() {
					if err := j.Ack(j.Acked() + 1 + rng.Uint64N(j.Synced()-j.Acked())); err != nil {
						t.Fatal(err)
					}
				}
			}
			if rng.IntN(2) == 0 {
				write(t, j, stop())
				finish(t, j)
			} else {
				kill(j)
			}
			got := inspect(t, b.Dir)
			for seq, r := range got.records {
				s := fmt.Sprint(r.Kind, r.Event, r.Reason, r.Fields)
				if old, ok := used[seq]; ok && old != s {
					t.Fatalf("seq %d was %s and is %s", seq, old, s)
				}
				used[seq] = s
			}
			for _, m := range got.missing {
				if m.Reason == "" {
					t.Fatalf("life %d: no gap names %d-%d", life, m.First, m.Last)
				}
			}
			switch rng.IntN(3) {
			case 0:
				b.Boot[0]++
			case 1:
				files := segmentFiles(t, b.Dir)
				last := files[len(files)-1]
				st, err := os.Stat(last)
				if err != nil {
					t.Fatal(err)
				}
				if cut := st.Size() - rng.Int64N(60); cut > headBytes {
					if err := os.Truncate(last, cut); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

func TestWriteAndSyncAllocateNothing(t *testing.T) {
	b := newBench(t.TempDir())
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

func TestARecordThatNoSegmentHolds(t *testing.T) {
	b := newBench(t.TempDir())
	j := b.open(t)
	write(t, j, reading(0), make([]byte, b.MaxRecord+1), reading(1))
	finish(t, j)
	got := inspect(t, b.Dir)
	if g := got.gaps(record.Error); len(g) != 1 || g[0].Count != 1 || fmt.Sprint(got.readings()) != "[0 1]" {
		t.Errorf("%+v", got.records)
	}
}

// Four MiB of noise are looked through in a bounded time and memory.
func FuzzScan(f *testing.F) {
	_, _, content := stopped(f, 12)
	f.Add(content[headBytes:])
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i * 7)
	}
	f.Add(noise)
	h, err := parseHead(content)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b := append(append([]byte(nil), content[:headBytes]...), p...)
		s := newScan(readerAt(b), &h, int64(len(b)), 0)
		last, off := s.last, s.off
		for {
			payload, seq, bad, err := s.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq <= last || s.off <= off || len(payload) == 0 || bad.length < 0 {
				t.Fatalf("seq %d behind %d, offset %d behind %d, %+v", seq, last, s.off, off, bad)
			}
			last, off = seq, s.off
		}
	})
}

type readerAt []byte

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(r)) {
		return 0, io.EOF
	}
	n := copy(p, r[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func BenchmarkAppend(b *testing.B) {
	for _, batch := range []int{1, 800} {
		b.Run(fmt.Sprint(batch, " records a write"), func(b *testing.B) {
			be := newBench(b.TempDir())
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

func BenchmarkResync(b *testing.B) {
	_, _, content := stopped(b, 12)
	h, err := parseHead(content)
	if err != nil {
		b.Fatal(err)
	}
	noise := make([]byte, 4<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	b.SetBytes(int64(len(noise)))
	for b.Loop() {
		s := newScan(readerAt(append(append([]byte(nil), content[:headBytes]...), noise...)), &h, int64(headBytes+len(noise)), 0)
		if _, _, _, err := s.next(); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
