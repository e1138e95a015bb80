package aggregator

import (
	"encoding/binary"
	"slices"
)

const (
	header   = 4        // bytes of length before each record in the ring
	maxChunk = 64 << 10 // unless fewer than 32 records fit
	solo     = 16 << 10 // a record from this length on has a chunk of its own
	page     = 8 << 10  // what the allocator rounds big chunks up to
)

// buffer keeps accepted records in the order in which they came, either in one
// ring or in a queue of chunks. The aggregator's mutex guards it; but the bytes
// of a region that the loop was given are read by the loop without it, and are
// not written to before the loop says that it is done with them.
type buffer struct {
	limit    uint64 // records it may hold now
	maxBytes uint64

	inN, inLen     uint64 // accepted since New
	seenN, seenLen uint64 // handed over since New, as far as looked
	peak           uint64 // most records held since the last trim

	*ring // nil: chunks

	head, tail *chunk // head is the one being read
	read       int    // bytes of head already given out
	readN      int    // records of head already given out
	held       []*chunk
	free       []*chunk // the last was used last, and is warm
	size       int      // bytes of all chunks, free ones included
	idle       int      // least number of free chunks since the last trim
}

// ring is the fixed buffer.
type ring struct {
	mem     []byte
	w, r    int    // where the next record goes, where the next region begins
	end     int    // where the data before the wrap ends, while wrapped
	wrapped bool   // w has started over and r has not
	vw, vr  uint64 // w and r counted on without end, gaps included
	vfree   uint64 // all before is free, as far as looked
}

// chunk is memory for records, one behind the other. Their lengths lie apart, so
// that records of 2^n bytes fill it to the last.
type chunk struct {
	buf  []byte // len is what is written
	lens []uint32
	next *chunk
}

// region is a run of records as they lie in memory: each behind its length in
// the ring, with the lengths apart in a chunk.
type region struct {
	buf  []byte
	lens []uint32 // nil in the ring
	pos  uint64   // of buf[0] in the ring
}

func (b *buffer) init(cfg *Config) {
	b.limit = uint64(cfg.BufWriter)
	b.maxBytes = sizeMask
	switch {
	case cfg.BufBytes > 0:
		b.ring = &ring{mem: make([]byte, cfg.BufBytes)}
	case cfg.BufMaxSize > 0:
		b.maxBytes = min(uint64(cfg.BufMaxSize), sizeMask)
	}
}

// room reports whether a record of n bytes may come in, raising the limit where
// that is allowed.
func (a *agg) room(n uint64) bool {
	b := &a.buf
	if b.inN-b.seenN < b.limit && b.inLen-b.seenLen+n <= b.maxBytes {
		return true
	}
	held, size := a.look()
	for held >= b.limit {
		if most := uint64(a.cfg.BufMax); b.limit < most {
			b.limit = min(2*b.limit, most)
		} else {
			return false
		}
	}
	return size+n <= b.maxBytes || held == 0
}

// look finds out how much is held now.
func (a *agg) look() (held, size uint64) {
	b := &a.buf
	held, size = between(a.in.Load(), a.out.Load())
	b.seenN, b.seenLen = b.inN-held, b.inLen-size
	b.peak = max(b.peak, held)
	return held, size
}

// put takes p in if there is room. It is called with mu held.
func (a *agg) put(p []byte) bool {
	b := &a.buf
	n := len(p)
	if !a.room(uint64(n)) {
		return false
	}
	if b.ring != nil {
		if !a.putRing(p) {
			return false
		}
	} else {
		c := b.tail
		if c == nil || cap(c.buf)-len(c.buf) < n {
			c = a.grow(n)
		}
		had := cap(c.buf)
		c.buf = append(c.buf, p...)
		b.size += cap(c.buf) - had
		c.lens = append(c.lens, uint32(n))
	}
	b.inN++
	b.inLen += uint64(n)
	a.in.Store(pack(b.inN, b.inLen))
	return true
}

func (a *agg) putRing(p []byte) bool {
	b := a.buf.ring
	need := header + len(p)
	gap, wrap := 0, len(b.mem)-b.w < need
	if wrap {
		gap = len(b.mem) - b.w
	}
	if b.space() < gap+need {
		b.vfree = a.freed.Load()
		if b.vfree == b.vw { // empty: start over, without a gap
			b.w, b.r, b.wrapped, gap, wrap = 0, 0, false, 0, false
		}
		if b.space() < gap+need {
			return false
		}
	}
	if wrap {
		b.end, b.w, b.wrapped = b.w, 0, true
		b.vw += uint64(gap)
	}
	binary.LittleEndian.PutUint32(b.mem[b.w:], uint32(len(p)))
	copy(b.mem[b.w+header:], p)
	b.w += need
	b.vw += uint64(need)
	return true
}

func (b *ring) space() int { return len(b.mem) - int(b.vw-b.vfree) }

