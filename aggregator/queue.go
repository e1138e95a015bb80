package aggregator

import "encoding/binary"

// header is the length before each record in the queue.
const header = 4

// wrapped stands in place of a length where the next record is at the front.
const wrapped = ^uint32(0)

// queue is a ring of length-prefixed records. None is split: where the end of
// the ring is too short for one, it goes to the front. The caller locks.
type queue struct {
	buf  []byte
	r, w int // where the next record is read and written
	n    int // records, those being read included
	size int // their bytes
}

// fits reports whether a record of n bytes can go in as the ring is.
func (q *queue) fits(n int) bool {
	need := header + n
	switch {
	case q.n == 0:
		return need <= len(q.buf)
	case q.w > q.r:
		return need <= len(q.buf)-q.w || need <= q.r
	}
	return need <= q.r-q.w
}

// push adds a record that fits.
func (q *queue) push(p []byte) {
	need := header + len(p)
	if q.n == 0 {
		q.r, q.w = 0, 0
	} else if q.w > q.r && need > len(q.buf)-q.w {
		if len(q.buf)-q.w >= header {
			binary.LittleEndian.PutUint32(q.buf[q.w:], wrapped)
		}
		q.w = 0
	}
	binary.LittleEndian.PutUint32(q.buf[q.w:], uint32(len(p)))
	copy(q.buf[q.w+header:], p)
	q.w += need
	q.n++
	q.size += len(p)
}

// at gives the record at position r, and the position behind it.
func (q *queue) at(r int) (p []byte, next int) {
	if len(q.buf)-r < header || binary.LittleEndian.Uint32(q.buf[r:]) == wrapped {
		r = 0
	}
	n := int(binary.LittleEndian.Uint32(q.buf[r:]))
	return q.buf[r+header : r+header+n : r+header+n], r + header + n
}

// grow moves the records into a ring of size bytes. Slices of the old one stay
// what they are.
func (q *queue) grow(size int) {
	old := *q
	*q = queue{buf: make([]byte, size)}
	for r := old.r; old.n > 0; old.n-- {
		var p []byte
		p, r = old.at(r)
		q.push(p)
	}
}
