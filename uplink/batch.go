package uplink

import (
	"fmt"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// batch collects records of one device and journal until a message is full.
type batch struct {
	e      *encoder
	d      record.Decoder
	r      record.Record
	p      []byte
	ends   []end
	device string
	of     journal.ID
	id     string
	ratio  float64 // of records to payload, lately; with compression
}

// end is where a record ends in a batch.
type end struct {
	off int
	seq uint64
}

// takes reports whether e belongs to the device and journal of those before.
func (b *batch) takes(e *journal.Entry) bool {
	return len(b.ends) == 0 || e.Journal == b.of && e.Device == b.device
}

// add encodes a record that it takes.
func (b *batch) add(e *journal.Entry) error {
	if err := e.Decode(&b.d, &b.r); err != nil {
		return fmt.Errorf("record %d: %w", e.Seq, err)
	}
	if b.id == "" || b.of != e.Journal {
		b.of, b.id = e.Journal, e.Journal.String()
	}
	b.device = e.Device
	b.p = b.e.record(b.p, &b.r, b.device, b.id)
	b.ends = append(b.ends, end{len(b.p), e.Seq})
	return nil
}

// firstRatio is how well records are taken to compress before one message has
// shown it.
const firstRatio = 6

// want is how many bytes of records make a message of most bytes.
func (b *batch) want(most int) int {
	if b.e.gz == nil {
		return most
	}
	if b.ratio == 0 {
		return most * firstRatio
	}
	return int(float64(most) * max(b.ratio, 1))
}

// message makes a payload of as many of the first records as fit most bytes,
// of one at least. It is valid until the next call.
func (b *batch) message(most int, resend bool) (payload []byte, n int) {
	want := b.want(most)
	for n = len(b.ends); n > 1 && b.ends[n-1].off > want; n-- {
	}
	for {
		off := b.ends[n-1].off
		payload = b.e.message(b.p[:off], b.device, b.id, resend)
		if b.e.gz != nil && n > 1 {
			// The next one is made to fit with a little room.
			b.ratio = float64(off) / float64(len(payload)) * 0.97
		}
		if len(payload) <= most || n == 1 {
			return payload, n
		}
		n = max(1, min(n-1, n*most/len(payload)))
	}
}

// drop forgets the first n records.
func (b *batch) drop(n int) {
	off := b.ends[n-1].off
	b.p = b.p[:copy(b.p, b.p[off:])]
	k := copy(b.ends, b.ends[n:])
	b.ends = b.ends[:k]
	for i := range b.ends {
		b.ends[i].off -= off
	}
}

func (b *batch) reset() { b.p, b.ends = b.p[:0], b.ends[:0] }
