// Package journal is the folder of segments on the card: an append-only log of
// records that survives what happens to a card.
//
// What it relies on: a file system that keeps fdatasync's and fsync's word;
// pages of 4 KiB that were synced and are not written again keep their bytes.
// What it does not rely on: a clean end, an order of unsynced writes, a file's
// name or length, or any file but the segments themselves.
//
// One goroutine writes and syncs; any number may read. FORMAT.md describes the
// bytes.
package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

// Options say where a journal is and how it behaves.
type Options struct {
	Dir          string
	Device       string // at most 255 bytes; stands in each segment's head
	Machine      string // what tells this board from another; its hash stands in each head
	Boot         ID     // the kernel's boot id
	MaxBytes     int64  // of all segments together
	MinFree      int64  // stays free on the file system
	SegmentBytes int64  // of one segment, at least 64 KiB
	MaxRecord    int    // longest record; half a segment and 1 MiB at most
	Keep         bool   // records after the cursor are a backlog: their eviction is a loss, named by a gap

	Now    func() record.Time
	Synced func(seq uint64) // called after each fsync that made records safe; may be nil
	Log    *slog.Logger
}

// jump is how much higher seq goes on when records may have been lost
// without a trace, so that none of their numbers comes again.
const jump = 1_000_000

// Count is how many records are missing from first to last: -1, unknown, when
// numbers that no record ever had are among them.
func Count(first, last uint64) int64 {
	if last-first >= jump-1 {
		return -1
	}
	return int64(last - first + 1)
}

// ownRecord is more than any record of the journal's own takes.
const ownRecord = 512

// maxPending bounds the copies of records that are kept until they are
// synced; reaching it syncs early.
const maxPending = 1 << 20

// Journal is an open journal. Write, Sync and Close belong to one goroutine.
type Journal struct {
	o       Options
	dir     *os.File // holds the lock
	id      ID
	prev    ID
	machine uint64

	// the writer's own
	f        *os.File // the open segment; nil: the next write makes one
	h        head     // of the open segment
	salted   uint32
	off      int64  // where the next frame goes
	next     uint64 // seq of the next record
	last     uint64 // seq of the last record; next − 1 but after a jump
	pending  []byte // records not yet synced, packed
	before   uint64 // seq of the last record before those in pending
	lostHere uint64 // what gaps in pending name as missing
	notes    []byte // records of the journal's own, to be numbered when the next segment is made, packed
	stopped  bool   // the last record is the event stop
	rescue   *head  // pending is what this segment holds and cannot be made safe there; nil: none
	buf      []byte
	batch    [][]byte
	decoder  record.Decoder
	cursor   *cursor

	made          uint64 // number of the newest segment
	unsealed      string // the segment that was left for the next one, and longer than it need be; "": none
	unsealedBytes int64

	base  int64     // as in head, of this boot
	drift int64     // µs, wall − mono as they stood before the clock was set
	unset [2]uint64 // first and last record of this boot from before that; 0: none
	gone  uint64    // seq up to which evictions have been told
	plain bool      // retention without a backlog has begun and been told

	synced  atomic.Uint64
	acked   atomic.Uint64
	lost    atomic.Uint64
	written atomic.Int64
	records atomic.Uint64
	coming  atomic.Uint64 // next, for other goroutines

	mu    sync.Mutex   // over what readers see too
	segs  []segment    // in the order of their records; the last one made is the open one
	bases map[ID]int64 // of each boot whose clock was set
	known [][2]uint64  // holes that gaps name already
}

// segment is what is known of one segment without reading it.
type segment struct {
	head
	name  string
	bytes int64 // of the file; of the open segment: up to its last synced record
}

// Open takes the journal in o.Dir, made if it is not there, and finds the end
// of what is sound. A damaged journal opens; only a folder that cannot be
// used, or is in use, does not.
func Open(o Options) (*Journal, error) {
	if o.SegmentBytes < minSegment {
		return nil, fmt.Errorf("journal: segments of %d bytes: at least %d are needed", o.SegmentBytes, minSegment)
	}
	if o.MaxRecord <= 0 || o.MaxRecord > maxPayload || int64(o.MaxRecord) > o.SegmentBytes/2 {
		return nil, fmt.Errorf("journal: records of up to %d bytes do not fit segments of %d bytes", o.MaxRecord, o.SegmentBytes)
	}
	o.Device = o.Device[:min(len(o.Device), maxDevice)]
	dir, mark, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{o: o, dir: dir, bases: make(map[ID]int64), cursor: &cursor{name: filepath.Join(o.Dir, cursorName)}}
	if err := j.recover(mark); err != nil {
		dir.Close()
		return nil, err
	}
	j.coming.Store(j.next)
	return j, nil
}

