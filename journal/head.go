package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"edgeagg/internal/record"
)

const (
	page      = 4096
	headBytes = 2 * page // the head stands twice, a page each
	version   = 1

	maxDevice  = 255
	maxPayload = 1 << 20
	minSegment = 64 << 10
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	magic      = []byte("edgeagg")

	errNoHead  = errors.New("no segment head")
	errVersion = errors.New("written by a later version of edgeagg")
)

// ID is a journal's random identity (RFC 9562, version 4).
type ID [16]byte

func (id ID) String() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// head is what a segment says of itself; FORMAT.md has its bytes.
type head struct {
	salt    uint64
	journal ID
	prev    ID // the journal that this one goes on from, in the same folder; zero: none
	boot    ID
	machine uint64 // hash of the board's identity
	first   uint64 // seq of the first record that it may hold
	end     uint64 // seq of the last record before it
	oldest  uint64 // seq of the oldest record kept when it was made
	lost    uint64 // records known to be lost until then
	base    int64  // µs, wall − mono of this boot once the clock is set; 0: it was not
	made    record.Time
	size    int64 // bytes of the file until it is sealed
	longest int   // bytes of the longest payload that it may hold
	device  string
}

func (h *head) append(dst []byte) []byte {
	at := len(dst)
	dst = append(append(dst, magic...), version)
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, h.salt)
	dst = append(append(append(dst, h.journal[:]...), h.prev[:]...), h.boot[:]...)
	dst = le.AppendUint64(dst, h.machine)
	dst = le.AppendUint64(dst, h.first)
	dst = le.AppendUint64(dst, h.end)
	dst = le.AppendUint64(dst, h.oldest)
	dst = le.AppendUint64(dst, h.lost)
	dst = le.AppendUint64(dst, uint64(h.base))
	dst = le.AppendUint64(dst, uint64(h.made.Wall))
	dst = le.AppendUint64(dst, uint64(h.made.Mono))
	dst = le.AppendUint64(dst, uint64(h.size))
	dst = le.AppendUint32(dst, uint32(h.longest))
	dst = append(append(dst, byte(len(h.device))), h.device...)
	dst = append(dst, make([]byte, page-(len(dst)-at))...)
	seal(dst[at:])
	return dst
}

// seal writes the checksum at the end of a head's page.
func seal(p []byte) {
	binary.LittleEndian.PutUint32(p[page-4:], crc32.Checksum(p[:page-4], castagnoli))
}

func parseHead(p []byte) (head, error) {
	le := binary.LittleEndian
	if len(p) < page || !bytes.Equal(p[:len(magic)], magic) || crc32.Checksum(p[:page-4], castagnoli) != le.Uint32(p[page-4:]) {
		return head{}, errNoHead
	}
	if p[7] != version {
		return head{}, fmt.Errorf("format %d: %w", p[7], errVersion)
	}
	h := head{
		salt:    le.Uint64(p[8:]),
		journal: ID(p[16:32]),
		prev:    ID(p[32:48]),
		boot:    ID(p[48:64]),
		machine: le.Uint64(p[64:]),
		first:   le.Uint64(p[72:]),
		end:     le.Uint64(p[80:]),
		oldest:  le.Uint64(p[88:]),
		lost:    le.Uint64(p[96:]),
		base:    int64(le.Uint64(p[104:])),
		made:    record.Time{Wall: int64(le.Uint64(p[112:])), Mono: int64(le.Uint64(p[120:]))},
		size:    int64(le.Uint64(p[128:])),
		longest: int(le.Uint32(p[136:])),
		device:  string(p[141 : 141+int(p[140])]),
	}
	h.made.Set = h.base != 0
	if h.first == 0 || h.longest <= 0 || h.longest > maxPayload {
		return head{}, errNoHead
	}
	return h, nil
}

// readHead reads the first copy of a segment's head that is sound.
func readHead(r io.ReaderAt) (head, error) {
	p := make([]byte, page)
	var first error
	for at := int64(0); at < headBytes; at += page {
		if _, err := r.ReadAt(p, at); err != nil && !errors.Is(err, io.EOF) {
			return head{}, err
		}
		h, err := parseHead(p)
		if err == nil || errors.Is(err, errVersion) {
			return h, err
		}
		first = err
		clear(p)
	}
	return head{}, first
}

// headOf reads the head of a segment file, and the file's length.
func headOf(name string) (head, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return head{}, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return head{}, 0, err
	}
	h, err := readHead(f)
	return h, st.Size(), err
}
