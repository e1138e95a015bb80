package journal

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edgeagg/internal/record"
)

// open opens the journal in dir as a board would in one boot.
func open(t *testing.T, dir string, change ...func(*Options)) *Journal {
	t.Helper()
	o := Options{
		Dir: dir, Device: "test", Machine: "m1", Boot: ID{1},
		MaxBytes: 1 << 30, SegmentBytes: 64 << 10, MaxRecord: 4 << 10, Keep: true,
		Now: func() record.Time {
			return record.Time{Wall: time.Now().UnixMicro(), Mono: time.Now().UnixMicro() - 1e15, Set: true}
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&o)
	}
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func reading(n int) []byte {
	return record.Append(nil, &record.Record{
		Kind: record.Reading, Source: "s", Time: record.Time{Wall: int64(n), Mono: int64(n), Set: true},
		Fields: []record.Field{{Name: "n", Type: record.Int, Int: int64(n)}},
	})
}

func stop() []byte {
	return record.Append(nil, &record.Record{Kind: record.Event, Event: record.Stop, Time: record.Time{Wall: 1, Set: true}})
}

func write(t *testing.T, j *Journal, recs ...[]byte) {
	t.Helper()
	if n, err := j.Write(recs); n != len(recs) || err != nil {
		t.Fatalf("Write took %d of %d: %v", n, len(recs), err)
	}
}

func finish(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// walk gives what a stranger's reading of dir finds, a line each.
func walk(t *testing.T, dir string) (lines []string) {
	t.Helper()
	w, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var d record.Decoder
	var r record.Record
	for {
		it, err := w.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		if it.Payload == nil {
			lines = append(lines, fmt.Sprintf("missing %d-%d %s damage %d tail %v", it.First, it.Last, it.Reason, it.Damage.Length, it.Damage.Tail))
			continue
		}
		if err := it.Decode(&d, &r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(record.AppendJSON(nil, &r)))
	}
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := open(t, dir)
	const n = 5000
	rd := j.Reader(1, func(a, b uint64) { t.Errorf("lost %d-%d", a, b) })
	defer rd.Close()
	seq := uint64(0)
	for i := range n {
		write(t, j, reading(i))
		if i%7 == 0 {
			if err := j.Sync(); err != nil {
				t.Fatal(err)
			}
			for {
				e, err := rd.Next()
				if err == io.EOF {
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
				t.Fatalf("read up to %d of %d synced", seq, i+1)
			}
		}
	}
	write(t, j, stop())
	finish(t, j)
	if got := walk(t, dir); len(got) != n+1 {
		t.Fatalf("found %d of %d: %v", len(got), n+1, got[len(got)-1])
	}
	j = open(t, dir)
	write(t, j, reading(1))
	finish(t, j)
	if got := walk(t, dir); len(got) != n+2 {
		t.Fatalf("found %d of %d", len(got), n+2)
	}
}

func TestTheLastBytesCut(t *testing.T) {
	for cut := int64(1); cut <= 300; cut++ {
		dir := t.TempDir()
		j := open(t, dir)
		for i := range 40 {
			write(t, j, reading(i))
		}
		write(t, j, stop())
		finish(t, j)
		before := walk(t, dir)
		files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
		st, _ := os.Stat(files[0])
		if err := os.Truncate(files[0], st.Size()-cut); err != nil {
			t.Fatal(err)
		}
		whole := walk(t, dir)
		j = open(t, dir)
		write(t, j, reading(99))
		finish(t, j)
		after := walk(t, dir)
		k := 0
		for k < len(whole) && k < len(before) && whole[k] == before[k] && after[k] == before[k] {
			k++
		}
		if cut == 1 || cut == 300 {
			t.Log(cut, k, len(before), after[k:])
		}
		if k == len(before) {
			t.Fatal("nothing was cut")
		}
	}
}
