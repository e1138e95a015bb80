package record

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON adds the JSON object of r to dst, without a newline. Strings that
// are not UTF-8 have their bad bytes replaced by U+FFFD.
func AppendJSON(dst []byte, r *Record) []byte {
	dst = append(dst, '{')
	if r.Seq != 0 {
		dst = strconv.AppendUint(append(dst, `"seq":`...), r.Seq, 10)
		dst = append(dst, ',')
	}
	dst = appendStamp(append(dst, `"time":`...), r.Time.Wall)
	switch {
	case r.Corrected:
		dst = append(dst, `,"clock":"corrected"`...)
	case !r.Time.Set:
		dst = append(dst, `,"clock":"unset"`...)
	}
	if r.Source != "" {
		dst = AppendQuoted(append(dst, `,"source":`...), r.Source)
	}
	switch r.Kind {
	case Reading:
		if r.Quality != Good {
			dst = append(append(append(dst, `,"quality":"`...), r.Quality.String()...), '"')
			dst = AppendQuoted(append(dst, `,"why":`...), r.Why)
		}
		dst = append(dst, `,"fields":{`...)
		n := 0
		for i := range r.Fields {
			f := &r.Fields[i]
			if !f.Finite() {
				continue
			}
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			dst = append(AppendQuoted(dst, f.Name), ':')
			dst = AppendValue(dst, f)
		}
		dst = append(dst, '}')
	case Gap:
		dst = strconv.AppendInt(append(dst, `,"gap":{"count":`...), r.Count, 10)
		dst = AppendQuoted(append(dst, `,"reason":`...), r.Reason)
		dst = appendSpan(dst, r)
		if r.From.Wall != 0 {
			dst = appendStamp(append(dst, `,"from":`...), r.From.Wall)
		}
		if r.To.Wall != 0 {
			dst = appendStamp(append(dst, `,"to":`...), r.To.Wall)
		}
		dst = append(dst, '}')
	case Event:
		dst = AppendQuoted(append(dst, `,"event":`...), r.Event)
		if r.Why != "" {
			dst = AppendQuoted(append(dst, `,"why":`...), r.Why)
		}
		if r.Offset != 0 {
			dst = append(dst, `,"offset":"`...)
			dst = strconv.AppendFloat(dst, r.Offset.Seconds(), 'f', -1, 64)
			dst = append(dst, `s"`...)
		}
		dst = appendSpan(dst, r)
	}
	return append(dst, '}')
}

func appendSpan(dst []byte, r *Record) []byte {
	if r.First == 0 {
		return dst
	}
	dst = strconv.AppendUint(append(dst, `,"first":`...), r.First, 10)
	return strconv.AppendUint(append(dst, `,"last":`...), r.Last, 10)
}

// AppendValue adds the value of f as JSON.
func AppendValue(dst []byte, f *Field) []byte {
	switch f.Type {
	case Float:
		return AppendFloat(dst, f.Num)
	case Int:
		return strconv.AppendInt(dst, f.Int, 10)
	case String:
		return AppendQuoted(dst, f.Text)
	}
	return strconv.AppendBool(dst, f.Int != 0)
}

// AppendFloat adds v as JSON writes a number: the shortest form that reads
// back the same, with an exponent only where the plain form would be long.
func AppendFloat(dst []byte, v float64) []byte {
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendStamp adds a quoted RFC 3339 time in UTC with microseconds. Years that
// RFC 3339 cannot say are held at its ends.
func appendStamp(dst []byte, micros int64) []byte {
	const first, last = -62167219200_000000, 253402300799_999999 // 0000-01-01, 9999-12-31
	micros = min(max(micros, first), last)
	dst = append(dst, '"')
	dst = time.UnixMicro(micros).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	return append(dst, '"')
}

// AppendQuoted adds s as a JSON string (RFC 8259 section 7).
func AppendQuoted(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= ' ' && c != 0x7f:
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}
