package uplink

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"

	"edgeagg/internal/record"
	"edgeagg/journal"
)

// encoder turns records into the payloads of history messages.
type encoder struct {
	format string
	gz     *gzip.Writer // nil: no compression
	packed bytes.Buffer
	out    []byte
}

func (u *Uplink) encoder() *encoder {
	e := &encoder{format: u.o.Config.Format}
	if u.o.Config.Gzip {
		e.gz = gzip.NewWriter(&e.packed)
	}
	return e
}

func (e *encoder) check() error {
	switch e.format {
	case "json", "influx", "thingsboard":
		return nil
	}
	return fmt.Errorf("uplink.format = %q: not in this version", e.format)
}

// record adds one record as it stands in a message, with what separates it
// from the next.
func (e *encoder) record(dst []byte, r *record.Record, device, id string) []byte {
	switch e.format {
	case "influx":
		return record.AppendInflux(dst, r, device, id)
	case "thingsboard":
		return append(appendThingsBoard(dst, r), ',')
	}
	return append(record.AppendJSON(dst, r), ',')
}

// message is the payload of the records in p. It is valid until the next call.
func (e *encoder) message(p []byte, device, id string, resend bool) []byte {
	m := e.out[:0]
	switch e.format {
	case "influx":
		m = append(m, p...)
	case "thingsboard":
		m = append(append(append(m, '['), bytes.TrimSuffix(p, []byte{','})...), ']')
	default:
		m = record.AppendQuoted(append(m, `{"device":`...), device)
		m = record.AppendQuoted(append(m, `,"journal":`...), id)
		if resend {
			m = append(m, `,"resend":true`...)
		}
		m = append(append(append(m, `,"records":[`...), bytes.TrimSuffix(p, []byte{','})...), "]}"...)
	}
	e.out = m
	if e.gz == nil {
		return m
	}
	e.packed.Reset()
	e.gz.Reset(&e.packed)
	// Writing to memory does not fail.
	_, _ = e.gz.Write(m)
	_ = e.gz.Close()
	return e.packed.Bytes()
}

// appendThingsBoard adds an element of the array that ThingsBoard's MQTT API
// takes as telemetry with times of the device's: {"ts":ms,"values":{…}}. Keys
// are source.field.
func appendThingsBoard(dst []byte, r *record.Record) []byte {
	dst = strconv.AppendInt(append(dst, `{"ts":`...), r.Time.Wall/1000, 10)
	dst = append(dst, `,"values":{`...)
	n := 0
	key := func(name string) {
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		if r.Source != "" {
			name = r.Source + "." + name
		}
		dst = append(record.AppendQuoted(dst, name), ':')
	}
	switch r.Kind {
	case record.Reading:
		for _, f := range r.Fields {
			if f.Finite() {
				key(f.Name)
				dst = record.AppendValue(dst, &f)
			}
		}
		if r.Quality != record.Good {
			key("quality")
			dst = record.AppendQuoted(dst, r.Quality.String())
			key("why")
			dst = record.AppendQuoted(dst, r.Why)
		}
	case record.Gap:
		key("edgeagg_gap")
		dst = record.AppendQuoted(dst, r.Reason)
		key("edgeagg_gap_count")
		dst = strconv.AppendInt(dst, r.Count, 10)
	case record.Event:
		key("edgeagg_event")
		dst = record.AppendQuoted(dst, r.Event)
	}
	if n > 0 {
		dst = append(dst, ',')
	}
	dst = strconv.AppendUint(append(dst, `"seq":`...), r.Seq, 10)
	return append(dst, "}}"...)
}

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
}

// end is where a record ends in a batch.
type end struct {
	off int
	seq uint64
}

// add encodes a record; it reports false, and leaves it, if it belongs to
// another device or journal than those before.
func (b *batch) add(e *journal.Entry) (bool, error) {
	if len(b.ends) > 0 && (e.Journal != b.of || e.Device != b.device) {
		return false, nil
	}
	if err := e.Decode(&b.d, &b.r); err != nil {
		return false, fmt.Errorf("record %d: %w", e.Seq, err)
	}
	if b.id == "" || b.of != e.Journal {
		b.of, b.id = e.Journal, e.Journal.String()
	}
	b.device = e.Device
	b.p = b.e.record(b.p, &b.r, b.device, b.id)
	b.ends = append(b.ends, end{len(b.p), e.Seq})
	return true, nil
}

// message makes a payload of as many of the first records as fit most bytes,
// of one at least.
func (b *batch) message(most int, resend bool) (payload []byte, n int) {
	n = len(b.ends)
	for {
		payload = b.e.message(b.p[:b.ends[n-1].off], b.device, b.id, resend)
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
