package journal

import (
	"errors"
	"io"
	"math"
)

// scan reads the frames of one segment in order, steps over padding, and
// finds the next sound frame behind damaged bytes.
type scan struct {
	r      io.ReaderAt
	parser parser
	end    int64  // bytes of the segment that may be read
	before uint64 // records from this seq on belong to the next segment

	off  int64  // of the next frame
	last uint64 // seq of the last frame, or of the record before the segment

	buf   []byte // the bytes [bufAt, bufAt+len(buf)) of the segment
	bufAt int64
}

const chunk = 64 << 10

// newScan starts behind the head of a segment.
func newScan(r io.ReaderAt, h *head, end int64, before uint64) *scan {
	s := &scan{r: r, parser: parser{salted: saltSum(h.salt), longest: h.longest}, end: end, before: before, off: headBytes, last: h.first - 1}
	switch {
	case before == 0:
		s.before = math.MaxUint64
	case before <= h.first: // all of it is
		s.end = headBytes
	}
	return s
}

// damaged is a run of bytes that hold no sound record.
type damaged struct {
	off, length int64
	tail        bool // nothing sound lies behind it in the segment
}

// at gives up to n bytes from off on, fewer only at the segment's end.
// They are valid until the next call.
func (s *scan) at(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-off))
	if n <= 0 {
		return nil, nil
	}
	if off < s.bufAt || off+int64(n) > s.bufAt+int64(len(s.buf)) {
		want := int(min(int64(max(n, chunk)), s.end-off))
		if cap(s.buf) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.bufAt = s.buf[:want], off
		k, err := s.r.ReadAt(s.buf, off)
		s.buf = s.buf[:k]
		if err != nil && !errors.Is(err, io.EOF) {
			s.buf = s.buf[:0]
			return nil, err
		}
	}
	p := s.buf[off-s.bufAt:]
	return p[:min(n, len(p))], nil
}

// next gives the next sound frame, whose payload is valid until the next
// call, and what was bad before it (length 0: nothing). At the end of the
// segment err is io.EOF, and bad is what was found behind the last frame.
func (s *scan) next() (payload []byte, seq uint64, bad damaged, err error) {
	start, off := s.off, s.off
	sound := true // everything from start on was zero
	rough := off  // behind the last byte that is not zero
	for {
		p, err := s.at(off, s.parser.longest+16)
		if err != nil {
			return nil, 0, damaged{off: start, length: off - start}, err
		}
		if len(p) == 0 {
			s.off = off
			if sound {
				return nil, 0, damaged{}, io.EOF
			}
			return nil, 0, damaged{off: start, length: rough - start, tail: true}, io.EOF
		}
		// As many records may lie in the bytes between as fit there.
		high := s.last + 1 + uint64(off-start)/minFrame
		if payload, seq, n := s.parser.parse(p, s.last+1, high); n > 0 {
			if seq >= s.before { // written again in the next segment, and read from there
				s.end = off
				continue
			}
			if sound && seq == s.last+1 {
				start = off // only padding lies between
			}
			s.off, s.last = off+int64(n), seq
			return payload, seq, damaged{off: start, length: off - start}, nil
		}
		// Padding runs to the end of a page.
		if z := zeros(p); z > 0 {
			if rest := int(page - off%page); z >= rest || z == len(p) {
				off += int64(min(z, rest))
				continue
			}
		}
		sound = false
		off++
		if p[0] != 0 {
			rough = off
		}
	}
}

// zeros counts the zero bytes at the front of p.
func zeros(p []byte) int {
	for i, b := range p {
		if b != 0 {
			return i
		}
	}
	return len(p)
}
