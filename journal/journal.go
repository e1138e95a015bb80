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
	f       *os.File // the open segment; nil: the next write makes one
	h       head     // of the open segment
	salted  uint32
	off     int64  // where the next frame goes
	next    uint64 // seq of the next record
	last    uint64 // seq of the last record; next − 1 but after a jump
	waiting uint64 // seq of the first record in pending
	pending []byte // payloads not yet synced, packed
	notes   []byte // records of the journal's own that go before the next, packed
	buf     []byte
	batch   [][]byte
	cursor  *cursor

	unsealed      string // the segment that an earlier process left open; "": none
	unsealedBytes int64

	base  int64     // as in head, of this boot
	drift int64     // µs, wall − mono as they stood before the clock was set
	unset [2]uint64 // first and last record of this boot from before that; 0: none
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
	dir, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{o: o, dir: dir, bases: make(map[ID]int64)}
	if err := j.recover(); err != nil {
		_ = j.cursor.close()
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
	return j.put(recs)
}

// begin makes the journal ready for records: the clock's state is noted, a
// segment is open, and the journal's own records are written.
func (j *Journal) begin() error {
	j.checkClock()
	if j.f == nil {
		if err := j.roll(); err != nil {
			return err
		}
	}
	if len(j.notes) == 0 {
		return nil
	}
	j.batch = unpack(j.batch[:0], j.notes)
	n, err := j.put(j.batch)
	for range n {
		_, j.notes = cut(j.notes)
	}
	return err
}

// put writes recs, with one write a segment or 64 KiB.
func (j *Journal) put(recs [][]byte) (n int, err error) {
	for n < len(recs) {
		if len(j.pending) > 0 && len(j.pending)+len(recs[n]) > maxPending {
			if err := j.flush(); err != nil {
				return n, err
			}
		}
		if j.off > headBytes && len(j.pending) == 0 {
			// A page that holds synced records is never written again.
			j.off = (j.off + page - 1) / page * page
		}
		k := j.encode(recs[n:])
		if k == 0 {
			if err := j.roll(); err != nil {
				return n, err
			}
			continue
		}
		if _, err := j.f.WriteAt(j.buf, j.off); err != nil {
			j.abandon()
			return n, err
		}
		j.took(recs[n : n+k])
		n += k
	}
	return n, nil
}

// encode makes frames of as many of recs as one write may carry, and counts
// them; none when the segment is full.
func (j *Journal) encode(recs [][]byte) (n int) {
	j.buf = j.buf[:0]
	size := len(j.pending)
	for _, p := range recs {
		p = j.fit(p)
		if j.off+int64(len(j.buf)+frameBytes(len(p))) > j.h.size {
			break
		}
		if size += len(p) + 4; n > 0 && (len(j.buf) >= chunk || size > maxPending) {
			break
		}
		j.buf = appendFrame(j.buf, j.salted, j.next+uint64(n), p)
		n++
	}
	return n
}

// took notes the records of one write.
func (j *Journal) took(recs [][]byte) {
	if len(j.pending) == 0 {
		j.waiting = j.next
	}
	for _, p := range recs {
		p = j.fit(p)
		j.pending = pack(j.pending, p)
		j.count(p)
	}
	if j.base == 0 {
		if j.unset[0] == 0 {
			j.unset[0] = j.next
		}
		j.unset[1] = j.next + uint64(len(recs)) - 1
	}
	j.off += int64(len(j.buf))
	j.next += uint64(len(recs))
	j.last = j.next - 1
	j.coming.Store(j.next)
	j.written.Add(int64(len(j.buf)))
	j.records.Add(uint64(len(recs)))
}

// fit is p, or the gap that stands for it when no segment can hold it.
func (j *Journal) fit(p []byte) []byte {
	if len(p) > 0 && len(p) <= j.h.longest {
		return p
	}
	return record.Append(nil, &record.Record{Kind: record.Gap, Time: j.o.Now(), Count: 1, Reason: record.Error})
}

// count adds what a gap names as missing.
func (j *Journal) count(p []byte) {
	if record.Kind(p[0]&3) != record.Gap {
		return
	}
	var d record.Decoder
	var r record.Record
	if d.Decode(p, &r) == nil && r.Count > 0 {
		j.lost.Add(uint64(r.Count))
	}
}

// Sync makes what was written safe with one fdatasync; it does nothing when
// there is nothing. When the card refuses, that is never taken back by a later
// success: the same records are written again, into a new segment, by the next
// Write or Sync.
func (j *Journal) Sync() error {
	if len(j.notes) > 0 || j.f == nil && len(j.pending) > 0 {
		if err := j.begin(); err != nil {
			return err
		}
	}
	return j.flush()
}

func (j *Journal) flush() error {
	if len(j.pending) == 0 {
		return nil
	}
	if err := fdatasync(j.f); err != nil {
		j.abandon()
		return err
	}
	j.settle()
	return nil
}

