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
	stop  bool        // the last record is the event stop
	lost  uint64      // records that the segment's gaps name as missing
	used  int64       // bytes of the segment up to its last record
	torn  int64       // bytes behind that which are no record
	half  bool        // they are what a kill leaves of a write
	holes [][2]uint64 // records that damage took, first and last of each run
}

// recover finds the end of what is sound, settles where seq goes on, and
// notes what a reader of the journal has to know. mark is the seq with which
// the newest segment should begin.
func (j *Journal) recover(mark uint64) error {
	os.Remove(filepath.Join(j.o.Dir, tempName))
	segs, strangers, err := list(j.o.Dir)
	if err != nil {
		return fmt.Errorf("journal folder: %w", err)
	}
	sum := sha256.Sum256([]byte(j.o.Machine))
	j.machine = binary.LittleEndian.Uint64(sum[:])
	hint, acked, count := readCursor(j.cursor.name)
	j.cursor.count = count
	segs, id, foreign := ours(segs, hint, j.machine)
	for _, s := range append(strangers, foreign...) {
		j.o.Log.Warn("file left alone", "file", s.name, "err", s.err)
	}
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
		if s.journal == hint {
			j.acked.Store(acked)
			j.cursor.seq.Store(acked)
		}
		j.made = max(j.made, s.number)
	}
	j.base = j.bases[j.o.Boot]
	t, newest := j.findTail()
	for _, s := range segs {
		if s.boot == j.o.Boot && j.base == 0 && t.end >= s.first {
			if j.unset[0] == 0 {
				j.unset[0], j.drift = s.first, s.made.Wall-s.made.Mono
			}
			j.unset[1] = t.end
		}
	}
	j.lost.Store(max(newest.head.lost, t.head.lost+t.lost))
	j.resume(&t, &newest, mark, strangers)
	j.last = t.end
	j.synced.Store(t.end)
	if len(segs) > 0 {
		j.unsealed, j.unsealedBytes = newest.name, newest.used+newest.torn
		j.segs[len(segs)-1].bytes = newest.used
	}
	if t.end == 0 {
		return nil
	}
	// Records found are not synced: whoever wrote them may have been killed
	// before its fdatasync.
	if err := errors.Join(makeSafe(t.name), fsync(j.dir)); err != nil {
		j.o.Log.Error("records found on the card cannot be made safe where they are", "err", err)
		j.synced.Store(t.head.end)
		j.rescue = &t.head
		if _, err := readTail(t.segment, 0, func(seq uint64, p []byte) { j.pending = pack(j.pending, seq, p) }); err != nil {
			j.o.Log.Error("and cannot be copied", "err", err)
		}
	}
	return nil
}

func newID() (id ID) {
	rand.Read(id[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// findTail reads the newest segment that has a record, and those behind it.
func (j *Journal) findTail() (t, newest tail) {
	var before uint64
	for i := len(j.segs) - 1; i >= 0 && t.end == 0; i-- {
		var err error
		t, err = readTail(j.segs[i], before, nil)
		if err != nil {
			j.o.Log.Error("newest segment cannot be read to its end", "err", err)
		}
		if before == 0 {
			newest = t
		}
		before = j.segs[i].first
	}
	return t, newest
}

// readTail reads a segment to its end. Each record is shown to each, which may be nil.
func readTail(s segment, before uint64, each func(seq uint64, p []byte)) (t tail, err error) {
	t.segment, t.used = s, headBytes
	f, err := os.Open(s.name)
	if err != nil {
		return t, err
	}
	defer f.Close()
	sc := newScan(f, &s.head, s.bytes, before)
	sc.forgiving = true
	var d record.Decoder
	var r record.Record
	for {
		last := sc.last
		p, seq, bad, err := sc.next()
		if err != nil {
			if bad.length > 0 {
				t.torn = bad.off + bad.length - t.used
				t.half = sc.half(t.used, t.used+t.torn)
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return t, err
		}
		t.used = sc.off
		if seq > last+1 {
			first := last + 1
			if first == s.first {
				first = s.end + 1 // the gap that names a jump before it stood there too
			}
			t.holes = append(t.holes, [2]uint64{first, seq - 1})
		}
		t.end, t.stop = seq, false
		if each != nil {
			each(seq, p)
		}
		if d.Decode(p, &r) == nil {
			t.time, t.stop = r.Time, isStop(&r)
			t.lost += lostBy(&r)
		}
	}
}

// resume decides where seq goes on and notes why.
func (j *Journal) resume(t, newest *tail, mark uint64, strangers []stranger) {
	log := j.o.Log.With(slog.Uint64("seq", t.end))
	if len(j.segs) > 0 && newest.oldest < j.segs[0].first {
		j.hole(log, max(newest.oldest, j.acked.Load()+1), j.segs[0].end, "")
	}
	for _, h := range t.holes {
		j.hole(log, h[0], h[1], t.name)
	}
	// What speaks of records behind the last sound one.
	reached := max(t.end, j.acked.Load())
	if newest.first != 0 {
		reached = max(reached, newest.first-1)
	}
	behind := func(first uint64, bytes int64) {
		if first > reached {
			reached = first - 1 + uint64(max(bytes, j.o.SegmentBytes)/minFrame)
		}
	}
	if newest.first != 0 && mark > newest.first {
		behind(mark, 0)
	}
	for _, s := range strangers {
		behind(namedSeq(s.name), s.bytes)
	}
	j.next = reached + 1
	if reached == 0 && newest.torn == 0 {
		return // first use
	}
	// Each process makes a segment of its own, which begins with what this
	// one noted: without a record in it, it was not stopped. A segment is as
	// long as its head says until it is sealed, and it is sealed only behind a
	// stop or once there is a next one.
	empty := newest.name != t.name
	clean := t.stop && !empty
	short := !clean && newest.bytes < newest.size
	switch {
	case !clean && newest.boot != j.o.Boot:
		j.skip(t, record.Power)
		log.Warn("the last boot ended without a stop", "torn bytes", newest.torn, "next", j.next)
	case reached > t.end || short || !clean && newest.torn > 0 && !newest.half:
		j.skip(t, record.Damage)
		log.Warn("the end of the journal is damaged", "torn bytes", newest.torn, "file", newest.name, "next", j.next)
	case !clean:
		why := ""
		if newest.torn > 0 {
			why = fmt.Sprintf("%d torn bytes at the end", newest.torn)
		}
		log.Info("the last run ended without a stop", "torn bytes", newest.torn)
		j.note(&record.Record{Kind: record.Event, Event: record.Recovered, Why: why})
	case t.torn > 0:
		log.Warn("bytes that are no record behind the last one", "bytes", t.torn, "file", t.name)
	}
}

// hole notes records that are not on the card any more.
func (j *Journal) hole(log *slog.Logger, first, last uint64, file string) {
	if last < first {
		return
	}
	log.Warn("records on the card are damaged or missing", "first", first, "last", last, "file", file)
	j.known = append(j.known, [2]uint64{first, last})
	j.note(&record.Record{Kind: record.Gap, Reason: record.Damage, Count: Count(first, last), First: first, Last: last})
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
