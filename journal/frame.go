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

func frameSum(salted uint32, lenAndPayload []byte, seq uint64) uint32 {
	var b [10]byte
	binary.LittleEndian.PutUint16(b[:], uint16(seq))
	binary.LittleEndian.PutUint64(b[2:], seq)
	sum := crc32.Update(salted, castagnoli, b[:2])
	sum = crc32.Update(sum, castagnoli, lenAndPayload)
	return crc32.Update(sum, castagnoli, b[2:])
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
	binary.LittleEndian.PutUint32(dst[at:], frameSum(salted, dst[at+6:], seq))
	return dst
}

// parseFrame reads the frame at the front of p, whose seq must lie in
// low..high and whose payload in at most longest bytes. n is the whole frame's
// size, 0 if there is none.
func parseFrame(p []byte, salted uint32, longest int, low, high uint64) (payload []byte, seq uint64, n int) {
	if len(p) < minFrame {
		return nil, 0, 0
	}
	seq = low + uint64(binary.LittleEndian.Uint16(p[4:])-uint16(low))
	if seq > high {
		return nil, 0, 0
	}
	length, k := binary.Uvarint(p[6:])
	if k <= 0 || length == 0 || length > uint64(longest) || length > uint64(len(p)-6-k) {
		return nil, 0, 0
	}
	n = 6 + k + int(length)
	sum := binary.LittleEndian.Uint32(p)
	for ; seq <= high; seq += 1 << 16 {
		if frameSum(salted, p[6:n], seq) == sum {
			return p[6+k : n], seq, n
		}
	}
	return nil, 0, 0
}
