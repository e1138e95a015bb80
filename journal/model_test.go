package journal

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

// key is a record's identity everywhere.
type key struct {
	journal ID
	seq     uint64
}

type content struct {
	kind        record.Kind
	name        string
	reading     int64
	first, last uint64
}

// fate is a journal's folder through many lives, and what may be expected of it.
type fate struct {
	*bench
	t     *testing.T
	rng   *rand.Rand
	log   []string
	names map[key]content // what each was seen to be
	n     int             // readings handed over
	alive map[int]bool    // readings that have to be there

	evicted bool // the oldest ones were, in the last life
	cut     bool // it ended with a power cut

	decoder record.Decoder
	fields  []record.Field
}

// Stops, kills, power cuts, a card that refuses, evictions, a clock that is set
// late and damage of every kind, in any order: no number ever names two
// records, nothing that was safe and not damaged is lost, and each hole has
// its gap in the end. EDGEAGG_SEED repeats a run.
func TestAnyOrderOfTroubles(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("EDGEAGG_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("EDGEAGG_SEED=%d", seed)
	for run := range uint64(6) {
		f := &fate{
			bench: newBench(t, memory(t)), t: t, rng: rand.New(rand.NewPCG(seed, run)),
			names: map[key]content{}, alive: map[int]bool{},
		}
		f.MaxBytes = 512 << 10
		for range 10 {
			f.live()
			f.look("after its life")
			if f.rng.IntN(2) == 0 {
				f.damage()
				f.alive = map[int]bool{}
				for _, n := range f.look("after damage").readings() {
					f.alive[n] = true
				}
			}
			if t.Failed() {
				t.Fatalf("run %d of seed %d: %q", run, seed, f.log)
			}
		}
	}
}

func (f *fate) did(what string, v ...any) { f.log = append(f.log, fmt.Sprintf(what, v...)) }

// live is one process: it starts, names what is missing, writes, and ends.
func (f *fate) live() {
	t, rng := f.t, f.rng
	if f.set = f.set || rng.IntN(2) == 0; f.set {
		f.did("clock set")
	}
	j := f.open(t)
	f.did("open next %d acked %d", j.NextSeq(), j.Acked())
	first := j.First()
	f.read(j)
	var taken []int
	safe := 0
	for range rng.IntN(60) {
		var p [][]byte
		for range 1 + rng.IntN(20) {
			p = append(p, padded(f.n+len(p), rng.IntN(400)))
		}
		k, err := j.Write(p)
		if err != nil {
			t.Errorf("Write: %v", err)
		}
		for i := range k {
			taken = append(taken, f.n+i)
		}
		f.n += len(p)
		switch rng.IntN(12) {
		case 0, 1, 2:
			if err := j.Sync(); err != nil {
				t.Errorf("Sync: %v", err)
			}
			safe = len(taken)
		case 3:
			real := fdatasync
			fdatasync = func(*os.File) error { return unix.EIO }
			if err := j.Sync(); err == nil && len(j.pending) > 0 {
				t.Error("Sync on a card that refuses succeeded")
			}
			fdatasync = real
			f.did("sync refused")
		case 4: // a write that fails half way
			half := appendFrame(nil, j.salted, j.next, reading(-1))
			if _, err := j.f.WriteAt(half[:len(half)-rng.IntN(3)], j.off); err != nil {
				t.Fatal(err)
			}
			j.leave()
			f.did("write refused")
		case 5:
			if s, a := j.Synced(), j.Acked(); s > a {
				if err := j.Ack(a + 1 + rng.Uint64N(s-a)); err != nil {
					t.Errorf("Ack: %v", err)
				}
			}
		}
	}
	f.cut = false
	switch rng.IntN(3) {
	case 0:
		write(t, j, stop())
		finish(t, j)
		f.did("stopped")
	case 1:
		kill(j)
		f.did("killed")
	case 2:
		f.did("power cut, %d of %d safe", safe, len(taken))
		taken, f.cut = taken[:safe], true
		f.Boot[0]++
		f.set, f.mono = false, 1_000_000
		if len(j.segs) == 0 {
			kill(j)
			break
		}
		losePower(t, j, func(p []byte) {
			for i := 0; i < len(p); i += page {
				switch at := p[i:min(len(p), i+page)]; rng.IntN(3) {
				case 0:
					clear(at)
				case 1:
					for k := range at[:rng.IntN(len(at))] {
						at[k] = byte(rng.Uint32())
					}
				}
			}
		})
	}
	f.evicted = j.First() != first
	for _, n := range taken {
		f.alive[n] = true
	}
}

// read has a reader tell what is missing, and journals that as the uplink does.
func (f *fate) read(j *Journal) {
	var gaps [][]byte
	rd := j.Reader(1, func(first, last uint64) {
		gaps = append(gaps, record.Append(nil, &record.Record{
			Kind: record.Gap, Time: f.Now(), Reason: record.Damage, Count: int64(last - first + 1), First: first, Last: last,
		}))
	})
	defer rd.Close()
	for {
		e, err := rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			f.t.Fatal(err)
		}
		f.see(e)
	}
	write(f.t, j, gaps...)
	if err := j.Sync(); err != nil {
		f.t.Error(err)
	}
}

