package record

import (
	"encoding/binary"
	"math"
	"time"
)

// scanner takes values off the front of p; bad is set, and zero values come
// out, once p has ended or does not parse.
type scanner struct {
	p   []byte
	bad bool
}

func (s *scanner) fail() { s.p, s.bad = nil, true }

func (s *scanner) byte() byte {
	if len(s.p) == 0 {
		s.fail()
		return 0
	}
	b := s.p[0]
	s.p = s.p[1:]
	return b
}

func (s *scanner) uint() uint64 {
	v, n := binary.Uvarint(s.p)
	if n <= 0 {
		s.fail()
		return 0
	}
	s.p = s.p[n:]
	return v
}

func (s *scanner) int() int64 {
	v, n := binary.Varint(s.p)
	if n <= 0 {
		s.fail()
		return 0
	}
	s.p = s.p[n:]
	return v
}

func (s *scanner) bytes() []byte {
	n := s.uint()
	if n > uint64(len(s.p)) {
		s.fail()
		return nil
	}
	b := s.p[:n]
	s.p = s.p[n:]
	return b
}

func (s *scanner) float() float64 {
	if len(s.p) < 8 {
		s.fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(s.p))
	s.p = s.p[8:]
	return v
}

func (s *scanner) micros() int64 { return int64(s.uint()) }

func (s *scanner) duration() time.Duration { return time.Duration(s.int()) }

func (s *scanner) time() Time {
	w := s.uint()
	return Time{Wall: int64(w >> 1), Set: w&1 != 0, Mono: s.micros()}
}
