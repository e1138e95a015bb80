package journal

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"edgeagg/internal/record"
)

// surplus counts the oldest segments that have to go for another one to fit
// the budget and to leave MinFree of the file system. The newest always stays.
func (j *Journal) surplus() (n int) {
	room, free := j.o.MaxBytes-j.Bytes()-j.o.SegmentBytes, j.freeBytes()-j.o.MinFree-j.o.SegmentBytes
	j.mu.Lock()
	defer j.mu.Unlock()
	for n < len(j.segs)-1 && (room < 0 || free < 0) {
		room += j.segs[n].bytes
		free += j.segs[n].bytes
		n++
	}
	return n
}

func (j *Journal) freeBytes() int64 {
	var st unix.Statfs_t
	if unix.Fstatfs(int(j.dir.Fd()), &st) != nil {
		return math.MaxInt64
	}
	size := int64(st.Bsize) //nolint:unconvert // an int32 on 32-bit boards
	return int64(st.Bavail) * size
}

// farewell notes what the n oldest segments take with them: a gap over what
// had not been uploaded, which goes to the card before they leave it.
func (j *Journal) farewell(n int) {
	if n == 0 {
		return
	}
	j.mu.Lock()
	first, last := j.segs[0].first, j.segs[n].end
	j.mu.Unlock()
	first = max(first, j.acked.Load()+1, j.gone+1)
	if last < first {
		return
	}
	j.gone = last
	switch {
	case j.o.Keep:
		j.o.Log.Warn("card budget reached: records evicted before upload", "first", first, "last", last)
		j.note(&record.Record{Kind: record.Gap, Reason: record.Evicted, Count: int64(last - first + 1), First: first, Last: last})
	case !j.plain:
		j.plain = true
		j.note(&record.Record{Kind: record.Event, Event: record.Retention, Why: "the oldest records make room for new ones", First: first, Last: last})
	}
}

// evict removes the n oldest segments.
func (j *Journal) evict(n int) error {
	for range n {
		j.mu.Lock()
		name := j.segs[0].name
		j.mu.Unlock()
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("make room: %w", err)
		}
		j.mu.Lock()
		j.segs = j.segs[1:]
		j.mu.Unlock()
	}
	if n == 0 {
		return nil
	}
	return fsync(j.dir)
}
