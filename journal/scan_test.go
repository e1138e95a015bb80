package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// Arbitrary bytes behind a valid head: reading ends, moves on with each
// record, and gives no record that is not there.
func FuzzScan(f *testing.F) {
	content := newHurtJournal(f, 12, 10).content
	f.Add(content[headBytes:], uint64(0))
	f.Add(content[headBytes+30:], uint64(5))
	f.Add(append(make([]byte, page+4090), content[headBytes:headBytes+200]...), uint64(0))
	h, err := parseHead(content)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte, before uint64) {
		b := append(append([]byte(nil), content[:headBytes]...), p...)
		s := newScan(bytes.NewReader(b), &h, int64(len(b)), before)
		last, off := s.last, s.off
		for {
			payload, seq, bad, err := s.next()
			if errors.Is(err, io.EOF) {
				if s.off > int64(len(b)) || bad.off+bad.length > int64(len(b)) || bad.length < 0 {
					t.Fatalf("ends at %d of %d, %+v", s.off, len(b), bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq <= last || before != 0 && seq >= before || s.off <= off || len(payload) == 0 || bad.length < 0 || bad.off < off {
				t.Fatalf("seq %d behind %d, offset %d behind %d, %+v", seq, last, s.off, off, bad)
			}
			if frame := appendFrame(nil, s.salted, seq, payload); string(frame) != string(b[s.off-int64(len(frame)):s.off]) {
				t.Fatalf("the frame of %d is not there", seq)
			}
			last, off = seq, s.off
		}
	})
}

// A frame may begin with zeros of its own behind zeros that are damage.
func TestAFrameThatBeginsWithZeros(t *testing.T) {
	h := head{first: 1, longest: 4096}
	salted := saltSum(0)
	var frame []byte
	for n := 0; frame == nil || frame[0] != 0 || frame[1] == 0; n++ {
		frame = appendFrame(nil, salted, 3, reading(n))
	}
	for gap := 1; gap < 40; gap++ {
		p := append(make([]byte, headBytes), appendFrame(nil, salted, 1, reading(0))...)
		p = append(append(p, make([]byte, gap)...), frame...)
		s := newScan(bytes.NewReader(p), &h, int64(len(p)), 0)
		if _, seq, _, err := s.next(); err != nil || seq != 1 {
			t.Fatalf("%d: %v", seq, err)
		}
		_, seq, bad, err := s.next()
		if found := err == nil && seq == 3; found != (gap >= minFrame) || found && bad.length != int64(gap) {
			t.Errorf("%d zeros before it: seq %d, %+v, %v", gap, seq, bad, err)
		}
	}
}

func FuzzHead(f *testing.F) {
	h := head{first: 1, longest: 4096, size: minSegment, number: 1, device: "a"}
	f.Add(h.append(nil))
	h.device, h.first, h.end = string(make([]byte, maxDevice)), 9, 8
	f.Add(h.append(nil))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= page {
			p = p[:page]
			signHead(p) // or no input gets further
		}
		h, err := parseHead(p)
		if err != nil {
			return
		}
		again, err := parseHead(h.append(nil))
		if err != nil || again != h {
			t.Errorf("%+v became %+v: %v", h, again, err)
		}
	})
}

// noise is what a resync has to look through at worst: bytes that look like
// frames as often as chance allows, or as bad as they can be made.
func noises() map[string][]byte {
	const n = 4 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, n)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	sparse := make([]byte, n) // a byte at the end of each page
	for i := page - 1; i < n; i += page {
		sparse[i] = 1
	}
	frames := make([]byte, 0, n+8) // a plausible, long and false frame at every seventh byte
	for len(frames) < n {
		frames = append(frames, 0, 0, 0, 0)
		frames = binary.LittleEndian.AppendUint16(frames, uint16(len(frames)))
		frames = append(frames, 0xf0, 0x1f, 1)
	}
	return map[string][]byte{"random": random, "sparse": sparse, "frames": frames[:n]}
}

// noisy is a scan of a segment that holds nothing but p.
func noisy(longest int, p []byte) *scan {
	h := head{first: 1, longest: longest}
	return newScan(bytes.NewReader(append(make([]byte, headBytes), p...)), &h, int64(headBytes+len(p)), 0)
}

// Looking for the next frame in 4 MiB of anything is bounded in time and memory.
func TestResyncIsBounded(t *testing.T) {
	for what, p := range noises() {
		for _, longest := range []int{4 << 10, maxPayload} {
			if what == "frames" && longest == maxPayload {
				continue // as long as somebody made it
			}
			s := noisy(longest, p)
			start := time.Now()
			if _, _, bad, err := s.next(); !errors.Is(err, io.EOF) || bad.length < int64(len(p)-page) {
				t.Errorf("%s: %v, %+v", what, err, bad)
			}
			t.Logf("%s, records up to %d: %v", what, longest, time.Since(start))
			if most := max(chunk, 2*(longest+16)); cap(s.buf) > most {
				t.Errorf("%s: a buffer of %d bytes", what, cap(s.buf))
			}
		}
	}
}

func BenchmarkResync(b *testing.B) {
	for what, p := range noises() {
		b.Run(what, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if _, _, _, err := noisy(4<<10, p).next(); !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}
