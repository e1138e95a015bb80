package journal

import (
	"errors"
	"io"
	"os"

	"edgeagg/internal/record"
)

// Entry is one record as it stands in the journal.
type Entry struct {
	Seq     uint64
	Payload []byte // the binary form; valid until the next call of Next
	Journal ID
	Device  string
	Base    int64 // µs, wall − mono of the record's boot; 0 if its clock was never set
}

// Decode reads the record and puts its time right.
func (e *Entry) Decode(d *record.Decoder, r *record.Record) error {
	if err := d.Decode(e.Payload, r); err != nil {
		return err
	}
	r.Seq = e.Seq
	r.Correct(e.Base)
	return nil
}

// Reader reads synced records in order, beside the writer. It belongs to one
// goroutine.
type Reader struct {
	j    *Journal
	next uint64
	f    *os.File
	at   segment
	s    *scan
	base int64 // of the segment's boot
	lost func(first, last uint64)

	refused uint64 // what was synced when the card last refused to be read; 0: it does not
}

// Reader reads from the record numbered from on. Records that turn out to be
// unreadable and that no gap names yet are told to lost, which may be nil; a
// million and more of them are mostly numbers that no record ever had.
func (j *Journal) Reader(from uint64, lost func(first, last uint64)) *Reader {
	return &Reader{j: j, next: max(from, 1), lost: lost}
}

// Next gives the next record; io.EOF when no more is synced now. Another error
// means that the card cannot be read just now: Next may be called again. A page
// that it refuses counts as damaged once the card has taken a sync since.
func (r *Reader) Next() (Entry, error) {
	for r.next <= r.j.Synced() {
		if r.s == nil {
			if err := r.open(); err != nil {
				return Entry{}, err
			}
			continue
		}
		r.s.forgiving = r.refused != 0 && r.j.Synced() > r.refused
		p, seq, _, err := r.s.next()
		if errors.Is(err, io.EOF) {
			r.onward()
			continue
		}
		if err != nil {
			if r.refused == 0 {
				r.refused = r.j.Synced()
			}
			return Entry{}, err
		}
		if seq < r.next {
			continue
		}
		r.refused = 0
		if seq > r.next {
			r.miss(seq - 1)
		}
		r.next = seq + 1
		if r.base == 0 { // it comes when the clock is set, and stays
			r.j.mu.Lock()
			r.base = r.j.bases[r.at.boot]
			r.j.mu.Unlock()
		}
		return Entry{Seq: seq, Payload: p, Journal: r.at.journal, Device: r.at.device, Base: r.base}, nil
	}
	return Entry{}, io.EOF
}

// miss steps over records up to last that could not be read.
func (r *Reader) miss(last uint64) {
	first := r.next
	if first == r.at.first {
		first = r.at.end + 1 // the gap that names a jump before it stood there too
	}
	r.next = last + 1
	if first > last {
		return
	}
	r.j.mu.Lock()
	known := false
	for _, k := range r.j.known {
		known = known || k[0] <= first && last <= k[1]
	}
	if !known {
		r.j.known = append(r.j.known, [2]uint64{first, last})
	}
	r.j.mu.Unlock()
	if !known && r.lost != nil {
		r.lost(first, last)
	}
}

// open finds the segment of the next record, and opens it unless it is gone.
func (r *Reader) open() error {
	var before uint64
	r.j.mu.Lock()
	segs, i := r.j.segs, 0
	for k := range segs {
		if segs[k].first <= r.next {
			i = k
		}
	}
	r.at = segs[i]
	if i+1 < len(segs) {
		before = segs[i+1].first
	}
	r.j.mu.Unlock()
	r.next = max(r.next, r.at.first) // older ones were evicted, which a gap names
	f, err := os.Open(r.at.name)
	if errors.Is(err, os.ErrNotExist) {
		r.onward()
		return nil
	}
	if err != nil {
		return err
	}
	r.f = f
	r.s = newScan(f, &r.at.head, headBytes, before)
	return nil
}

// onward goes on where the segment has ended: to what was synced meanwhile, or
// to the next segment. What should have been there is missing.
func (r *Reader) onward() {
	synced := r.j.Synced()
	r.j.mu.Lock()
	var at, after *segment
	for k := range r.j.segs {
		s := &r.j.segs[k]
		if s.name == r.at.name {
			at = s
		} else if at != nil {
			after = s
			break
		}
	}
	grown := at != nil && r.s != nil && at.bytes > r.s.end
	if grown {
		r.s.end = at.bytes
	}
	var end, first uint64
	if after != nil {
		end, first = after.end, after.first
	}
	r.j.mu.Unlock()
	switch {
	case grown:
	case at == nil: // evicted, which a gap names
		r.close()
	case after == nil:
		r.miss(synced)
	default:
		r.miss(end)
		r.next = max(r.next, first)
		r.close()
	}
}

func (r *Reader) close() {
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.s, r.base = nil, nil, 0
}

// Close gives the reader's file back.
func (r *Reader) Close() error {
	r.close()
	return nil
}
