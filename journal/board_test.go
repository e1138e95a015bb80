package journal

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"edgeagg/internal/record"
)

// bench is a board of the test's own: its boot, its clock, its identity.
type bench struct {
	Options
	wall, mono int64
	set        bool
}

func newBench(_ testing.TB, dir string) *bench {
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
	entries []Entry
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
		it.Payload = append([]byte(nil), it.Payload...)
		f.entries = append(f.entries, it.Entry)
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

// memory is a folder that ends with the test, in memory where there is such a
// place: most tests sync often, and few need a card for that.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "journal")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
