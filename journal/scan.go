package journal

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
)

// scan reads the frames of one segment in order, steps over padding, and
// finds the next sound frame behind damaged bytes.
type scan struct {
	parser
	r         io.ReaderAt
	end       int64  // bytes of the segment that may be read
	before    uint64 // records from this seq on are read from the next segment
	over      bool   // one of those was seen: no more is read
	forgiving bool   // a page that the card does not give is damage, not an error

	off  int64  // of the next frame
	last uint64 // seq of the last frame, or of the record before the segment

	buf   []byte // the bytes [bufAt, bufAt+len(buf)) of the segment
	bufAt int64
}

const chunk = 64 << 10

// newScan starts behind the head of a segment. before is the first seq of the
// segment behind it, 0 if there is none.
func newScan(r io.ReaderAt, h *head, end int64, before uint64) *scan {
	s := &scan{
		parser: parser{salted: saltSum(h.salt), longest: h.longest},
		r:      r, end: end, before: before, off: headBytes, last: h.first - 1,
	}
	if before == 0 {
		s.before = math.MaxUint64
	}
	s.over = s.before <= h.first
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
		if err := s.fill(off, n, int(min(int64(max(2*n, chunk)), s.end-off))); err != nil {
			return nil, err
		}
	}
	p := s.buf[off-s.bufAt:]
	return p[:min(n, len(p))], nil
}

// fill reads n bytes from off on, or at least the first need of them.
func (s *scan) fill(off int64, need, n int) error {
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	s.buf, s.bufAt = s.buf[:n], off
	k, err := s.r.ReadAt(s.buf, off)
	for err != nil && !errors.Is(err, io.EOF) {
		if !s.forgiving {
			s.buf = s.buf[:k]
			if k >= need {
				return nil
			}
			return err
		}
		// What this page does not give becomes bytes that no frame begins with.
		end := min(n, k+page-int((off+int64(k))%page))
		for ; k < end; k++ {
			s.buf[k] = 0xff
		}
		var more int
		more, err = s.r.ReadAt(s.buf[k:], off+int64(k))
		k += more
	}
	s.buf = s.buf[:k]
	return nil
}

// next gives the next sound frame, whose payload is valid until the next
// call, and what was bad before it (length 0: nothing). At the end of the
// segment err is io.EOF, and bad is what was found behind the last frame.
func (s *scan) next() (payload []byte, seq uint64, bad damaged, err error) {
	start, off := s.off, s.off
	sound := true // everything from start on was padding
	rough := off  // behind the last byte that is not zero
	for {
		var p []byte
		if !s.over {
			if p, err = s.at(off, max(s.longest+16, page)); err != nil {
				return nil, 0, damaged{off: start, length: off - start}, err
			}
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
		if payload, seq, n := s.parse(p, s.last+1, high); n > 0 {
			if s.over = seq >= s.before; s.over {
				continue
			}
			if sound && seq == s.last+1 {
				start = off // only padding lies between
			}
			s.off, s.last = off+int64(n), seq
			return payload, seq, damaged{off: start, length: off - start}, nil
		}
		p = p[:min(len(p), int(page-off%page))]
		z := zeros(p)
		off += int64(max(1, z-maxZeros))
		if z < len(p) { // padding runs to the end of a page
			sound = false
		}
		if z == 0 {
			rough = off
		}
	}
}

// half reports whether the bytes between off, where the last record ends, and
// end are the beginning of a frame whose rest the kernel had not taken yet: a
// kill stops a write at the end of a page.
func (s *scan) half(off, end int64) bool {
	if p, err := s.at(off, int(whole(off)-off)); err != nil || zeros(p) == len(p) {
		off = whole(off)
	}
	p, err := s.at(off, page)
	if err != nil || len(p) < minFrame || binary.LittleEndian.Uint16(p[4:]) != uint16(s.last+1) {
		return false
	}
	length, k := binary.Uvarint(p[6:])
	return k > 0 && length <= uint64(s.longest) && off+6+int64(k)+int64(length) > whole(end)
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