// ID is the journal's identity.
func (j *Journal) ID() ID { return j.id }

// Synced is the seq up to which records are known to be on the card.
func (j *Journal) Synced() uint64 { return j.synced.Load() }

// NextSeq is the number that the next record will get.
func (j *Journal) NextSeq() uint64 { return j.coming.Load() }

// Acked is the cursor: the seq up to which the broker has acknowledged.
func (j *Journal) Acked() uint64 { return j.acked.Load() }

// Lost counts the records that the journal's gaps name as missing, where they can be counted.
func (j *Journal) Lost() uint64 { return j.lost.Load() }

// Written counts the bytes handed to the kernel since Open.
func (j *Journal) Written() int64 { return j.written.Load() }

// Records counts the records written since Open.
func (j *Journal) Records() uint64 { return j.records.Load() }

// First is the seq of the oldest record kept; 0 with none.
func (j *Journal) First() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segs) == 0 {
		return 0
	}
	return j.segs[0].first
}

// Bytes is the size of all segments.
func (j *Journal) Bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n int64
	for i := range j.segs {
		n += j.segs[i].bytes
	}
	return n
}

// Write appends records, each in its binary form, in their order. Those that
// it took are in the page cache when it returns; n counts them. After an
// error the rest may be handed over again: the journal goes on in a new
// segment. It syncs by itself only when a segment is full or a MiB waits. The
// slices stay the caller's.
func (j *Journal) Write(recs [][]byte) (n int, err error) {
	if err := j.begin(); err != nil {
		return 0, err
	}
	return j.put(j.fit(recs))
}

// begin opens a segment if none is open, and notes that the clock was set.
func (j *Journal) begin() error {
	if j.clockWasSet() || j.f == nil {
		return j.roll()
	}
	return nil
}

// put writes recs, with one write a segment or 64 KiB.
func (j *Journal) put(recs [][]byte) (n int, err error) {
	for n < len(recs) {
		if len(j.pending) > 0 && len(j.pending)+packed+len(recs[n]) > maxPending {
			if err := j.flush(); err != nil {
				return n, err
			}
		}
		if j.off > headBytes && len(j.pending) == 0 {
			// A page that holds synced records is never written again.
			j.off = whole(j.off)
		}
		k := j.encode(recs[n:])
		if k == 0 {
			if err := j.roll(); err != nil {
				return n, err
			}
			continue
		}
		if _, err := j.f.WriteAt(j.buf, j.off); err != nil {
			j.leave()
			return n, err
		}
		for _, p := range recs[n : n+k] {
			j.number(p)
		}
		n += k
		j.off += int64(len(j.buf))
		j.coming.Store(j.next)
		j.written.Add(int64(len(j.buf)))
		j.records.Add(uint64(k))
	}
	return n, nil
}

// encode makes frames of as many of recs as one write may carry, and counts
// them; none when the segment is full. The last page stays free, so that a
// sealed segment is always shorter than one that is not.
func (j *Journal) encode(recs [][]byte) (n int) {
	j.buf = j.buf[:0]
	size := len(j.pending)
	for _, p := range recs {
		if j.off+int64(len(j.buf)+frameBytes(len(p))) > j.h.size-page {
			break
		}
		if size += packed + len(p); n > 0 && (len(j.buf) >= chunk || size > maxPending) {
			break
		}
		j.buf = appendFrame(j.buf, j.salted, j.next+uint64(n), p)
		n++
	}
	return n
}

// number gives p the next seq and keeps it until it is synced.
func (j *Journal) number(p []byte) {
	if len(j.pending) == 0 {
		j.before = j.last
	}
	j.pending = pack(j.pending, j.next, p)
	j.look(p)
	if j.base == 0 {
		if j.unset[0] == 0 {
			j.unset[0] = j.next
		}
		j.unset[1] = j.next
	}
	j.last = j.next
	j.next++
}

// fit is recs, with a gap in the place of each that no segment can hold.
func (j *Journal) fit(recs [][]byte) [][]byte {
	copied := false
	for i, p := range recs {
		if len(p) > 0 && len(p) <= j.h.longest && beginsRecord(p[0]) {
			continue
		}
		if !copied {
			j.batch, copied = append(j.batch[:0], recs...), true
			recs = j.batch
		}
		recs[i] = record.Append(nil, &record.Record{Kind: record.Gap, Time: j.o.Now(), Count: 1, Reason: record.Error})
	}
	return recs
}

