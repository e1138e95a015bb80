package journal

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A frame is one record in a segment:
//
//	crc32c  4 bytes, little endian, of all that follows, with the segment's
//	        salt before it and the whole seq (8 bytes) behind it
//	seq     2 bytes, little endian: the low 16 bits
//	length  uvarint, at least 1
//	payload
//
// No frame begins with its first 7 bytes zero, so zeros are never one.
const minFrame = 4 + 2 + 1 + 1

// saltSum is the state of the checksum after a segment's salt.
func saltSum(salt uint64) uint32 {
	return crc32.Checksum(binary.LittleEndian.AppendUint64(nil, salt), castagnoli)
}

// frameBytes is the size of the frame of a payload of n bytes.
func frameBytes(n int) int {
	return 4 + 2 + (bits.Len64(uint64(n)|1)+6)/7 + n
}

func appendFrame(dst []byte, salted uint32, seq uint64, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(seq), byte(seq>>8))
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	dst = append(dst, payload...)
	end := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, seq) // summed, not kept
	binary.LittleEndian.PutUint32(dst[at:], crc32.Update(salted, castagnoli, dst[at+4:]))
	return dst[:end]
}

// parser reads frames of one segment.
type parser struct {
	salted  uint32
	longest int     // bytes of a payload
	whole   [8]byte // the seq that is tried
}

// parse reads the frame at the front of p, whose seq must lie in low..high. n
// is the whole frame's size, 0 if there is none.
func (f *parser) parse(p []byte, low, high uint64) (payload []byte, seq uint64, n int) {
	if len(p) < minFrame {
		return nil, 0, 0
	}
	seq = low + uint64(binary.LittleEndian.Uint16(p[4:])-uint16(low))
	if seq > high {
		return nil, 0, 0
	}
	length, k := binary.Uvarint(p[6:])
	if k <= 0 || length == 0 || length > uint64(f.longest) || length > uint64(len(p)-6-k) {
		return nil, 0, 0
	}
	n = 6 + k + int(length)
	sum, most := binary.LittleEndian.Uint32(p), crc32.Update(f.salted, castagnoli, p[4:n])
	for ; seq <= high; seq += 1 << 16 {
		binary.LittleEndian.PutUint64(f.whole[:], seq)
		if crc32.Update(most, castagnoli, f.whole[:]) == sum {
			return p[6+k : n], seq, n
		}
	}
	return nil, 0, 0
}
