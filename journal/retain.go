package journal

import (
	"os"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

// makeRoom removes the oldest segments until the next one fits the budget and
// leaves MinFree of the file system. The newest data always has room: the
// open segment stays, whatever it takes.
func (j *Journal) makeRoom() {
	for j.Bytes()+j.o.SegmentBytes > j.o.MaxBytes || j.freeBytes() < j.o.MinFree+j.o.SegmentBytes {
		if !j.evict() {
			return
		}
	}
}

func (j *Journal) freeBytes() int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(j.dir.Fd()), &st) != nil {
		return 1 << 62
	}
	size := int64(st.Bsize) //nolint:unconvert // an int32 on 32-bit boards
	return int64(st.Bavail) * size
}

// evict removes the oldest segment, unless it is the last. What had not been
// uploaded is named by a gap.
func (j *Journal) evict() bool {
	j.mu.Lock()
	if len(j.segs) < 2 {
		j.mu.Unlock()
		return false
	}
	old, last := j.segs[0], j.segs[1].end
	j.mu.Unlock()
	if err := os.Remove(old.name); err != nil && !os.IsNotExist(err) {
		j.o.Log.Error("card is full and its oldest segment cannot be removed", "err", err)
		return false
	}
	if err := fsync(j.dir); err != nil {
		j.o.Log.Warn("segment removed, perhaps not for good", "err", err)
	}
	j.mu.Lock()
	j.segs = j.segs[1:]
	j.mu.Unlock()
	first := max(old.first, j.acked.Load()+1)
	switch {
	case last < first:
	case j.o.Keep:
		j.o.Log.Warn("card budget reached: records evicted before upload", "first", first, "last", last)
		j.note(&record.Record{Kind: record.Gap, Reason: record.Evicted, Count: int64(last - first + 1), First: first, Last: last})
	case !j.plain:
		j.plain = true
		j.note(&record.Record{Kind: record.Event, Event: record.Retention, Why: "the oldest records make room for new ones", First: first, Last: last})
	}
	return true
}
