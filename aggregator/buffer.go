package aggregator

import (
	"encoding/binary"
	"slices"
)

const (
	header   = 4 // bytes of length before each record
	maxChunk = 64 << 10
	solo     = maxChunk / 4 // a record from this length on has a chunk of its own
)

// buffer keeps accepted records in the order in which they came, either in one
// ring or in a queue of chunks. The aggregator's mutex guards it; but the bytes
// of a region that the loop was given are read by the loop without it, and are
// not written to before the loop says that it is done with them.
type buffer struct {
	limit    uint64 // records it may hold now
	min, max uint64
	maxBytes uint64

	inN, inLen     uint64 // accepted since New
	seenN, seenLen uint64 // handed over since New, as far as looked
	peak           uint64 // most records held since the last trim

	ring     []byte
	w, r     int    // where the next record goes, where the next region begins
	end      int    // where the data before the wrap ends, while wrapped
	wrapped  bool   // w has started over and r has not
	vw, vr   uint64 // w and r counted on without end, gaps included
	vfree    uint64 // all before is free, as far as looked
	tinySize int    // of the first chunks

	head, tail *chunk // head is the one being read
	read       int    // bytes of head already given out
	held       []*chunk
	free       []*chunk // the last was used last, and is warm
	size       int      // bytes of all chunks, free ones included
	idle       int      // least number of free chunks since the last trim
}

// chunk is memory for records, each after its length; or for one record alone.
type chunk struct {
	buf  []byte // len is what is written
	next *chunk
	solo bool
}

// region is a run of records as they lie in memory.
type region struct {
	buf  []byte
	solo bool
	pos  uint64 // of buf[0] in the ring
}

func (b *buffer) init(cfg *Config) {
	b.min, b.max = uint64(cfg.BufWriter), uint64(cfg.BufMax)
	b.limit = b.min
	b.maxBytes = sizeMask
	if cfg.BufMaxSize > 0 {
		b.maxBytes = min(uint64(cfg.BufMaxSize), sizeMask)
	}
	b.tinySize = int(min(max(b.min*32, 512), 8192))
	if cfg.BufBytes > 0 {
		b.maxBytes = sizeMask
		b.ring = make([]byte, cfg.BufBytes)
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
		if b.limit >= b.max {
			return false
		}
		b.limit = min(2*b.limit, b.max)
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
		if c == nil || c.solo || n >= solo || cap(c.buf)-len(c.buf) < n+header {
			c = b.grow(n)
		}
		w := len(c.buf)
		if c.solo {
			c.buf = c.buf[:n]
		} else {
			c.buf = c.buf[:w+header+n]
			binary.LittleEndian.PutUint32(c.buf[w:], uint32(n))
			w += header
		}
		copy(c.buf[w:], p)
	}
	b.inN++
	b.inLen += uint64(n)
	a.in.Store(pack(b.inN, b.inLen))
	return true
}

func (a *agg) putRing(p []byte) bool {
	b := &a.buf
	need := header + len(p)
	gap, wrap := 0, len(b.ring)-b.w < need
	if wrap {
		gap = len(b.ring) - b.w
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
	binary.LittleEndian.PutUint32(b.ring[b.w:], uint32(len(p)))
	copy(b.ring[b.w+header:], p)
	b.w += need
	b.vw += uint64(need)
	return true
}

func (b *buffer) space() int { return len(b.ring) - int(b.vw-b.vfree) }

// grow makes room for a record of n bytes at the tail.
func (b *buffer) grow(n int) *chunk {
	c := b.chunk(n)
	if b.tail == nil {
		b.head, b.read = c, 0
	} else {
		b.tail.next = c
	}
	b.tail = c
	return c
}

// chunk finds or makes an empty one. The warmest is tried first, then the next
// few, so that a mix of lengths does not allocate each time.
func (b *buffer) chunk(n int) *chunk {
	alone := n >= solo
	need := n + header
	if alone {
		need = n
	}
	for i := len(b.free) - 1; i >= 0 && i >= len(b.free)-8; i-- {
		if c := b.free[i]; cap(c.buf) >= need && (!alone || cap(c.buf) <= 2*need) {
			last := len(b.free) - 1
			copy(b.free[i:], b.free[i+1:])
			b.free[last] = nil
			b.free = b.free[:last]
			b.idle = min(b.idle, last)
			c.solo = alone
			return c
		}
	}
	size := need
	if !alone {
		// An eighth of what there is: little waste however full the buffer.
		size = max(min(max(b.size/8, b.tinySize), maxChunk), need)
	}
	c := &chunk{buf: make([]byte, 0, size), solo: alone}
	b.size += size
	return c
}

// take gives the loop the next region, or reports that there is none. The
// memory of those before becomes free, unless hold is set.
func (a *agg) take(hold bool) (region, bool) {
	b := &a.buf
	if b.ring != nil {
		return a.takeRing(hold)
	}
	if !hold {
		for i, c := range b.held {
			b.recycle(c)
			b.held[i] = nil
		}
		b.held = b.held[:0]
	}
	for c := b.head; c != nil; c = b.head {
		if b.read < len(c.buf) {
			g := region{buf: c.buf[b.read:], solo: c.solo}
			b.read = len(c.buf)
			return g, true
		}
		if c == b.tail && !c.solo {
			if !hold {
				c.buf, b.read = c.buf[:0], 0
			}
			break
		}
		b.head, b.read = c.next, 0
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
	b := &a.buf
	if b.wrapped && b.r == b.end {
		b.vr += uint64(len(b.ring) - b.end)
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
	g := region{buf: b.ring[b.r:end], pos: b.vr}
	b.vr += uint64(end - b.r)
	b.r = end
	return g, true
}

func (b *buffer) recycle(c *chunk) {
	c.buf = c.buf[:0]
	b.free = append(b.free, c)
}

// trim gives back the chunks that were not needed since it was last called, and
// halves a limit of which less than half was used. It reports whether there is
// anything left to give back.
func (a *agg) trim() bool {
	b := &a.buf
	if held, _ := a.look(); b.limit > b.min && b.peak < b.limit/2 {
		b.limit = max(b.limit/2, b.min, held)
	}
	b.peak = 0
	drop := min(b.idle, len(b.free))
	for _, c := range b.free[:drop] {
		b.size -= cap(c.buf)
	}
	b.free = slices.Delete(b.free, 0, drop)
	b.idle = len(b.free)
	return b.limit > b.min || len(b.free) > 0
}

// reset drops what is left, and the memory of the chunks.
func (a *agg) reset() {
	b := &a.buf
	b.w, b.r, b.end, b.wrapped = 0, 0, 0, false
	b.vw, b.vr, b.vfree = 0, 0, 0
	a.freed.Store(0)
	b.head, b.tail, b.read, b.size = nil, nil, 0, 0
	b.held, b.free, b.idle = nil, nil, 0
	b.limit, b.peak = b.min, 0
	b.seenN, b.seenLen = b.inN, b.inLen
	a.out.Store(pack(b.inN, b.inLen))
}