// see checks that a number names what it named before.
func (f *fate) see(e Entry) {
	r := record.Record{Fields: f.fields}
	if err := f.decoder.Decode(e.Payload, &r); err != nil {
		f.t.Fatalf("record %d: %v", e.Seq, err)
	}
	f.fields = r.Fields
	c := content{kind: r.Kind, name: r.Event + r.Reason, first: r.First, last: r.Last}
	if r.Kind == record.Reading {
		c.reading = r.Fields[0].Int
	}
	k := key{e.Journal, e.Seq}
	if was, ok := f.names[k]; ok && was != c {
		f.t.Errorf("%d was %+v and is %+v", e.Seq, was, c)
	}
	f.names[k] = c
}

// look reads the folder from outside.
func (f *fate) look(when string) found {
	got := inspect(f.t, f.Dir)
	for _, e := range got.entries {
		f.see(e)
	}
	there := map[int]bool{}
	for _, n := range got.readings() {
		there[n] = true
	}
	for n := range f.alive {
		switch {
		case there[n]:
		case f.evicted && n < got.readings()[0]:
			delete(f.alive, n)
		default:
			f.t.Errorf("%s: reading %d is missing", when, n)
		}
	}
	if when == "after its life" && !f.cut { // what a power cut took the next start names
		for _, m := range got.missing {
			if m.Reason == "" {
				f.t.Errorf("%s: no gap names %d to %d", when, m.First, m.Last)
			}
		}
	}
	return got
}

// damage does something to the folder that no program should.
func (f *fate) damage() {
	t, rng := f.t, f.rng
	files := segmentFiles(t, f.Dir)
	if len(files) == 0 {
		return
	}
	name := files[rng.IntN(len(files))]
	p := readFile(t, name)
	other := filepath.Join(f.Dir, strconv.Itoa(rng.IntN(1e6))+suffix)
	at := rng.IntN(len(p))
	what := rng.IntN(9)
	f.did("damage %d to %s at %d", what, filepath.Base(name), at)
	var err error
	switch what {
	case 0:
		err = os.Truncate(name, int64(at))
	case 1:
		err = os.Truncate(name, int64(max(0, len(p)-rng.IntN(300))))
	case 2:
		p[at] ^= 1 << rng.IntN(8)
		err = os.WriteFile(name, p, 0o600)
	case 3:
		for i := range p[at:min(len(p), at+rng.IntN(3*page))] {
			p[at+i] = byte(rng.Uint32())
		}
		err = os.WriteFile(name, p, 0o600)
	case 4:
		err = os.Remove(name)
	case 5:
		err = os.Rename(name, other)
	case 6:
		err = os.WriteFile(other, p, 0o600)
	case 7:
		err = os.Truncate(filepath.Join(f.Dir, cursorName), int64(rng.IntN(page)))
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	case 8:
		err = os.WriteFile(other, p[:rng.IntN(page)], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// padded is a reading with a text of n bytes.
func padded(v, n int) []byte {
	return record.Append(nil, &record.Record{
		Kind: record.Reading, Source: "s", Time: record.Time{Wall: 1, Mono: 1, Set: true},
		Fields: []record.Field{{Name: "n", Type: record.Int, Int: int64(v)}, {Name: "text", Type: record.String, Text: string(make([]byte, n))}},
	})
}