// grow makes room for a record of n bytes at the tail.
func (a *agg) grow(n int) *chunk {
	b := &a.buf
	c := a.chunk(n)
	if b.tail == nil {
		b.head, b.read, b.readN = c, 0, 0
	} else {
		b.tail.next = c
	}
	b.tail = c
	return c
}

// chunk finds or makes an empty one. The warmest is tried first, then the next
// few, so that a mix of lengths does not allocate each time.
func (a *agg) chunk(n int) *chunk {
	b := &a.buf
	for i := len(b.free) - 1; i >= 0 && i >= len(b.free)-8; i-- {
		if c := b.free[i]; cap(c.buf) >= n && (n < solo || cap(c.buf) <= 2*n) {
			last := len(b.free) - 1
			copy(b.free[i:], b.free[i+1:])
			b.free[last] = nil
			b.free = b.free[:last]
			b.idle = min(b.idle, last)
			return c
		}
	}
	// An eighth of what there is: little waste however full the buffer.
	least := min(max(a.cfg.BufWriter*32, 512), 8192)
	k := min(max(b.size/8, least), max(maxChunk, 32*n)) / n
	if n >= solo || k == 0 {
		k = 1
	}
	if k == 1 && n >= solo {
		return &chunk{} // put makes the memory, without clearing it first
	}
	if k*n > 4*page {
		k = thrifty(k, n)
	}
	c := &chunk{buf: slices.Grow([]byte(nil), k*n), lens: slices.Grow([]uint32(nil), k)}
	b.size += cap(c.buf)
	return c
}

// thrifty is the number of records of n bytes, at most k and not far below, that
// leaves least over in whole pages.
func thrifty(k, n int) int {
	over := func(k int) float64 { return float64((page-k*n%page)%page) / float64(k) }
	best := k
	for try := k; try > k/2; try-- {
		if over(try) < over(best) {
			best = try
		}
	}
	return best
}

// take gives the loop the next region, or reports that there is none. The
// memory of those before becomes free, unless hold is set.
func (a *agg) take(hold bool) (region, bool) {
	b := &a.buf
	if b.ring != nil {
		return a.takeRing(hold)
	}
	if !hold {
		b.letGo()
	}
	for c := b.head; c != nil; c = b.head {
		if b.read < len(c.buf) {
			g := region{buf: c.buf[b.read:], lens: c.lens[b.readN:]}
			b.read, b.readN = len(c.buf), len(c.lens)
			return g, true
		}
		if c == b.tail && cap(c.buf) <= 32*solo {
			if !hold {
				c.buf, c.lens, b.read, b.readN = c.buf[:0], c.lens[:0], 0, 0
			}
			break
		}
		b.head, b.read, b.readN = c.next, 0, 0
		if c == b.tail {
			b.tail = nil
		}
		c.next = nil
		if hold {
			b.held = append(b.held, c)
		} else {
			b.recycle(c)
		}
	}
	return region{}, false
}

func (a *agg) takeRing(hold bool) (region, bool) {
	b := a.buf.ring
	if b.wrapped && b.r == b.end {
		b.vr += uint64(len(b.mem) - b.end)
		b.r, b.wrapped = 0, false
	}
	end := b.w
	if b.wrapped {
		end = b.end
	}
	if !hold {
		a.freed.Store(b.vr)
	}
	if b.r == end {
		return region{}, false
	}
	g := region{buf: b.mem[b.r:end], pos: b.vr}
	b.vr += uint64(end - b.r)
	b.r = end
	return g, true
}

// letGo recycles the chunks that were held.
func (b *buffer) letGo() {
	for i, c := range b.held {
		b.recycle(c)
		b.held[i] = nil
	}
	b.held = b.held[:0]
}

func (b *buffer) recycle(c *chunk) {
	c.buf, c.lens = c.buf[:0], c.lens[:0]
	b.free = append(b.free, c)
}

// trim gives back the chunks that were not needed since it was last called, and
// halves a limit of which less than half was used. It reports whether there is
// anything left to give back.
func (a *agg) trim() bool {
	b := &a.buf
	least := uint64(a.cfg.BufWriter)
	if held, _ := a.look(); b.limit > least && b.peak < b.limit/2 {
		b.limit = max(b.limit/2, least, held)
	}
	b.peak = 0
	drop := min(b.idle, len(b.free))
	for _, c := range b.free[:drop] {
		b.size -= cap(c.buf)
	}
	b.free = slices.Delete(b.free, 0, drop)
	b.idle = len(b.free)
	return b.limit > least || len(b.free) > 0
}

// reset drops what is left, and the memory of the chunks.
func (a *agg) reset() {
	b := &a.buf
	if b.ring != nil {
		*b.ring = ring{mem: b.mem}
	}
	a.freed.Store(0)
	b.head, b.tail, b.read, b.readN, b.size = nil, nil, 0, 0, 0
	b.held, b.free, b.idle = nil, nil, 0
	b.limit, b.peak = uint64(a.cfg.BufWriter), 0
	b.seenN, b.seenLen = b.inN, b.inLen
	a.out.Store(pack(b.inN, b.inLen))
}
