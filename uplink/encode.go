package uplink

import (
	"bytes"
	"compress/gzip"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// encoder turns records into the payloads of history messages.
type encoder struct {
	format string
	gz     *gzip.Writer // nil: no compression
	packed bytes.Buffer
	out    []byte
}

func newEncoder(c *config.Uplink) *encoder {
	e := &encoder{format: c.Format}
	if c.Gzip {
		e.gz = gzip.NewWriter(&e.packed)
	}
	return e
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
