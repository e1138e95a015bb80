package uplink

import (
	"strconv"

	"edgeagg/internal/record"
)

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
	key("seq")
	dst = strconv.AppendUint(dst, r.Seq, 10)
	return append(dst, "}}"...)
}
