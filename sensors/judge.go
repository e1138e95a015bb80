package sensors

import (
	"context"
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"

	"edgeagg/internal/config"
	"edgeagg/internal/record"
)

// reading judges a reading and stores it, if it is to be stored.
func (s *Source) reading(ctx context.Context, r *record.Record) {
	r.Kind, r.Source = record.Reading, s.cfg.Name
	if r.Time == (record.Time{}) {
		r.Time = s.o.Now()
	}
	s.judge(r)
	r.Time = s.rising(r.Time)
	s.buf = s.encode(s.buf[:0], r)

	s.mu.Lock()
	s.newest = append(s.newest[:0], s.buf...)
	s.count++
	s.lastAt, s.seenAt = r.Time.At(), time.Now()
	s.state = "ok"
	if r.Quality == record.Bad {
		s.errors["bad"]++
	}
	s.mu.Unlock()

	if s.stored.changed(s.cfg, r) {
		s.store(ctx, s.buf, r.Time)
	}
}

// judge lowers the quality of a reading whose values cannot be right. Of a
// field that has a unit and is no number, the text stays beside.
func (s *Source) judge(r *record.Record) {
	units := s.kind.fields(s.cfg)
	kept, text := r.Fields[:0], ""
	for _, f := range r.Fields {
		if !f.Finite() {
			lower(r, f.Name, " is not finite")
			continue
		}
		if f.Type == record.String && !utf8.ValidString(f.Text) {
			lower(r, "not UTF-8", "")
			f.Text = strings.ToValidUTF8(f.Text, "\uFFFD")
		}
		v, number := f.Number()
		switch {
		case !number && unitOf(units, f.Name) != "":
			lower(r, f.Name, " is not a number")
			if f.Type == record.String {
				text = f.Text
			}
			continue
		case number && s.cfg.Min != nil && v < *s.cfg.Min:
			lower(r, f.Name, " is below min")
		case number && s.cfg.Max != nil && v > *s.cfg.Max:
			lower(r, f.Name, " is above max")
		}
		kept = append(kept, f)
	}
	if r.Fields = kept; text != "" {
		r.Fields = withText(r.Fields, text)
	}
	if len(r.Fields) == 0 {
		lower(r, "no values", "")
	}
}

// lower makes r bad; the first reason stays.
func lower(r *record.Record, field, why string) {
	if r.Quality != record.Bad {
		r.Quality, r.Why = record.Bad, field+why
	}
}

func unitOf(fields []config.Field, name string) string {
	for i := range fields {
		if fields[i].Name == name {
			return fields[i].Unit
		}
	}
	return ""
}

// withText adds the text of which something is wrong, if none is there yet.
func withText(dst []record.Field, text string) []record.Field {
	for i := range dst {
		if dst[i].Name == "text" {
			return dst
		}
	}
	return append(dst, record.Field{Name: "text", Type: record.String, Text: text})
}

// encode adds the binary form of r. One that is too long becomes bad and keeps
// its head: the first fields that fit, and of a text what fits.
func (s *Source) encode(dst []byte, r *record.Record) []byte {
	whole := len(dst)
	dst = record.Append(dst, r)
	if len(dst)-whole <= s.o.MaxRecord {
		return dst
	}
	const beside = 3 + binary.MaxVarintLen64 // a field's bytes beside its name and text, at most
	r.Quality, r.Why = record.Bad, "too long"
	fields := r.Fields
	r.Fields = fields[:0]
	left := s.o.MaxRecord - (len(record.Append(dst[:whole], r)) - whole) - 1 // the number of fields may take one more
	for i := range fields {
		f := &fields[i]
		size := len(f.Name) + beside
		if f.Type == record.String {
			f.Text = headOf(f.Text, max(left-size, 0))
			size += len(f.Text)
		}
		if size > left {
			break
		}
		left -= size
		r.Fields = fields[:i+1]
	}
	return record.Append(dst[:whole], r)
}

// headOf is the front of s, n bytes at most, cut between characters.
func headOf(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
