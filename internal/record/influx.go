package record

import "strconv"

// AppendInflux adds r as one line of InfluxDB's line protocol, with its
// newline: the measurement is the source (gaps and events have measurements of
// their own), tags are device and journal, numbers are floats, the field seq
// is an integer, the time is in nanoseconds.
func AppendInflux(dst []byte, r *Record, device, journal string) []byte {
	switch r.Kind {
	case Reading:
		dst = appendEscaped(dst, r.Source, ", ")
	case Gap:
		dst = append(dst, "edgeagg_gap"...)
	case Event:
		dst = append(dst, "edgeagg_event"...)
	}
	dst = appendTag(dst, "device", device)
	dst = appendTag(dst, "journal", journal)
	if r.Kind != Reading {
		dst = appendTag(dst, "source", r.Source)
	}
	dst = append(dst, ' ')
	text := func(key, value string) {
		if value != "" {
			dst = appendEscaped(dst, key, ",= ")
			dst = append(appendFieldText(append(dst, '='), value), ',')
		}
	}
	whole := func(key string, v int64) {
		dst = strconv.AppendInt(append(append(dst, key...), '='), v, 10)
		dst = append(dst, 'i', ',')
	}
	switch r.Kind {
	case Reading:
		for i := range r.Fields {
			f := &r.Fields[i]
			if !f.Finite() {
				continue
			}
			if f.Type == String {
				text(f.Name, f.Text)
				continue
			}
			dst = append(appendEscaped(dst, f.Name, ",= "), '=')
			dst = AppendValue(dst, f) // a number without an i is a float
			dst = append(dst, ',')
		}
		if r.Quality != Good {
			text("quality", r.Quality.String())
			text("why", r.Why)
		}
	case Gap:
		text("reason", r.Reason)
		whole("count", r.Count)
		if r.First != 0 {
			whole("first", int64(r.First))
			whole("last", int64(r.Last))
		}
		if r.From.Wall != 0 {
			whole("from", r.From.Wall*1000)
		}
		if r.To.Wall != 0 {
			whole("to", r.To.Wall*1000)
		}
	case Event:
		text("event", r.Event)
		text("why", r.Why)
		if r.Offset != 0 {
			dst = append(dst, "offset="...)
			dst = append(AppendFloat(dst, r.Offset.Seconds()), ',')
		}
		if r.First != 0 {
			whole("first", int64(r.First))
			whole("last", int64(r.Last))
		}
	}
	if r.Corrected || !r.Time.Set {
		clock := "unset"
		if r.Corrected {
			clock = "corrected"
		}
		text("clock", clock)
	}
	dst = strconv.AppendUint(append(dst, "seq="...), r.Seq, 10)
	dst = append(dst, "i "...)
	dst = strconv.AppendInt(dst, r.Time.Wall, 10)
	return append(dst, "000\n"...)
}

func appendTag(dst []byte, key, value string) []byte {
	if value == "" { // an empty tag value is no line protocol
		return dst
	}
	dst = append(append(append(dst, ','), key...), '=')
	return appendEscaped(dst, value, ",= ")
}

// appendEscaped adds a measurement, key or tag value with a backslash before
// the characters that are special there. A newline cannot be escaped there and
// becomes a space; a backslash at the end would escape what follows.
func appendEscaped(dst []byte, s, special string) []byte {
	for i := range len(s) {
		c := s[i]
		if c == '\n' || c == '\r' {
			c = ' '
		}
		for j := range len(special) {
			if c == special[j] {
				dst = append(dst, '\\')
			}
		}
		dst = append(dst, c)
	}
	if len(s) > 0 && s[len(s)-1] == '\\' {
		dst = append(dst, '_')
	}
	return dst
}

// appendFieldText adds a string field's value in quotes.
func appendFieldText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}
