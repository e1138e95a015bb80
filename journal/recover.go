package journal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"edgeagg/internal/record"
)

// tail is what reading the newest segment that holds records found.
type tail struct {
	segment
	end   uint64      // seq of the last record, 0: none anywhere
	time  record.Time // of the last record
	clean bool        // the last record is the event stop
	torn  int64       // bytes behind the last record that are no record
	wreck bool        // a newer segment holds bytes but no record
	holes [][2]uint64 // records that damage took, first and last of each run
}

// recover finds the end of what is sound, settles where seq goes on, and
// notes what a reader of the journal has to know.
func (j *Journal) recover() error {
	os.Remove(filepath.Join(j.o.Dir, tempName))
	segs, strangers, err := list(j.o.Dir)
	if err != nil {
		return fmt.Errorf("journal folder: %w", err)
	}
	j.cursor = &cursor{name: filepath.Join(j.o.Dir, cursorName)}
	hint, acked, count := readCursor(j.cursor.name)
	j.cursor.count = count
	segs, id, foreign := ours(segs, hint)
	for _, s := range append(strangers, foreign...) {
		j.o.Log.Warn("file left alone", "file", s.name, "err", s.err)
	}
	sum := sha256.Sum256([]byte(j.o.Machine))
	j.machine = binary.LittleEndian.Uint64(sum[:])
	j.id, j.segs = id, segs
	if len(segs) == 0 || segs[len(segs)-1].machine != j.machine {
		j.prev = id
		j.id = newID()
	} else {
		j.prev = segs[len(segs)-1].prev
	}
	now := j.o.Now()
	j.drift = now.Wall - now.Mono
	for _, s := range segs {
		if s.base != 0 {
			j.bases[s.boot] = s.base
		}
	}
	j.base = j.bases[j.o.Boot]

	t, err := findTail(segs)
	if err != nil {
		j.o.Log.Error("newest segment cannot be read to its end", "err", err)
	}
	for _, s := range segs {
		if s.journal == hint {
			j.acked.Store(acked)
		}
	}
	for _, s := range segs {
		if s.boot == j.o.Boot && s.base == 0 && j.base == 0 && t.end >= s.first {
			if j.unset[0] == 0 {
				j.unset[0], j.drift = s.first, s.made.Wall-s.made.Mono
			}
			j.unset[1] = t.end
		}
	}
	if len(segs) > 0 {
		j.lost.Store(segs[len(segs)-1].lost)
	}
	j.resume(&t, strangers)
	j.last = t.end
	j.synced.Store(t.end)
	if t.end == 0 {
		return nil
	}
	// Records found are not synced: whoever wrote them may have been killed
	// before its fdatasync.
	if err := errors.Join(makeSafe(t.name), fsync(j.dir)); err != nil {
		j.o.Log.Error("records found on the card cannot be made safe", "err", err)
		j.synced.Store(t.first - 1)
	}
	for i := range j.segs {
		if j.segs[i].name == t.name {
			j.segs[i].bytes = t.bytes
			j.unsealed, j.unsealedBytes = t.name, t.bytes+t.torn
		}
	}
	return nil
}

func newID() (id ID) {
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// findTail reads the newest segment that has a record.
func findTail(segs []segment) (t tail, err error) {
	wreck := false
	for i := len(segs) - 1; i >= 0; i-- {
		var before uint64
		if i+1 < len(segs) {
			before = segs[i+1].first
		}
		t, err = readTail(segs[i], before)
		if t.end != 0 {
			break
		}
		wreck = wreck || t.torn > 0
	}
	t.wreck = wreck
	return t, err
}

func readTail(s segment, before uint64) (t tail, err error) {
	t.segment = s
	f, err := os.Open(s.name)
	if err != nil {
		return t, err
	}
	defer f.Close()
	sc := newScan(f, &s.head, s.bytes, before)
	var d record.Decoder
	var r record.Record
	t.bytes = headBytes
	for {
		last := sc.last
		p, seq, bad, err := sc.next()
		if err != nil {
			t.torn = bad.length
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return t, err
		}
		t.bytes = sc.off
		if seq > last+1 {
			t.holes = append(t.holes, [2]uint64{last + 1, seq - 1})
		}
		t.end, t.clean = seq, false
		if d.Decode(p, &r) == nil {
			t.time = r.Time
			t.clean = r.Kind == record.Event && r.Event == record.Stop
		}
	}
}

// resume decides where seq goes on and notes why.
func (j *Journal) resume(t *tail, strangers []stranger) {
	log := j.o.Log.With(slog.Uint64("seq", t.end))
	for _, h := range t.holes {
		log.Warn("records on the card are damaged", "first", h[0], "last", h[1], "file", t.name)
		j.known = append(j.known, h)
		j.note(&record.Record{Kind: record.Gap, Reason: record.Damage, Count: int64(h[1] - h[0] + 1), First: h[0], Last: h[1]})
	}
	// What speaks of records behind the last sound one.
	reached := max(t.end, j.acked.Load())
	if n := len(j.segs); n > 0 {
		reached = max(reached, j.segs[n-1].first-1)
	}
	for _, s := range strangers {
		if n := namedSeq(s.name); n > reached && n < 1<<62 {
			reached = n
		}
	}
	j.next = reached + 1
	if reached == 0 && !t.wreck {
		return // first use
	}
	sameBoot := t.boot == j.o.Boot
	// A segment is as long as its head says until it is sealed, and it is
	// sealed only behind a stop or once there is a next one.
	isLast := len(j.segs) > 0 && j.segs[len(j.segs)-1].name == t.name
	short := t.end != 0 && isLast && !t.clean && j.segs[len(j.segs)-1].bytes < t.size
	switch {
	case !t.clean && !sameBoot:
		j.skip(t, record.Power)
		log.Warn("the last boot ended without a stop", "torn bytes", t.torn, "next", j.next)
	case reached > t.end || short || t.wreck:
		j.skip(t, record.Damage)
		log.Warn("the end of the journal is damaged", "torn bytes", t.torn, "file", t.name, "next", j.next)
	case !t.clean:
		why := ""
		if t.torn > 0 {
			why = fmt.Sprintf("%d torn bytes at the end", t.torn)
		}
		log.Info("the last run ended without a stop", "torn bytes", t.torn)
		j.note(&record.Record{Kind: record.Event, Event: record.Recovered, Why: why})
	case t.torn > 0:
		log.Warn("bytes that are no record behind the last one", "bytes", t.torn, "file", t.name)
	}
}

// skip leaves out numbers that records now lost may have had.
func (j *Journal) skip(t *tail, reason string) {
	j.next += jump
	from := t.time
	from.Mono = 0 // maybe of another boot
	if b := j.bases[t.boot]; b != 0 && !from.Set && t.time.Mono != 0 {
		from.Wall = b + t.time.Mono
	}
	h := [2]uint64{t.end + 1, j.next - 1}
	j.known = append(j.known, h)
	j.note(&record.Record{Kind: record.Gap, Reason: reason, Count: -1, First: h[0], Last: h[1], From: from, To: j.o.Now()})
}

// makeSafe has the kernel write what an earlier process left in its cache.
func makeSafe(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		if f, err = os.Open(name); err != nil { // a card that takes nothing
			return err
		}
	}
	defer f.Close()
	return fdatasync(f)
}
