package journal

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// Four MiB of noise are looked through in a bounded time and memory.
func FuzzScan(f *testing.F) {
	content := newHurtJournal(f, 12, 10).content
	f.Add(content[headBytes:])
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i * 7)
	}
	f.Add(noise)
	h, err := parseHead(content)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		b := append(append([]byte(nil), content[:headBytes]...), p...)
		s := newScan(readerAt(b), &h, int64(len(b)), 0)
		last, off := s.last, s.off
		for {
			payload, seq, bad, err := s.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if seq <= last || s.off <= off || len(payload) == 0 || bad.length < 0 {
				t.Fatalf("seq %d behind %d, offset %d behind %d, %+v", seq, last, s.off, off, bad)
			}
			last, off = seq, s.off
		}
	})
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(r)) {
		return 0, io.EOF
	}
	n := copy(p, r[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func BenchmarkResync(b *testing.B) {
	content := newHurtJournal(b, 12, 10).content
	h, err := parseHead(content)
	if err != nil {
		b.Fatal(err)
	}
	noise := make([]byte, 4<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	b.SetBytes(int64(len(noise)))
	for b.Loop() {
		s := newScan(readerAt(append(append([]byte(nil), content[:headBytes]...), noise...)), &h, int64(headBytes+len(noise)), 0)
		if _, _, _, err := s.next(); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
	}
}