// look counts what a gap names as missing, and notices a stop.
func (j *Journal) look(p []byte) {
	j.stopped = false
	if record.Kind(p[0]&3) == record.Reading {
		return
	}
	var r record.Record
	if j.decoder.Decode(p, &r) != nil {
		return
	}
	j.stopped = isStop(&r)
	n := lostBy(&r)
	j.lost.Add(n)
	j.lostHere += n
}

func isStop(r *record.Record) bool { return r.Kind == record.Event && r.Event == record.Stop }

// lostBy is how many records r names as missing, where that is known.
func lostBy(r *record.Record) uint64 {
	if r.Kind != record.Gap {
		return 0
	}
	return uint64(max(r.Count, 0))
}

// Sync makes what was written safe with one fdatasync; it does nothing when
// there is nothing. When the card refuses, that is never taken back by a later
// success: the same records are written again, into a new segment, by the next
// Write or Sync.
func (j *Journal) Sync() error {
	if j.f == nil && len(j.notes)+len(j.pending) > 0 {
		return j.begin()
	}
	return j.flush()
}

func (j *Journal) flush() error {
	if len(j.pending) == 0 {
		return nil
	}
	err := fdatasync(j.f)
	if err == nil {
		err = linked(j.f)
	}
	if err != nil {
		j.leave()
		return err
	}
	j.settle()
	return nil
}

// settle notes that all that was written is safe.
func (j *Journal) settle() {
	j.pending, j.lostHere = j.pending[:0], 0
	j.mu.Lock()
	j.segs[len(j.segs)-1].bytes = j.off
	j.mu.Unlock()
	j.synced.Store(j.last)
	if j.o.Synced != nil {
		j.o.Synced(j.last)
	}
}

// leave closes the open segment as it is. What the card did not confirm is
// written again into the next one, and read from there.
func (j *Journal) leave() {
	j.mu.Lock()
	s := j.segs[len(j.segs)-1]
	j.mu.Unlock()
	j.unsealed, j.unsealedBytes = s.name, s.bytes
	j.f.Close()
	j.f = nil
}

// roll makes the next segment the open one, durably, with the journal's own
// records and what is pending in it, then gives back what the one before did
// not use and what the budget asks for.
func (j *Journal) roll() error {
	if j.f != nil {
		if err := j.flush(); err != nil {
			return err
		}
		j.leave()
	}
	if j.rescue != nil {
		if err := j.make(*j.rescue); err != nil {
			return err
		}
		j.rescue = nil
		j.leave()
	}
	surplus := j.surplus()
	j.farewell(surplus)
	err := j.make(j.head(surplus))
	for errors.Is(err, unix.ENOSPC) && j.freeBytes() < j.o.SegmentBytes { // else the card itself is what fails
		if surplus == 0 && j.segments() > 1 {
			surplus = 1
			j.farewell(surplus)
		}
		if surplus == 0 {
			break
		}
		if err := j.evict(surplus); err != nil {
			return err
		}
		surplus = 0
		err = j.make(j.head(surplus))
	}
	if err != nil {
		return err
	}
	if err := j.evict(surplus); err != nil {
		j.o.Log.Error("old segments not removed", "err", err)
	}
	return nil
}

// head is that of the next segment, before which the oldest ones named by
// surplus go.
func (j *Journal) head(surplus int) head {
	for len(j.notes) > 0 {
		var p []byte
		_, p, j.notes = cut(j.notes)
		j.number(p)
		j.records.Add(1)
	}
	j.coming.Store(j.next)
	h := head{
		journal: j.id, prev: j.prev, boot: j.o.Boot, machine: j.machine,
		first: j.next, end: j.last, lost: j.lost.Load() - j.lostHere, base: j.base,
		made: j.o.Now(), longest: max(j.o.MaxRecord, ownRecord), device: j.o.Device,
	}
	if len(j.pending) > 0 {
		h.first, _, _ = cut(j.pending)
		h.end = j.before
	}
	h.oldest = h.first
	j.mu.Lock()
	if len(j.segs) > surplus {
		h.oldest = min(h.oldest, j.segs[surplus].first)
	}
	j.mu.Unlock()
	return h
}