// settle notes that all that was written is safe.
func (j *Journal) settle() {
	j.pending = j.pending[:0]
	j.mu.Lock()
	j.segs[len(j.segs)-1].bytes = j.off
	j.mu.Unlock()
	j.synced.Store(j.last)
	if j.o.Synced != nil {
		j.o.Synced(j.last)
	}
}

// abandon leaves the open segment as it is: whatever the kernel did not
// confirm is written again elsewhere, and read from there.
func (j *Journal) abandon() {
	j.f.Close()
	j.f = nil
}

// roll makes the next segment the open one, durably, then gives back what
// the one before did not use.
func (j *Journal) roll() error {
	if j.f != nil {
		if err := j.flush(); err != nil {
			return err
		}
	}
	j.makeRoom()
	h := head{
		journal: j.id, prev: j.prev, boot: j.o.Boot, machine: j.machine,
		first: j.next, end: j.last, lost: j.lost.Load(), base: j.base,
		made: j.o.Now(), size: j.o.SegmentBytes, longest: j.o.MaxRecord, device: j.o.Device,
	}
	if len(j.pending) > 0 {
		h.first, h.end = j.waiting, j.synced.Load()
	}
	h.oldest = h.first
	if first := j.First(); first != 0 {
		h.oldest = first
	}
	f, name, err := j.create(&h)
	for err != nil && errors.Is(err, unix.ENOSPC) && j.evict() {
		f, name, err = j.create(&h)
	}
	if err != nil {
		return err
	}
	if j.f != nil {
		if err := j.seal(); err != nil {
			j.o.Log.Warn("segment not cut to its length", "err", err)
		}
		j.f.Close()
	}
	if j.unsealed != "" {
		if err := os.Truncate(j.unsealed, j.unsealedBytes); err != nil {
			j.o.Log.Warn("segment not cut to its length", "err", err)
		}
		j.unsealed = ""
	}
	j.f, j.h, j.salted, j.off = f, h, saltSum(h.salt), headBytes+int64(len(j.buf))
	j.written.Add(j.off)
	j.mu.Lock()
	j.segs = append(j.segs, segment{head: h, name: name, bytes: headBytes})
	if h.base != 0 {
		j.bases[h.boot] = h.base
	}
	j.mu.Unlock()
	if len(j.pending) > 0 {
		return j.flush()
	}
	return nil
}

// create makes a segment that holds its head and whatever is pending. It
// appears under its name only once its head is on the card.
func (j *Journal) create(h *head) (*os.File, string, error) {
	var salt [8]byte
	rand.Read(salt[:])
	h.salt = binary.LittleEndian.Uint64(salt[:])
	salted, seq := saltSum(h.salt), h.first
	j.buf = j.buf[:0]
	for rest := j.pending; len(rest) > 0; seq++ {
		var p []byte
		p, rest = cut(rest)
		j.buf = appendFrame(j.buf, salted, seq, p)
	}
	temp := filepath.Join(j.o.Dir, tempName)
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, "", err
	}
	name := j.free(h.first)
	err = func() error {
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
	if err != nil {
		f.Close()
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

// seal gives back the space behind the last record of the open segment.
func (j *Journal) seal() error {
	if err := j.f.Truncate(j.off); err != nil {
		return err
	}
	return fsync(j.f)
}

// note has the journal write a record of its own before the next one.
func (j *Journal) note(r *record.Record) {
	r.Time = j.o.Now()
	j.notes = pack(j.notes, record.Append(nil, r))
}

// checkClock notes, once, that the clock was set in this boot: from the next
// segment on, heads say by how much the records before it have to be moved.
func (j *Journal) checkClock() {
	if j.base != 0 {
		return
	}
	t := j.o.Now()
	if !t.Set {
		return
	}
	j.base = t.Wall - t.Mono
	if j.unset[0] != 0 {
		j.note(&record.Record{
			Kind: record.Event, Event: record.ClockSet, First: j.unset[0], Last: j.unset[1],
			Offset: time.Duration(j.base-j.drift) * time.Microsecond,
		})
	}
	if j.f != nil {
		if err := j.roll(); err != nil {
			j.o.Log.Warn("clock was set, but no new segment says so yet", "err", err)
		}
	}
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
		if err == nil {
			err = j.seal()
		}
		j.f.Close()
		j.f = nil
	}
	return errors.Join(err, j.cursor.close(), j.dir.Close())
}

func pack(dst, p []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(p))), p...)
}

func cut(p []byte) (first, rest []byte) {
	n := 4 + int(binary.LittleEndian.Uint32(p))
	return p[4:n], p[n:]
}

func unpack(dst [][]byte, p []byte) [][]byte {
	for len(p) > 0 {
		var r []byte
		r, p = cut(p)
		dst = append(dst, r)
	}
	return dst
}
