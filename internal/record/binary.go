package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The binary form, version 1. Integers are uvarints (LEB128) unless said
// otherwise, strings a uvarint length and the bytes.
//
//	byte  kind in bits 0–1, clock set in bit 2, quality in bits 3–4
//	wall, mono            µs
//	source                string
//	reading  [why] if the quality is not good; number of fields; each: name,
//	         type byte, value (Float 8 bytes little endian, Int zigzag,
//	         String a string, Bool one byte)
//	gap      reason, count (zigzag), first, last, from, to; a time is
//	         wall<<1|set, mono
//	event    name, why, offset in ns (zigzag), first, last

var errShort = errors.New("record: cut short")

// Append adds the binary form of r to dst. A field that is not finite is left out.
func Append(dst []byte, r *Record) []byte {
	b := byte(r.Kind) | byte(r.Quality)<<3
	if r.Time.Set {
		b |= 1 << 2
	}
	dst = append(dst, b)
	dst = binary.AppendUvarint(dst, uint64(r.Time.Wall))
	dst = binary.AppendUvarint(dst, uint64(r.Time.Mono))
	dst = appendString(dst, r.Source)
	switch r.Kind {
	case Reading:
		if r.Quality != Good {
			dst = appendString(dst, r.Why)
		}
		n := 0
		for i := range r.Fields {
			if r.Fields[i].Finite() {
				n++
			}
		}
		dst = binary.AppendUvarint(dst, uint64(n))
		for i := range r.Fields {
			if r.Fields[i].Finite() {
				dst = appendField(dst, &r.Fields[i])
			}
		}
	case Gap:
		dst = appendString(dst, r.Reason)
		dst = binary.AppendVarint(dst, r.Count)
		dst = binary.AppendUvarint(dst, r.First)
		dst = binary.AppendUvarint(dst, r.Last)
		dst = appendTime(dst, r.From)
		dst = appendTime(dst, r.To)
	case Event:
		dst = appendString(dst, r.Event)
		dst = appendString(dst, r.Why)
		dst = binary.AppendVarint(dst, int64(r.Offset))
		dst = binary.AppendUvarint(dst, r.First)
		dst = binary.AppendUvarint(dst, r.Last)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendTime(dst []byte, t Time) []byte {
	w := uint64(t.Wall) << 1
	if t.Set {
		w |= 1
	}
	return binary.AppendUvarint(binary.AppendUvarint(dst, w), uint64(t.Mono))
}

func appendField(dst []byte, f *Field) []byte {
	dst = append(appendString(dst, f.Name), byte(f.Type))
	switch f.Type {
	case Float:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f.Num))
	case Int:
		return binary.AppendVarint(dst, f.Int)
	case String:
		return appendString(dst, f.Text)
	}
	return append(dst, byte(f.Int))
}

// Decoder turns the binary form back into records. It keeps the names it has
// seen, at most a few hundred, so that a stream of readings costs no
// allocation for them. The zero value is ready.
type Decoder struct {
	names map[string]string
}

const maxNames = 512

func (d *Decoder) intern(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if d.names == nil || len(d.names) >= maxNames {
		d.names = make(map[string]string)
	}
	d.names[s] = s
	return s
}

// Decode reads the record in p into r, whose Fields are used again. Nothing of
// p is kept. The sequence number becomes 0.
func (d *Decoder) Decode(p []byte, r *Record) error {
	fields := r.Fields[:0]
	*r = Record{Fields: fields}
	s := scanner{p: p}
	b := s.byte()
	r.Kind, r.Quality = Kind(b&3), Quality(b>>3&3)
	r.Time.Set = b&(1<<2) != 0
	if b>>5 != 0 || r.Quality > Bad {
		return fmt.Errorf("record: unknown head byte %#02x", b)
	}
	r.Time.Wall, r.Time.Mono = s.micros(), s.micros()
	r.Source = d.intern(s.bytes())
	switch r.Kind {
	case Reading:
		if r.Quality != Good {
			r.Why = d.intern(s.bytes())
		}
		n := s.uint()
		if n > uint64(len(s.p)) {
			return errShort
		}
		for range n {
			f := Field{Name: d.intern(s.bytes()), Type: Type(s.byte())}
			switch f.Type {
			case Float:
				f.Num = s.float()
			case Int:
				f.Int = s.int()
			case String:
				f.Text = string(s.bytes())
			case Bool:
				f.Int = int64(s.byte() & 1)
			default:
				return fmt.Errorf("record: unknown type %d of field %q", f.Type, f.Name)
			}
			if s.bad {
				return errShort
			}
			r.Fields = append(r.Fields, f)
		}
	case Gap:
		r.Reason = d.intern(s.bytes())
		r.Count = s.int()
		r.First, r.Last = s.uint(), s.uint()
		r.From, r.To = s.time(), s.time()
	case Event:
		r.Event = d.intern(s.bytes())
		r.Why = string(s.bytes())
		r.Offset = s.duration()
		r.First, r.Last = s.uint(), s.uint()
	default:
		return fmt.Errorf("record: unknown kind %d", r.Kind)
	}
	if s.bad {
		return errShort
	}
	if len(s.p) != 0 {
		return fmt.Errorf("record: %d bytes too many", len(s.p))
	}
	return nil
}