// make makes a segment with head h the open one. The one before, if nothing
// is read from it any more, goes; else it is cut to what it holds.
func (j *Journal) make(h head) error {
	f, name, err := j.create(&h)
	if err != nil {
		return err
	}
	j.f, j.h, j.salted, j.off = f, h, saltSum(h.salt), headBytes+int64(len(j.buf))
	j.written.Add(j.off)
	setMark(j.o.Dir, h.first)
	j.mu.Lock()
	if h.base != 0 {
		j.bases[h.boot] = h.base
	}
	void := false // nothing is read from the one before any more
	if n := len(j.segs); n > 0 && j.segs[n-1].name == j.unsealed {
		void = j.unsealedBytes <= headBytes && h.first <= j.segs[n-1].first
		if void {
			j.segs = j.segs[: n-1 : n-1]
		}
	}
	j.segs = append(j.segs, segment{head: h, name: name, bytes: headBytes})
	j.mu.Unlock()
	if len(j.pending) > 0 {
		j.settle()
	}
	switch {
	case void:
		err = os.Remove(j.unsealed)
	case j.unsealed != "":
		err = shorten(j.unsealed, j.unsealedBytes)
	}
	j.unsealed = ""
	if err != nil {
		j.o.Log.Warn("segment left longer than it need be", "err", err)
	}
	return nil
}

func (j *Journal) segments() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.segs)
}

// create makes a segment that holds its head and whatever is pending, and
// completes h. It appears under its name only once all that is on the card.
func (j *Journal) create(h *head) (*os.File, string, error) {
	var salt [8]byte
	rand.Read(salt[:])
	h.salt = binary.LittleEndian.Uint64(salt[:])
	j.made++ // also of one that fails: it may be found under its name all the same
	h.number = j.made
	salted := saltSum(h.salt)
	j.buf = j.buf[:0]
	for rest := j.pending; len(rest) > 0; {
		var seq uint64
		var p []byte
		seq, p, rest = cut(rest)
		j.buf = appendFrame(j.buf, salted, seq, p)
	}
	h.size = max(j.o.SegmentBytes, whole(headBytes+int64(len(j.buf)))+page)
	temp := filepath.Join(j.o.Dir, tempName)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, "", err
	}
	name := j.free(h.first)
	err = func() error {
		defer f.Close()
		if err := f.Truncate(h.size); err != nil {
			return err
		}
		if _, err := f.WriteAt(append(h.append(h.append(nil)), j.buf...), 0); err != nil {
			return err
		}
		if err := fsync(f); err != nil {
			return err
		}
		if err := os.Rename(temp, name); err != nil {
			return err
		}
		return fsync(j.dir)
	}()
	if err == nil {
		f, err = os.OpenFile(name, os.O_RDWR, 0) // errors name it
	}
	if err != nil {
		os.Remove(temp)
		return nil, "", err
	}
	return f, name, nil
}

// free is a file name for the segment that begins with seq, which no file has.
func (j *Journal) free(seq uint64) string {
	for n := 0; ; n++ {
		name := filepath.Join(j.o.Dir, segmentName(seq, n))
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
}

// whole rounds n up to whole pages.
func whole(n int64) int64 { return (n + page - 1) / page * page }

// shorten cuts a segment behind the page in which its last record ends. That
// page is not cut: the file system would write it again, with the synced
// records that it holds.
func shorten(name string, n int64) error {
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	if n = whole(n); n >= st.Size() {
		return nil
	}
	return os.Truncate(name, n)
}

// note has the journal begin its next segment with a record of its own.
func (j *Journal) note(r *record.Record) {
	r.Time = j.o.Now()
	j.notes = pack(j.notes, 0, record.Append(nil, r))
}

// clockWasSet reports, once, that the clock was set in this boot: from the
// next segment on, heads say by how much the records before it have to be moved.
func (j *Journal) clockWasSet() bool {
	if j.base != 0 {
		return false
	}
	t := j.o.Now()
	if !t.Set {
		return false
	}
	j.base = t.Wall - t.Mono
	if j.unset[0] != 0 {
		j.note(&record.Record{
			Kind: record.Event, Event: record.ClockSet, First: j.unset[0], Last: j.unset[1],
			Offset: time.Duration(j.base-j.drift) * time.Microsecond,
		})
	}
	return true
}

// ClockSet reports whether the journal has seen the clock set in this boot.
func (j *Journal) ClockSet() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bases[j.o.Boot] != 0
}

// Close syncs and gives the folder back. The last record should be the event
// stop: without it the next Open sees a power cut or a kill.
func (j *Journal) Close() error {
	err := j.Sync()
	if j.f != nil {
		j.leave()
		if err == nil && j.stopped {
			err = shorten(j.unsealed, j.unsealedBytes)
		}
	}
	return errors.Join(err, j.cursor.close(), j.dir.Close())
}

// packed is what pack adds to a record.
const packed = 8 + 4

func pack(dst []byte, seq uint64, p []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(p))), p...)
}

func cut(b []byte) (seq uint64, p, rest []byte) {
	n := packed + int(binary.LittleEndian.Uint32(b[8:]))
	return binary.LittleEndian.Uint64(b), b[packed:n], b[n:]
}
